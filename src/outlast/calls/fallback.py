"""The layer that asks the next model when one does not answer.

In the order of preference: an open breaker or a rate limit says no at once, and the next one is asked. What makes
another model pointless goes to the caller: a request that is refused (400, content policy), a deadline that is over. A
key that is not accepted does lead to the next model: its key is mostly another one, an operator was told, and the
fallbacks are there so that the run goes on meanwhile.

When every model is out of reach the call waits for the first that comes back.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from langchain_core.messages.utils import count_tokens_approximately

from outlast.calls.call import Answer, Handler, Layer, ModelCall, Target
from outlast.calls.prices import Tokens
from outlast.errors import BadAnswer, CallFailed, ProviderRefused, ProviderUnauthorized, ProviderUnavailable
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.calls.services import Calls

#: For a slot this near, in seconds, no other model is asked.
_NEAR: Final = 1.0
#: Prices are compared for an answer of this many tokens.
_OUTPUT: Final = 500

Waitable = Sequence[tuple[Target, ProviderUnavailable]]


def fallback(calls: "Calls") -> Layer:
    """Return the layer.

    Raises ProviderUnavailable when no model came back within `calls.wait` and the deadline. When no wait can help, the
    error of the model that was preferred.
    """

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            asking = _Asking(calls=calls, call=call, following=following)
            answer = await asking.once(call.targets)
            while answer is None:
                answer = await asking.again()
            return answer

        return handle

    return layer


@dataclass(slots=True, kw_only=True)
class _Asking:
    """One call on its way from model to model."""

    calls: "Calls"
    call: ModelCall
    following: Handler
    #: Of the last round, in the order of preference.
    failures: list[tuple[Target, CallFailed]] = field(default_factory=list[tuple[Target, CallFailed]])
    #: Rounds over all models, after the first one.
    turn: int = 0
    #: The last round was spent on waiting for a slot.
    queued: bool = False
    #: When the waiting ends, on the loop's clock; set when it begins.
    give_up_at: float | None = None

    async def once(self, targets: Sequence[Target], *, patience: float | None = None) -> Answer | None:
        """Ask each model; None: none has answered, see `failures`. Raises what no other model can mend."""
        self.failures = []
        for number, target in enumerate(targets):
            if number and not self._affordable(target):
                continue
            last = number == len(targets) - 1
            # Another model may be free at once; but then the slot that comes first is worth waiting for.
            self.call.patience = patience if last and not self._limited else _NEAR
            self._turn_to(target)
            try:
                return await self.following(self.call)
            except CallFailed as error:
                if not _may_go_on(error):
                    raise
                self.failures.append((target, error))
        return None

    async def again(self) -> Answer | None:
        """Wait for what can be waited for, then ask once more. Raises if it is in vain."""
        waitable = _waitable(self.failures)
        if not waitable:
            raise self.failures[0][1]
        left = self._left()
        slots = [(error.retry_after or 0.0, target) for target, error in self._limited]
        soonest = min(slots, key=lambda slot: slot[0], default=None)
        if soonest is not None and soonest[0] <= left and not self.queued:
            return await self._queue(soonest[1], left)
        self.queued = False
        self.turn += 1
        # When an open circuit may be probed, the breaker knows better by now.
        soon = min((0.0 if error.kind == "open" else error.retry_after or 0.0) for _, error in waitable) or None
        targets = [target for target, _ in waitable]
        if not await self.calls.breakers.pause(targets, turn=self.turn, left=left, retry_after=soon):
            raise self._unavailable(waitable) from waitable[0][1]
        return await self.once(targets)

    async def _queue(self, target: Target, patience: float) -> Answer | None:
        """Wait in one model's line; the others are waited for as well, if it comes to that."""
        self.queued = True
        others = [failure for failure in self.failures if failure[0] is not target]
        answer = await self.once([target], patience=patience)
        self.failures += others
        return answer

    def _turn_to(self, target: Target) -> None:
        call = self.call
        if call.target is not None and call.target is not target:
            run_id = None if call.scope is None else call.scope.run_id
            kind = self.failures[-1][1].kind if self.failures else None
            if call.scope is not None:
                call.scope.tally.fallbacks += 1
            emit("call.fell_back", model=target.name, instead_of=call.target.name, kind=kind, run_id=run_id)
        call.target = target

    @property
    def _limited(self) -> "Waitable":
        return [failure for failure in _waitable(self.failures) if failure[1].kind == "limited"]

    def _left(self) -> float:
        now = asyncio.get_running_loop().time()
        if self.give_up_at is None:
            self.give_up_at = now + self.calls.settings.wait.total_seconds()
        return max(0.0, min(self.give_up_at - now, self.call.deadline.left))

    def _affordable(self, target: Target) -> bool:
        """Whether the settings allow what it costs more; a price that nobody knows is no reason to let a run fail."""
        ratio, prices = self.calls.settings.fallback_price_ratio, self.calls.prices
        if ratio is None:
            return True
        used = Tokens(input=count_tokens_approximately(self.call.messages), output=_OUTPUT)
        preferred, other = (prices.cost_micros(each, used) for each in (self.call.targets[0], target))
        return preferred is None or other is None or other <= preferred * ratio

    def _unavailable(self, waitable: Waitable) -> ProviderUnavailable:
        (first, error), *_ = waitable
        reasons = ", ".join(f"{target.name} ({failure.kind})" for target, failure in self.failures)
        msg = f"no model of this call answers: {reasons}; gave up after calls.wait or the call's deadline"
        return ProviderUnavailable(msg, model=first.name, kind=error.kind, retry_after=error.retry_after)


def _waitable(failures: Sequence[tuple[Target, CallFailed]]) -> Waitable:
    return [(target, error) for target, error in failures if isinstance(error, ProviderUnavailable)]


def _may_go_on(error: CallFailed) -> bool:
    if isinstance(error, ProviderUnavailable):
        return error.kind != "deadline"
    if isinstance(error, ProviderRefused):
        return error.kind == "not_found"
    return isinstance(error, BadAnswer | ProviderUnauthorized)
