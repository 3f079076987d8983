"""The layer that asks again, by kind of error; the only one that does.

    timeout      exponential backoff, full jitter
    rate_limit   when the provider says, plus jitter
    network      soon, a few times
    bad_answer   at once, one more time
    the rest     not: another try would end the same way

Before each further try: its kind has tries left, the provider's retry budget has one (`retry_budget`), the breaker and
the rate limit let it through (they stand behind this layer), and it can end before the deadline.
"""

import asyncio
from collections import Counter
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final

from outlast.calls.call import Answer, Handler, Layer, ModelCall, Target
from outlast.calls.kinds import Failure, Kind, failure_of
from outlast.domain.backoff import full_jitter
from outlast.errors import BadAnswer, CallFailed, ProviderRefused, ProviderUnauthorized, ProviderUnavailable
from outlast.settings import CallRetrySettings, CallSettings
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.calls.services import Calls

#: Broken connections are seldom broken twice: a fifth of the backoff.
_SOON: Final = 5
#: After a denied retry, when to ask for one again, in seconds.
_DENIED: Final = 1.0
_LONGEST_REASON: Final = 500


def retried(calls: "Calls", *, rng: Random | None = None) -> Layer:
    """Return the layer.

    Raises ProviderUnavailable, ProviderRefused, ProviderUnauthorized or BadAnswer; the SDK's own error is the cause.
    What is not about the provider is raised as it is.
    """
    dice = rng or SystemRandom()

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            target = call.target or call.targets[0]
            failed: Counter[Kind] = Counter()
            await _first(call, target, calls)
            while True:
                try:
                    return await following(call)
                # SDKs share no class of errors; what is none of a provider's is raised again as it is.
                except Exception as error:
                    failure = _judged(call, target, error, failed)
                    if failure is None:
                        raise
                    delay = _delay(failure, failed, calls.settings.retry, dice)
                    if delay is None or not _worth_waiting(call, target, delay, calls.settings):
                        raise _mapped(target, failure, error, tries=failed.total()) from error
                    await asyncio.sleep(delay)
                    await _again(call, target, calls, failure, error)
                    if call.scope is not None:
                        call.scope.tally.retries += 1

        return handle

    return layer


async def _first(call: ModelCall, target: Target, calls: "Calls") -> None:
    if call.deadline.left < calls.settings.shortest_try.total_seconds():
        msg = f"{target.name} was not asked: the call has {max(0.0, call.deadline.left):.1f} s left (calls.timeout)"
        raise ProviderUnavailable(msg, model=target.name, kind="deadline")
    since = calls.breakers.closed_since(target)
    # An open circuit lets nothing through but its probes, and these are few and needed.
    if since is None:
        return
    if (target.circuit, since) not in call.asked:
        call.asked |= {(target.circuit, since)}
        await calls.retry_budget.called(target.provider)
    else:
        await _take(call, target, calls, kind="network", cause=None)


async def _again(call: ModelCall, target: Target, calls: "Calls", failure: Failure, error: Exception) -> None:
    # Invited tries are paced by the provider itself.
    if failure.kind is Kind.RATE_LIMIT and failure.retry_after is not None:
        return
    await _take(call, target, calls, kind=failure.kind, cause=error)


async def _take(call: ModelCall, target: Target, calls: "Calls", *, kind: str, cause: Exception | None) -> None:
    if await calls.retry_budget.take(target.provider):
        return
    emit("call.retry_denied", model=target.name, run_id=call.scope.run_id if call.scope else None)
    msg = f"{target.name} fails ({kind}), and retries are {calls.settings.retry.budget:.0%} of its calls already"
    raise ProviderUnavailable(msg, model=target.name, kind=kind, retry_after=_DENIED) from cause


def _judged(call: ModelCall, target: Target, error: Exception, failed: Counter[Kind]) -> Failure | None:
    """Count and tell how a try failed; None: the error goes to the caller as it is."""
    failure = failure_of(error)
    if failure is not None:
        _tell(call, target, failure, error)
        failed[failure.kind] += 1
    # Where the rate limit, not the retry budget, is what paces this call, the next round begins with a first try.
    limited = isinstance(error, ProviderUnavailable) and error.kind == "limited" and not failed
    if limited or (failure is not None and failure.kind is Kind.RATE_LIMIT):
        call.asked = frozenset(mark for mark in call.asked if mark[0] != target.circuit)
    return failure


def _tell(call: ModelCall, target: Target, failure: Failure, error: Exception) -> None:
    run_id = call.scope.run_id if call.scope else None
    emit(
        "call.try_failed", model=target.name, kind=failure.kind.value, status=failure.status,
        error=type(error).__name__, run_id=run_id,
    )  # fmt: skip
    if failure.kind in (Kind.UNAUTHORIZED, Kind.QUOTA):
        emit("call.unauthorized", model=target.name, kind=failure.kind.value, status=failure.status, run_id=run_id)


def _delay(failure: Failure, failed: Counter[Kind], settings: CallRetrySettings, dice: Random) -> float | None:
    """Return the seconds until the next try; None: there is none."""
    # Whatever kinds follow each other, the tries of a call are as many as the last kind allows.
    others = failed.total() - failed[Kind.RATE_LIMIT]
    match failure.kind:
        case Kind.TIMEOUT:
            tries, count, base = settings.timeout, others, settings.base
        case Kind.NETWORK:
            tries, count, base = settings.network, others, settings.base / _SOON
        case Kind.BAD_ANSWER:
            return 0.0 if others < settings.bad_answer else None
        case Kind.RATE_LIMIT:
            tries, count, base = settings.rate_limit, failed[Kind.RATE_LIMIT], settings.base
        case _:
            return None
    if count >= tries:
        return None
    jitter = full_jitter(count, base=base, cap=settings.cap, rng=dice).total_seconds()
    return (failure.retry_after or 0.0) + jitter


def _worth_waiting(call: ModelCall, target: Target, delay: float, settings: CallSettings) -> bool:
    """Whether to wait here: a try has to be able to end, and another model may answer sooner."""
    last = target is call.targets[-1]
    longest = settings.wait if last else settings.retry.cap
    return delay <= longest.total_seconds() and delay + settings.shortest_try.total_seconds() <= call.deadline.left


def _mapped(target: Target, failure: Failure, error: Exception, *, tries: int) -> CallFailed:
    name, kind = target.name, failure.kind.value
    what = type(error).__name__ + (f", HTTP {failure.status}" if failure.status else "")
    match failure.kind:
        case Kind.UNAUTHORIZED:
            # What the provider says may repeat parts of the key.
            return ProviderUnauthorized(f"{name} does not accept the API key ({what})", model=name, kind=kind)
        case Kind.QUOTA:
            return ProviderUnauthorized(f"the account of {name} is out of credit ({what})", model=name, kind=kind)
        case Kind.NOT_FOUND:
            return ProviderRefused(f"{name} does not exist for this API key ({what})", model=name, kind=kind)
        case Kind.REFUSED:
            reason = str(error)[:_LONGEST_REASON]
            return ProviderRefused(f"{name} refuses the request ({what}): {reason}", model=name, kind=kind)
        case Kind.BAD_ANSWER:
            return BadAnswer(f"{name} gave {tries} answers that end early or cannot be read", model=name, kind=kind)
        case _:
            msg = f"{name} does not answer: {kind} ({what}), {tries} {'try' if tries == 1 else 'tries'}"
            return ProviderUnavailable(msg, model=name, kind=kind, retry_after=failure.retry_after)
