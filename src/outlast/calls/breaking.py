"""The layer that leaves a failing model alone; each try passes it."""

import asyncio
from typing import TYPE_CHECKING

from outlast.calls.breaker import Breakers, Permit
from outlast.calls.call import Answer, Handler, Layer, ModelCall
from outlast.calls.kinds import Kind, failure_of, require_whole
from outlast.errors import ProviderUnavailable

if TYPE_CHECKING:
    from outlast.calls.services import Calls

# What says that the model is down. A refused request (4xx) says that it is up, and whose fault that is.
_DOWN = frozenset({Kind.TIMEOUT, Kind.NETWORK, Kind.BAD_ANSWER})


def breaking(calls: "Calls") -> Layer:
    """Return the layer; it raises ProviderUnavailable (`open`) without asking while the model is left alone."""
    breakers = calls.breakers

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            target = call.target or call.targets[0]
            permit = await breakers.admit(target)
            if permit is None:
                msg = f"{target.name} has failed too often and is left alone for the moment"
                soonest = breakers.probe_in(target)
                raise ProviderUnavailable(msg, model=target.name, kind="open", retry_after=soonest)
            try:
                answer = await following(call)
                require_whole(answer, target.provider)
            # SDKs share no class of errors, and a call that was given up says something too; all of it is raised again.
            except (Exception, asyncio.CancelledError) as error:
                await _tell(breakers, permit, error, hurried=call.deadline.left <= 0)
                raise
            if permit.probe is None:
                breakers.answered(permit)
            else:
                await breakers.concluded(permit, answered=True)
            return answer

        return handle

    return layer


async def _tell(breakers: Breakers, permit: Permit, error: BaseException, *, hurried: bool) -> None:
    failure = failure_of(error)
    if hurried and failure is not None and failure.kind is Kind.TIMEOUT:
        # The call's own time was over; that says nothing of the model.
        failure = None
    down = failure is not None and failure.kind in _DOWN
    if permit.probe is not None:
        await breakers.concluded(permit, answered=None if failure is None else not down)
    elif down:
        await breakers.failed(permit)
