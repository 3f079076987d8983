"""Models that fail are left alone, by all processes together.

The state is shared (`storage.postgres.breakers`); each process has a view of it that is at most a second old while it
makes calls, so that a call on a closed circuit asks nobody. Failures are reported at once, answers once a second. Of
the whole fleet one call at a time, the probe, finds out whether an open circuit's model answers again.

Without a database, or while it is away, a process counts for itself with the same code (`LocalBreakers`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Final, Protocol
from uuid import UUID, uuid4

from outlast.calls.call import Target
from outlast.domain import circuit as circuits
from outlast.domain.circuit import Circuit, Tally, Thresholds
from outlast.errors import DatabaseUnavailable
from outlast.settings import BreakerSettings
from outlast.telemetry import emit

#: How old the view of a process may be, in seconds.
REFRESH: Final = 1.0
#: How long a process goes on by itself before it asks a database again that did not answer.
_ALONE: Final = 5.0
#: Rounds in which a process tries to store what it decided; each one it loses, another process has decided.
_ROUNDS: Final = 5
#: Ceilings of the wait between rounds over all models of a call, in seconds.
_PAUSE, _LONGEST_PAUSE = 1.0, 20.0

Change = Callable[[Circuit, float], Circuit | None]


class CircuitStore(Protocol):
    """Where circuits are, and whose clock counts."""

    async def exchange(
        self, circuit: str, *, calls: int, failures: int, window: float
    ) -> tuple[Circuit, list[Tally], float]:
        """Add to the tallies; return the circuit, the window's tallies with these, and what time it is."""
        ...

    async def swap(self, circuit: str, before: Circuit, after: Circuit, *, model: str) -> bool:
        """Replace the circuit, unless it is no longer what it was before."""
        ...


class LocalBreakers:
    """Circuits of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}
        self._tallies: dict[str, dict[int, Tally]] = {}

    async def exchange(
        self, circuit: str, *, calls: int, failures: int, window: float
    ) -> tuple[Circuit, list[Tally], float]:
        """See `CircuitStore`."""
        now = self._clock()
        kept = {second: tally for second, tally in self._tallies.get(circuit, {}).items() if second >= now - window - 1}
        if calls:
            before = kept.get(int(now), Tally(second=int(now), calls=0, failures=0))
            kept[int(now)] = Tally(second=int(now), calls=before.calls + calls, failures=before.failures + failures)
        self._tallies[circuit] = kept
        return self._circuits.get(circuit, Circuit()), list(kept.values()), now

    async def swap(self, circuit: str, before: Circuit, after: Circuit, *, model: str) -> bool:  # noqa: ARG002 - for metrics of the shared ones
        """See `CircuitStore`."""
        if self._circuits.get(circuit, Circuit()).version != before.version:
            return False
        self._circuits[circuit] = after
        return True


@dataclass(slots=True)
class Watched:
    """A circuit as this process sees it."""

    name: str
    model: str
    circuit: Circuit = field(default_factory=Circuit)
    #: What time it was on the store's clock when it was seen, and on ours.
    now: float = 0.0
    seen_at: float = float("-inf")
    #: Not reported yet, and since when.
    calls: int = 0
    failures: int = 0
    since: float = 0.0
    #: Somebody of this process is talking to the store.
    busy: bool = False
    #: When a call of this process was last sent to take the probe.
    sent_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Permit:
    """A call that may ask the model; `probe` is set for the one that tries an open circuit."""

    watched: Watched
    probe: UUID | None = None


class Breakers:
    """The circuits of one process."""

    def __init__(
        self,
        settings: BreakerSettings,
        store: CircuitStore | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self._thresholds = Thresholds(
            failures=settings.failures,
            ratio=settings.ratio,
            window=settings.window.total_seconds(),
            open=settings.open.total_seconds(),
            longest=settings.longest.total_seconds(),
        )
        self._local = LocalBreakers(clock)
        self._shared = store or self._local
        self._store: CircuitStore = self._shared
        self._alone_until = float("-inf")
        self._clock = clock
        self._rng = rng or SystemRandom()
        self._watched: dict[str, Watched] = {}

    def may_ask(self, target: Target) -> bool:
        """Whether the model is asked as usual, as far as this process has heard."""
        found = self._watched.get(target.circuit)
        return found is None or found.circuit.closed

    def closed_since(self, target: Target) -> float | None:
        """Return when the circuit last closed, which tells one good time from another; None: it is open."""
        found = self._watched.get(target.circuit)
        if found is None:
            return 0.0
        return found.circuit.since if found.circuit.closed else None

    def probe_in(self, target: Target) -> float:
        """Return the seconds until the next probe, as far as this process knows: sooner nothing can change."""
        watched = self._of(target)
        circuit = watched.circuit
        due_at = circuit.probe_at if circuit.probe_by is None else circuit.probe_until
        return max(0.0, due_at - self._now(watched))

    async def admit(self, target: Target) -> Permit | None:
        """Let a call through, or not: the model is left alone and this call is not the probe."""
        watched = self._of(target)
        if self._stale(watched):
            await self._refresh(watched)
        if watched.circuit.closed:
            return Permit(watched)
        if watched.circuit.probe_due(self._now(watched)):
            return await self._probe(watched)
        return None

    def answered(self, permit: Permit) -> None:
        """Count a call that was answered; a probe says so with `concluded`."""
        self._count(permit.watched, failures=0)

    async def failed(self, permit: Permit) -> None:
        """Count a call that failed, and open the circuit if that was one too many."""
        self._count(permit.watched, failures=1)
        await self._refresh(permit.watched)

    async def concluded(self, permit: Permit, *, answered: bool | None) -> None:
        """Say how the probe ended; None: nobody knows, it was given up."""
        watched, thresholds = permit.watched, self._thresholds

        def change(circuit: Circuit, now: float) -> Circuit | None:
            if circuit.closed:
                return None
            if answered:
                return circuits.closed(circuit, now)
            if circuit.probe_by != permit.probe:
                return None
            following = circuits.released if answered is None else circuits.opened
            return following(circuit, now, thresholds)

        after = await self._change(watched, change)
        if after is not None and after.closed:
            emit("breaker.closed", model=watched.model, circuit=watched.name, decided=True)

    async def pause(
        self, targets: Sequence[Target], *, turn: int, left: float, retry_after: float | None = None
    ) -> bool:
        """Wait, for `left` seconds at most, until one of the models may be asked; False: not in that time.

        `turn` counts the rounds of one call from 1: a model that is asked as usual and fails is asked ever less often.
        """
        end = self._clock() + left
        if any(self.may_ask(target) for target in targets):
            ceiling = min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(turn - 1, 32))
            delay = (retry_after or 0.0) + ceiling * self._rng.random()
        else:
            delay = REFRESH * self._rng.random() / 2
        while self._clock() + delay < end:
            await asyncio.sleep(delay)
            for target in targets:
                if await self._worth_asking(target):
                    return True
            # Whoever waited together must not ask together.
            delay = REFRESH * (0.5 + self._rng.random() / 2)
        return False

    async def _worth_asking(self, target: Target) -> bool:
        watched = self._of(target)
        if self._stale(watched):
            await self._refresh(watched)
        if watched.circuit.closed:
            return True
        # One call of this process tries to be the probe; the others would only be turned away.
        if watched.circuit.probe_due(self._now(watched)) and self._clock() - watched.sent_at >= REFRESH:
            watched.sent_at = self._clock()
            return True
        return False

    def _of(self, target: Target) -> Watched:
        name = target.circuit
        found = self._watched.get(name)
        if found is None:
            found = self._watched[name] = Watched(name, target.name)
        return found

    def _stale(self, watched: Watched) -> bool:
        return self._clock() - watched.seen_at >= REFRESH

    def _now(self, watched: Watched) -> float:
        """Return the store's time, by our clock since it was last heard."""
        return watched.now + self._clock() - watched.seen_at

    def _count(self, watched: Watched, *, failures: int) -> None:
        now = self._clock()
        if now - watched.since > self._thresholds.window:
            # What a process that was idle has not told by now is no news.
            watched.calls = watched.failures = 0
        if not watched.calls:
            watched.since = now
        watched.calls += 1
        watched.failures += failures

    async def _refresh(self, watched: Watched) -> None:
        """Report and look; while one call does, the others go on with what is known."""
        if watched.busy:
            return
        watched.busy = True
        try:
            for _ in range(_ROUNDS):
                tallies = await self._exchange(watched)
                if circuits.fails(watched.circuit, tallies, watched.now, self._thresholds):
                    await self._open(watched)
                # Failures that were counted meanwhile have nobody else to report them.
                if not watched.failures:
                    break
        finally:
            watched.busy = False

    async def _open(self, watched: Watched) -> None:
        after = circuits.opened(watched.circuit, watched.now, self._thresholds)
        if await self._swap(watched, after):
            emit("breaker.opened", model=watched.model, circuit=watched.name, decided=True)
        else:
            await self._exchange(watched)

    async def _probe(self, watched: Watched) -> Permit | None:
        by, thresholds = uuid4(), self._thresholds

        def change(circuit: Circuit, now: float) -> Circuit | None:
            return circuits.probed(circuit, by, now, thresholds) if circuit.probe_due(now) else None

        after = await self._change(watched, change)
        if after is None:
            return Permit(watched) if watched.circuit.closed else None
        emit("breaker.probing", model=watched.model, circuit=watched.name)
        return Permit(watched, by)

    async def _change(self, watched: Watched, change: Change) -> Circuit | None:
        """Store what becomes of the circuit; None: by now there is nothing to change."""
        for _ in range(_ROUNDS):
            await self._exchange(watched)
            after = change(watched.circuit, watched.now)
            if after is None:
                return None
            if await self._swap(watched, after):
                return after
        return None

    async def _swap(self, watched: Watched, after: Circuit) -> bool:
        try:
            swapped = await self._store.swap(watched.name, watched.circuit, after, model=watched.model)
        except DatabaseUnavailable:
            self._go_alone()
            return False
        if swapped:
            watched.circuit = after
        return swapped

    async def _exchange(self, watched: Watched) -> list[Tally]:
        calls, failures = watched.calls, watched.failures
        watched.calls = watched.failures = 0
        if self._store is not self._shared and self._clock() >= self._alone_until:
            self._store = self._shared
        window = self._thresholds.window
        try:
            seen = await self._store.exchange(watched.name, calls=calls, failures=failures, window=window)
        except DatabaseUnavailable:
            self._go_alone()
            seen = await self._local.exchange(watched.name, calls=calls, failures=failures, window=window)
        circuit, tallies, now = seen
        self._see(watched, circuit, now)
        return tallies

    def _go_alone(self) -> None:
        self._store = self._local
        self._alone_until = self._clock() + _ALONE

    def _see(self, watched: Watched, circuit: Circuit, now: float) -> None:
        before, watched.circuit = watched.circuit, circuit
        watched.now, watched.seen_at = now, self._clock()
        if before.closed and not circuit.closed:
            emit("breaker.opened", model=watched.model, circuit=watched.name, decided=False)
        elif circuit.closed and not before.closed:
            emit("breaker.closed", model=watched.model, circuit=watched.name, decided=False)
