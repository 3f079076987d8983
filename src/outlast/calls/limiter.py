"""Rate limits: each try of a call waits for its slot, the same for all processes, before it asks.

A slot is a moment (the generic cell rate algorithm), so calls that wait go one by one and need no jitter between them.
Providers count per account, which we know by its key: each key has limits of its own. A 429 with `Retry-After` moves
all slots that are to come. Without limits in the settings nothing is asked of the database, and a 429 holds back the
other calls of the process alone.

A limit is a courtesy to the provider, whose 429 still stands: while the database is away, each process keeps the limit
for itself.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import orjson
from langchain_core.messages.utils import count_tokens_approximately

from outlast.calls.bindings import told
from outlast.calls.call import Answer, Handler, Layer, ModelCall, Target
from outlast.calls.kinds import Kind, failure_of
from outlast.calls.local_rates import LocalRates
from outlast.domain.rates import Share, Turn
from outlast.errors import DatabaseUnavailable, ProviderUnavailable
from outlast.settings import CallSettings, RateSettings
from outlast.telemetry import emit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outlast.calls.services import Calls

T = TypeVar("T")

_MINUTE: Final = 60.0
#: A provider that names a longer time (a daily quota) is asked again after this.
LONGEST_PAUSE: Final = 300.0
_LONGEST_JITTER: Final = 5.0
#: A call this late, in seconds, takes another slot: calls that a busy process held up would all ask in one moment.
_TOO_LATE: Final = 1.0
#: What a model is expected to say before it was heard, in tokens; afterwards it is the average of what it said.
_EXPECTED_OUTPUT: Final = 500.0
_NEWEST_WEIGHS: Final = 0.1
#: A cancelled call gives its slot back, if the database takes it at once.
_GIVE_BACK_WITHIN: Final = 1.0
_BYTES_PER_TOKEN: Final = 4
_MAX_TOKENS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_ERROR_STATUS: Final = 400


class Rates(Protocol):
    """Who keeps the limits: `RateLimitStore` for all processes, or `LocalRates` for this one."""

    async def take(self, shares: Sequence[Share], *, patience: float) -> Turn:
        """Take what `Turn` says, or nothing if that means to wait for longer than `patience` seconds."""
        ...

    async def shifted(self, names: Sequence[str]) -> Mapping[str, float]:
        """Return the seconds of all pauses so far, by name."""
        ...

    async def settle(self, seconds: Mapping[str, float]) -> None:
        """Correct what was taken, by name: less than 0 gives back."""
        ...

    async def pause(self, names: Sequence[str], *, seconds: float) -> None:
        """Let nobody ask for so long, those included who wait for their turn already."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """One figure of the settings: so many requests, or tokens, per minute."""

    name: str
    per_minute: int
    burst: float
    of_tokens: bool
    #: It is the model's own limit, not the provider's.
    of_model: bool

    def share(self, tokens: int) -> Share:
        count = tokens if self.of_tokens else 1
        return Share(name=self.name, seconds=_MINUTE * count / self.per_minute, burst=self.burst)


@dataclass(slots=True, kw_only=True)
class _Limited:
    """The limits of one target, and what is known of it."""

    name: str
    measures: tuple[_Measure, ...]
    expected_output: float = _EXPECTED_OUTPUT

    @property
    def of_tokens(self) -> tuple[_Measure, ...]:
        return tuple(measure for measure in self.measures if measure.of_tokens)

    @property
    def paused(self) -> list[str]:
        """What a 429 pauses: it speaks of one model, so the provider's limit stands still only if there is no other."""
        own = [measure.name for measure in self.measures if measure.of_model]
        return own or [measure.name for measure in self.measures]


@dataclass(slots=True, kw_only=True)
class _Slot:
    """What a try has taken."""

    tokens: int = 0
    shares: Mapping[str, Share] = field(default_factory=dict[str, Share])
    #: By name, the pauses that its wait takes into account.
    taken: dict[str, float] = field(default_factory=dict[str, float])
    waited: float = 0.0
    #: When it may ask, on the loop's clock.
    due_at: float = 0.0


def limited(calls: "Calls") -> Layer:
    """Return the layer.

    It raises ProviderUnavailable (`limited`) without asking when the wait is longer than the call's patience.
    """
    limiter = Limiter(calls.settings, calls.rates)

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            target = call.target or call.targets[0]
            limits = limiter.of(target)
            if limits.measures:
                return await limiter.counted(call, target, limits, following)
            await limiter.held(call, target)
            try:
                return await following(call)
            # Only looked at on its way: a 429 holds back what comes next.
            except Exception as error:
                limiter.hold(target, error)
                raise

        return handle

    return layer


class Limiter:
    """Keeps the limits of the settings, together with other processes where `rates` are shared."""

    def __init__(self, settings: CallSettings, rates: Rates, *, rng: Random | None = None) -> None:
        self._settings = settings
        self._rates = rates
        self._alone = rates if isinstance(rates, LocalRates) else LocalRates()
        self._rng = rng or SystemRandom()
        self._targets: dict[str, _Limited] = {}
        #: Until when targets without limits are left alone, on the loop's clock, and for how long that was.
        self._held: dict[str, tuple[float, float]] = {}

    def of(self, target: Target) -> _Limited:
        """Return the limits of a target."""
        found = self._targets.get(target.circuit)
        if found is None:
            found = self._targets[target.circuit] = _limits_of(target, self._settings.limits)
        return found

    async def counted(self, call: ModelCall, target: Target, limits: _Limited, following: Handler) -> Answer:
        """Ask when it is the call's turn."""
        slot = await self._admitted(call, target, limits)
        try:
            answer = await following(call)
        # Whatever the provider raised goes on; a 429 among it pauses everybody first.
        except Exception as error:
            await self._refused(limits, slot, error)
            raise
        await self._settled(call, limits, slot)
        return answer

    async def held(self, call: ModelCall, target: Target) -> None:
        """Wait while the provider asks to be left alone."""
        # Nearly always empty.
        while self._held and (hold := self._held.get(target.circuit)) is not None:
            until, seconds = hold
            wait = until - asyncio.get_running_loop().time()
            if wait <= 0:
                self._held.pop(target.circuit, None)
                return
            self._require_patience(call, target, wait)
            emit("call.limited", model=target.name, seconds=wait, run_id=_run_of(call))
            # Nothing spaces these calls: those that waited together must not ask together.
            await asyncio.sleep(wait + min(seconds, _LONGEST_JITTER) * self._rng.random())

    def hold(self, target: Target, error: Exception) -> None:
        """Note what the provider said about its own limit."""
        seconds = _retry_after(error)
        if seconds is not None:
            until = asyncio.get_running_loop().time() + seconds
            before = self._held.get(target.circuit)
            if before is None or before[0] < until:
                self._held[target.circuit] = (until, seconds)

    async def _admitted(self, call: ModelCall, target: Target, limits: _Limited) -> _Slot:
        tokens = _tokens_of(call, target, limits) if limits.of_tokens else 0
        shares = {measure.name: measure.share(tokens) for measure in limits.measures}
        slot = _Slot(tokens=tokens, shares=shares)
        await self._fill(call, target, slot)
        if asyncio.get_running_loop().time() - slot.due_at > _TOO_LATE:
            # Once: a process that is always that late must not stand still for it.
            slot.taken.clear()
            await self._fill(call, target, slot)
        return slot

    async def _fill(self, call: ModelCall, target: Target, slot: _Slot) -> None:
        shares = slot.shares
        try:
            while missing := [share for name, share in shares.items() if name not in slot.taken]:
                await self._wait_for(call, target, slot, missing)
        # Nobody asks at that time now; the next one may.
        except BaseException:
            await self._give_back(slot)
            raise

    async def _wait_for(self, call: ModelCall, target: Target, slot: _Slot, missing: Sequence[Share]) -> None:
        patience = self._patience(call, slot.waited)
        turn = await self._asked(lambda rates: rates.take(missing, patience=patience))
        if not turn.taken:
            raise _too_long(target, turn.wait)
        slot.taken.update(turn.taken)
        slot.due_at = asyncio.get_running_loop().time() + turn.wait
        if not turn.wait:
            return
        emit("call.limited", model=target.name, seconds=turn.wait, run_id=_run_of(call))
        wait = turn.wait
        while wait > 0:
            await asyncio.sleep(wait)
            slot.waited += wait
            wait = await self._pauses_since(slot)
            if wait > 0:
                self._require_patience(call, target, wait, waited=slot.waited)
                slot.due_at = asyncio.get_running_loop().time() + wait

    async def _pauses_since(self, slot: _Slot) -> float:
        """Return for how long the provider asked to be left alone while the call waited, in whatever process."""
        names = list(slot.taken)
        now = await self._asked(lambda rates: rates.shifted(names))
        shifts = [now.get(name, before) - before for name, before in slot.taken.items()]
        slot.taken.update(now)
        return max(shifts, default=0.0)

    async def _settled(self, call: ModelCall, limits: _Limited, slot: _Slot) -> None:
        """Replace the estimate by what the provider counted."""
        measures = limits.of_tokens
        # What was metered behind this layer; without a count of the provider the estimate stands.
        usage = call.spent[-1] if measures and call.spent else None
        if usage is None or not usage.input_tokens + usage.output_tokens:
            return
        limits.expected_output += _NEWEST_WEIGHS * (usage.output_tokens - limits.expected_output)
        difference = usage.input_tokens + usage.output_tokens - slot.tokens
        if difference:
            await self._correct({measure.name: measure.share(difference).seconds for measure in measures})

    async def _refused(self, limits: _Limited, slot: _Slot, error: Exception) -> None:
        seconds = _retry_after(error)
        if seconds is not None:
            await self._asked(lambda rates: rates.pause(limits.paused, seconds=seconds))
        failure = failure_of(error)
        # An error status instead of an answer: the provider has counted a request and no tokens.
        if failure is not None and (failure.status or 0) >= _ERROR_STATUS and limits.of_tokens:
            await self._correct({measure.name: -slot.shares[measure.name].seconds for measure in limits.of_tokens})

    async def _give_back(self, slot: _Slot) -> None:
        if slot.taken:
            try:
                async with asyncio.timeout(_GIVE_BACK_WITHIN):
                    await self._correct({name: -slot.shares[name].seconds for name in slot.taken})
            except TimeoutError:
                pass

    async def _correct(self, seconds: Mapping[str, float]) -> None:
        await self._asked(lambda rates: rates.settle(seconds))

    async def _asked(self, ask: "Callable[[Rates], Awaitable[T]]") -> T:
        try:
            return await ask(self._rates)
        except DatabaseUnavailable:
            return await ask(self._alone)

    def _patience(self, call: ModelCall, waited: float) -> float:
        longest = self._settings.wait.total_seconds() if call.patience is None else call.patience
        return max(0.0, min(longest - waited, call.deadline.left - self._settings.shortest_try.total_seconds()))

    def _require_patience(self, call: ModelCall, target: Target, wait: float, *, waited: float = 0.0) -> None:
        if wait > self._patience(call, waited):
            raise _too_long(target, wait)


def _limits_of(target: Target, limits: Mapping[str, RateSettings]) -> _Limited:
    measures: list[_Measure] = []
    for name in (target.provider, target.name):
        rate = limits.get(name)
        if rate is None:
            continue
        for what, per_minute in (("requests", rate.requests_per_minute), ("tokens", rate.tokens_per_minute)):
            if per_minute is not None:
                measures.append(
                    _Measure(
                        name=f"{name}#{target.key} {what}",
                        per_minute=per_minute,
                        burst=rate.burst.total_seconds(),
                        of_tokens=what == "tokens",
                        of_model=name == target.name,
                    )
                )
    return _Limited(name=target.name, measures=tuple(measures))


def _tokens_of(call: ModelCall, target: Target, limits: _Limited) -> int:
    """Return what the call is expected to use: input by its length, output by what this model said before."""
    options = told(target, call.options)
    tools = cast("list[Any]", options.get("tools") or [])
    size = len(orjson.dumps(tools, default=repr)) if tools else 0
    asked = count_tokens_approximately(call.messages) + size // _BYTES_PER_TOKEN
    longest = _longest_output(target, options)
    return asked + math.ceil(min(limits.expected_output, longest))


def _longest_output(target: Target, options: Mapping[str, Any]) -> float:
    for name in _MAX_TOKENS:
        found = options.get(name, getattr(target.chat, name, None))
        if isinstance(found, int):
            return float(found)
    return math.inf


def _retry_after(error: Exception) -> float | None:
    failure = failure_of(error)
    if failure is None or failure.kind is not Kind.RATE_LIMIT or not failure.retry_after:
        return None
    return min(failure.retry_after, LONGEST_PAUSE)


def _too_long(target: Target, wait: float) -> ProviderUnavailable:
    msg = f"the rate limit of {target.name} has a slot in {wait:.1f} s, which is longer than this call may wait"
    return ProviderUnavailable(msg, model=target.name, kind="limited", retry_after=wait)


def _run_of(call: ModelCall) -> Any:
    return None if call.scope is None else call.scope.run_id
