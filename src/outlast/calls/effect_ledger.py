"""The effects of one attempt of a run: what may be called, what may not, and what became of it.

    intent (durable) -> call -> outcome (durable)

The rules, in the order in which they are applied to a call of an effect:

- It has an outcome: that is its result, or its error, again; the receiver is not called.
- It failed (certainly not applied), and since then an attempt, or an execution of the node, has ended in an error that
  may have come from that: it is called again, with the same key.
- It was begun and has no outcome: unknown. Only the effect's `on_unknown` says what happens then; see `_resolved`.
- It was never begun: it is announced, then called.

A call in flight ends, and its outcome is written down, before the attempt is over, however that is stopped; see
`effect_flights`. All of this happens on the run's event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from outlast.calls import effect_questions
from outlast.calls.effect_arguments import shown
from outlast.calls.effect_flights import Ended, Flight, ended, patiently
from outlast.calls.effect_memory import EffectMemory, key_in_task, key_of_business, task_id
from outlast.calls.effect_outcomes import Applied, decode_error, describe, encode_error, is_not_applied
from outlast.calls.effect_request import Effect, Finished
from outlast.calls.encoding import ValueCodec
from outlast.calls.policed import pass_switches
from outlast.calls.scope import Scope
from outlast.domain.backoff import full_jitter
from outlast.domain.effect import EffectRow, Intent, Owner, State
from outlast.errors import (
    EffectMismatch,
    EffectUnknown,
    LeaseLost,
    NotApplied,
    StateNotSerializable,
    StateTooLarge,
    StateUnreadable,
)
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.storage.postgres.effects import EffectStore

# How long a call of a parallel branch waits for the others to come for what they have begun.
_PATIENCE_SECONDS: Final = 5.0
_FIRST_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 1.0
_REPLAYED_BY_A_PERSON: Final = -1
_rng: Final = SystemRandom()


@dataclass(slots=True)
class EffectLedger:
    """Made by the first effect of the attempt."""

    scope: Scope
    store: "EffectStore"
    codec: ValueCodec
    memory: EffectMemory
    _flights: dict[str, Flight] = field(default_factory=dict[str, Flight])
    _closed: bool = False

    async def perform(self, effect: Effect, invoke: Callable[[str], Awaitable[Any]]) -> Any:
        """Return the effect's result, calling the receiver if that is right; raises what it ended with."""
        try:
            while True:
                finished = await self.prepare(effect)
                if finished is None:
                    flight = self._take_off(effect)
                    over = await flight.carry(self._keep(effect, flight, invoke), self._grace)
                    finished = self._concluded(effect, over)
                if finished is not None:
                    return finished.value
        # However it ended: whoever tries again in the same execution means the same effect.
        except BaseException:
            effect.execution.taken.discard(effect.key)
            raise

    async def begin(self, effect: Effect) -> Finished | EffectRow:
        """Return the result, or the announced call; for callers whose function runs elsewhere. See `end`."""
        while True:
            finished = await self.prepare(effect)
            if finished is not None:
                return finished
            flight = self._take_off(effect)
            row = await flight.until_first(self._announced(effect))
            if row is not None:
                return row

    async def end(self, effect: Effect, row: EffectRow, value: Any, error: BaseException | None) -> Finished | None:
        """Write down what the announced call ended with; None: it has to be called again."""
        flight = self._flights.get(effect.key)
        try:
            over = await self._recorded(effect, row, value, error)
        finally:
            if flight is not None:
                flight.land()
        try:
            return self._concluded(effect, over)
        # As in `perform`: a further try means the same effect.
        except BaseException:
            effect.execution.taken.discard(effect.key)
            raise

    async def enter(self, effect: Effect, ordinal: int, business_key: str | None) -> None:
        """Find out which effect it is."""
        await self.memory.load(effect.execution)
        if business_key is None:
            await self._find(effect, ordinal)
            return
        effect.business_key = business_key
        effect.key = key_of_business(self.scope, effect.name, business_key)
        effect.row = effect.execution.task.rows.get(effect.key) or await self.store.of_key(effect.key)
        if effect.row is not None and effect.row.state != "failed" and not _same_arguments(effect, effect.row):
            raise EffectMismatch(name=effect.name, key=effect.key)

    async def prepare(self, effect: Effect) -> Finished | None:
        """Return the result where there is one; None: the receiver is to be called now, with the effect's key."""
        while True:
            flight = self._flights.get(effect.key)
            if flight is not None:
                await flight.landed()
                effect.row = effect.execution.task.rows.get(effect.key) or await self.store.of_key(effect.key)
            elif effect.row is None:
                await self.scope.settled()
                return None
            else:
                verdict = effect_questions.heard(self.scope, effect.execution, effect.row)
                step = await self._decide(effect, effect.row, verdict)
                if not isinstance(step, _Moved):
                    return step

    async def close(self) -> None:
        """Let calls in flight end and write down their outcomes; nothing is begun any more."""
        self._closed = True
        flights = list(self._flights.values())
        for flight in flights:
            flight.stop(self._grace)
        await ended(flights, self._grace)

    @property
    def _grace(self) -> float:
        return self.scope.calls.settings.effects.grace.total_seconds()

    def _owner(self, effect: Effect) -> Owner:
        return Owner(self.scope.run_id, self.scope.epoch, self.scope.errors, effect.execution.place.execution)

    async def _find(self, effect: Effect, ordinal: int) -> None:
        execution, loop = effect.execution, asyncio.get_running_loop()
        args_hash, until = UUID(bytes=effect.args_hash), loop.time() + _PATIENCE_SECONDS
        while (row := execution.find(effect.name, ordinal, args_hash)) is None:
            other = execution.in_the_way(effect.name)
            if other is None:
                break
            # Of a parallel branch that has not come here yet, or this very call with other arguments than before.
            if loop.time() >= until:
                raise EffectMismatch(name=effect.name, key=other.key)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await execution.moved.wait()
        if row is None:
            effect.ordinal = self.memory.reserve(execution, effect.name, ordinal)
            effect.key = key_in_task(self.scope, execution.place, effect.name, effect.ordinal)
        else:
            effect.ordinal, effect.key, effect.row = row.ordinal, row.key, row
        execution.take(effect.key)

    async def _decide(
        self, effect: Effect, row: EffectRow, verdict: effect_questions.Verdict | None
    ) -> "Finished | _Moved | None":
        if row.state == "done":
            return self._replayed(effect, row)
        if row.state == "failed":
            if self._may_be_called_again(effect, row):
                return None
            emit("effect.replayed", run_id=self.scope.run_id, effect=effect.name, key=row.key)
            raise decode_error(row.body or b"", self.codec)
        if row.state == "intent":
            await self._abandoned(effect, row)
            return _MOVED
        return await self._resolved(effect, row, verdict)

    def _replayed(self, effect: Effect, row: EffectRow) -> Finished:
        emit("effect.replayed", run_id=self.scope.run_id, effect=effect.name, key=row.key)
        if row.body is None:
            raise StateUnreadable(
                f"effect {effect.name!r} ({row.key}) was applied, but its result could not be stored: "
                f"{row.error or 'it was erased'}",
                path=effect.name,
            )
        return Finished(self.codec.decode(row.body, path=f"of effect {effect.name!r}"))

    def _may_be_called_again(self, effect: Effect, row: EffectRow) -> bool:
        """Whether what failed is not just what the step met on its way to here the first time, and handled."""
        scope, execution = self.scope, effect.execution
        if row.body is None or row.key in execution.called:
            return True
        of_this_run = row.run_id == scope.run_id
        failed_since = scope.errors != row.errors if of_this_run else scope.errors > 0
        of_this_attempt = of_this_run and row.epoch == scope.epoch
        repeated = execution.place.execution > (row.execution if of_this_attempt else 1)
        if not (row.errors == _REPLAYED_BY_A_PERSON or failed_since or repeated):
            return False
        # What was begun after it failed was begun because it failed: a charge elsewhere instead, for one.
        return not any(row.ended_at and other.begun_at > row.ended_at for other in execution.task.rows.values())

    async def _abandoned(self, effect: Effect, row: EffectRow) -> None:
        """Find out whether somebody is still about to end an announced call; else its outcome is unknown."""
        delay = _FIRST_POLL_SECONDS
        while row.state == "intent" and row.run_id != self.scope.run_id:
            if not await self.store.is_owned(row.run_id, row.epoch):
                break
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_POLL_SECONDS)
            row = await self._read(effect)
        if row.state == "intent":
            resolved = await self.store.resolve(row, self._owner(effect), state="unknown")
            if resolved is not None:
                emit("effect.unknown", run_id=self.scope.run_id, effect=effect.name, key=row.key)
                self._remember(effect, resolved)
                return
        await self._read(effect)

    async def _resolved(
        self, effect: Effect, row: EffectRow, verdict: effect_questions.Verdict | None
    ) -> "Finished | _Moved | None":
        """Say what happens to an outcome that nobody knows."""
        policy = effect.options.on_unknown
        if verdict is not None and (verdict.applied is not None or row.errors != _REPLAYED_BY_A_PERSON):
            return await self._judged(effect, row, verdict)
        if policy == "retry" and not row.expired:
            await self._back_off(effect)
            return None
        if callable(policy):
            await self._back_off(effect)
            found = await effect.options.look_up(row.key, effect.arguments)
            if isinstance(found, Applied):
                body = self.codec.encode(found.result, path=f"of effect {effect.name!r}")
                return await self._settled_as(effect, row, "done", body=body)
            if found is not None:
                return await self._settled_as(effect, row, "failed")
        await effect_questions.ask(self.scope, self.store, effect.execution, row, self._owner(effect))
        return _MOVED

    async def _judged(self, effect: Effect, row: EffectRow, verdict: effect_questions.Verdict) -> "_Moved":
        answer = verdict.answer
        if verdict.applied is None:
            await self._settled_as(effect, row, "unknown", answer=answer)
            raise EffectUnknown(name=effect.name, key=row.key)
        if verdict.applied:
            body = self.codec.encode(verdict.result, path=f"of effect {effect.name!r}")
            return await self._settled_as(effect, row, "done", body=body, answer=answer)
        return await self._settled_as(effect, row, "failed", answer=answer)

    async def _settled_as(
        self, effect: Effect, row: EffectRow, state: State, *, body: bytes | None = None, answer: bytes | None = None
    ) -> "_Moved":
        resolved = await self.store.resolve(row, self._owner(effect), state=state, body=body, answer=answer)
        if resolved is None:
            await self._read(effect)
        else:
            self._remember(effect, resolved)
        return _MOVED

    async def _back_off(self, effect: Effect) -> None:
        """Wait before another call of this call's own; raises what the last one raised when there is to be none."""
        if not effect.tries:
            return
        error = effect.error or EffectUnknown(name=effect.name, key=effect.key)
        settings = self.scope.calls.settings.effects
        delay = full_jitter(effect.tries, base=settings.base, cap=settings.cap, rng=_rng).total_seconds()
        deadline = self.scope.deadline
        late = deadline is not None and deadline.left <= delay
        if effect.tries >= settings.tries or late or self._closed:
            raise error
        await asyncio.sleep(delay)

    def _take_off(self, effect: Effect) -> Flight:
        if self._closed:
            # The attempt is over: what is begun now nobody would wait for.
            raise LeaseLost(run_id=str(self.scope.run_id), epoch=self.scope.epoch)
        flight = self._flights[effect.key] = Flight(on_landed=lambda: self._flights.pop(effect.key, None))
        return flight

    async def _keep(self, effect: Effect, flight: Flight, invoke: Callable[[str], Awaitable[Any]]) -> Ended | None:
        """Announce, call, write down; not to be cancelled."""
        row = await self._announced(effect)
        if row is None:
            return None
        if flight.stopping:
            return await self._recorded(effect, row, None, _NotCalled("its run was stopped before it was called"))
        value, error = await flight.call(invoke(row.key), timeout=self._timeout(effect))
        return await self._recorded(effect, row, value, error)

    def _timeout(self, effect: Effect) -> float:
        return (effect.options.timeout or self.scope.calls.settings.effects.timeout).total_seconds()

    async def _announced(self, effect: Effect) -> EffectRow | None:
        """Make the intent durable; None: the row is not as it was read, it has to be decided about anew."""
        scope, before = self.scope, effect.row
        await pass_switches(scope, tool=effect.name)
        emit("effect.before_intent", run_id=scope.run_id, effect=effect.name, key=effect.key)
        intent = Intent(
            key=effect.key, lineage=scope.lineage, task=task_id(effect.execution.place), name=effect.name,
            ordinal=effect.ordinal, business_key=effect.business_key, tenant=scope.tenant, agent=scope.agent,
            thread_key=scope.thread_key, args_hash=effect.args_hash, arguments=shown(effect.arguments),
            calls=1 if before is None else before.calls + 1, key_ttl=effect.options.key_ttl,
        )  # fmt: skip
        row = await patiently(lambda: self.store.intend(intent, self._owner(effect)), lambda: self._closed)
        if row is None:
            await self._read(effect)
            return None
        self._remember(effect, row)
        effect.tries += 1
        effect.execution.called.add(effect.key)
        emit("effect.intended", run_id=scope.run_id, effect=effect.name, key=effect.key)
        return row

    async def _recorded(self, effect: Effect, row: EffectRow, value: Any, error: BaseException | None) -> Ended:
        emit("effect.called", run_id=self.scope.run_id, effect=effect.name, key=row.key)
        state, body, error = self._outcome(effect, row, value, error)
        text = None if error is None else describe(error)
        recorded = await patiently(
            lambda: self.store.record(row, self._owner(effect), state=state, body=body, error=text),
            lambda: self._closed,
        )
        self._remember(effect, recorded)
        emit("effect.recorded", run_id=self.scope.run_id, effect=effect.name, key=row.key, state=recorded.state)
        if recorded.state == "unknown":
            emit("effect.unknown", run_id=self.scope.run_id, effect=effect.name, key=row.key)
        return Ended(recorded, value, error)

    def _outcome(
        self, effect: Effect, row: EffectRow, value: Any, error: BaseException | None
    ) -> tuple[State, bytes | None, BaseException | None]:
        if error is None:
            try:
                return "done", self.codec.encode(value, path=f"of effect {effect.name!r}"), None
            except (StateNotSerializable, StateTooLarge) as problem:
                # It was applied all the same, and is never to be called again.
                return "done", None, problem
        if isinstance(error, (*self.scope.bubbles, _NotCalled)):
            # The function asked a person before it did anything, or was not called: nothing that is to be raised again.
            return "failed", None, error
        if is_not_applied(error, doubtful=row.doubtful, again=row.calls > 1):
            return "failed", encode_error(error, self.codec), error
        return "unknown", None, error

    def _concluded(self, effect: Effect, over: Ended | None) -> Finished | None:
        if over is None:
            return None
        effect.error = over.error
        if over.error is None:
            return Finished(over.value)
        if over.row.state != "unknown":
            raise over.error
        return None

    async def _read(self, effect: Effect) -> EffectRow:
        row = await self.store.of_key(effect.key)
        if row is None:
            # Deleted with its thread; so is the run.
            raise LeaseLost(run_id=str(self.scope.run_id), epoch=self.scope.epoch)
        return self._remember(effect, row)

    def _remember(self, effect: Effect, row: EffectRow) -> EffectRow:
        effect.row = effect.execution.task.rows[row.key] = row
        return row


class _NotCalled(NotApplied):
    """Announced, and then there was no time for it."""


class _Moved:
    """The row is another now; decide again."""


_MOVED: Final = _Moved()


def _same_arguments(effect: Effect, row: EffectRow) -> bool:
    return row.args_hash == UUID(bytes=effect.args_hash)
