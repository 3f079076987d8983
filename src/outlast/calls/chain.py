"""The one place where the layers of a model call are put together.

A layer is made of what its process shares (`Calls`) and stands in a file of its own:

    def journaled(calls: Calls) -> Layer:          # module journaling
        def layer(following: Handler) -> Handler:
            async def handle(call: ModelCall) -> Answer: ...
            return handle
        return layer

Modules of layers import `outlast.calls.services` for its types only (`if TYPE_CHECKING`), since it imports this one.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from outlast.calls.breaking import breaking
from outlast.calls.budget_questions import asking_for_budget
from outlast.calls.budgeted import budgeted
from outlast.calls.cache import cached
from outlast.calls.call import Answer, Handler, Layer, ModelCall
from outlast.calls.caps import capped
from outlast.calls.fallback import fallback
from outlast.calls.journaling import journaled
from outlast.calls.limiter import limited
from outlast.calls.mending import mending
from outlast.calls.metering import metered
from outlast.calls.policed import policed
from outlast.calls.provider import ask_provider
from outlast.calls.retry import retried
from outlast.calls.spanned import spanned
from outlast.errors import CallFailed
from outlast.telemetry import emit, tracing

if TYPE_CHECKING:
    from outlast.calls.services import Calls

LayerOf: TypeAlias = "Callable[[Calls], Layer]"

#: Outermost first. What stands before `fallback` is passed once per call, what stands behind it once per target.
LAYERS: Final[tuple[LayerOf, ...]] = (
    mending,
    asking_for_budget,
    journaled,
    policed,
    capped,
    cached,
    fallback,
    retried,
    breaking,
    limited,
    budgeted,
    metered,
)


def composed(calls: "Calls", layers: Sequence[LayerOf] = LAYERS) -> Handler:
    """Return what answers the calls of a process; made once, not per call."""
    handler: Handler = ask_provider
    for layer_of in reversed(layers):
        handler = layer_of(calls)(handler)
    return handler


async def answer(call: ModelCall) -> Answer:
    """Take a call through all layers; see `LAYERS` for their order."""
    try:
        return await (spanned(call, call.calls.answer) if tracing() else call.calls.answer(call))
    except CallFailed as error:
        run_id = call.scope.run_id if call.scope is not None else None
        emit("call.failed", model=error.model, kind=error.kind, tries=call.tries, run_id=run_id)
        raise
