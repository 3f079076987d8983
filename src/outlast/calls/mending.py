"""The outermost layer of a call: what the model is shown of the conversation.

Pure functions of the messages, before the journal: its hash is of what is really asked.
"""

from typing import TYPE_CHECKING, Any, cast

from outlast.calls.call import Answer, Handler, Layer, ModelCall
from outlast.calls.history import mended
from outlast.calls.trimming import limit_of, trimmed
from outlast.telemetry import emit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outlast.calls.services import Calls


def mending(calls: "Calls") -> Layer:
    """Pair tool calls and results, and leave out what does not fit the model, where that is wanted."""
    mends = calls.settings.mend_history

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            if mends:
                _mend(call)
            limit = limit_of(call)
            if limit is not None:
                _trim(call, limit)
            return await following(call)

        return handle

    return layer


def _mend(call: ModelCall) -> None:
    paired = mended(call.messages)
    if paired is not call.messages:
        emit("call.history_mended", run_id=_run_id(call), before=len(call.messages), after=len(paired))
        call.messages = paired


def _trim(call: ModelCall, limit: int) -> None:
    tools = cast("Sequence[Any]", call.options.get("tools") or ())
    kept = trimmed(call.messages, limit, tools=tools)
    if kept is not call.messages:
        emit("call.context_trimmed", run_id=_run_id(call), before=len(call.messages), after=len(kept), tokens=limit)
        call.messages = kept


def _run_id(call: ModelCall) -> Any:
    return call.scope.run_id if call.scope is not None else None
