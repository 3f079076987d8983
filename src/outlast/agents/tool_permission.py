"""Whether a tool may be called: the model is told when it may not."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from langchain_core.messages import ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest

from outlast.calls import scope, tool_policy
from outlast.calls.bridging import elsewhere, home_of, wait_for
from outlast.telemetry import emit

_CORRECT = "Correct them and call it again, or go on without it."
_GIVE_UP = "Do not try it again; go on without it, or say what you cannot do."


async def asked(request: ToolCallRequest) -> ToolMessage | None:
    """Return the refusal for the model; None: it may be called. Raises what ends the task, see `tool_policy`."""
    running = scope.current.get()
    if running is None or running.calls.policing is None:
        return None
    call = request.tool_call
    if asyncio.get_running_loop() is running.loop:
        why = await tool_policy.objection(running, call["name"], call["args"])
    else:
        why = await elsewhere(lambda: tool_policy.objection(running, call["name"], call["args"]), running.loop)
    return None if why is None else _refusal(request, why)


def asked_sync(request: ToolCallRequest) -> ToolMessage | None:
    """Do the same where the graph was called synchronously."""
    running, call = scope.current.get(), request.tool_call
    if running is None or not tool_policy.is_asked(running):
        return None
    loop = home_of(running, f"tool {call['name']!r}")
    why = wait_for(tool_policy.objection(running, call["name"], call["args"]), loop)
    return None if why is None else _refusal(request, why)


@contextmanager
def passing(request: ToolCallRequest) -> Generator[None]:
    """Let the call pass where all tools are looked at: it has been."""
    before = tool_policy.passed.set(request.tool_call["id"])
    try:
        yield
    finally:
        tool_policy.passed.reset(before)


def _refusal(request: ToolCallRequest, why: str) -> ToolMessage:
    name = request.tool_call["name"]
    running = scope.current.get()
    if running is not None:
        running.tally.add_tool()
    # Models make up tools.
    exists = request.tool is not None
    emit("tool.refused", run_id=running.run_id if running is not None else None, tool=name, exists=exists)
    text = f"{name} was not called: {why}. {_CORRECT if isinstance(why, tool_policy.WrongArguments) else _GIVE_UP}"
    return ToolMessage(text, name=name, tool_call_id=request.tool_call["id"], status="error")
