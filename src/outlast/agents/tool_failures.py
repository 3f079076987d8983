"""Which failure of a tool the model is told, and which one ends the step or the run.

The model is told what it can do something about: wrong arguments, a page that is not there, a service that does not
answer. Everything that says something about the run itself passes on: a question to a person, a lost lease, a cap that
is reached, an effect of which nobody knows whether it was applied (told to the model, it would be asked for again
under another key), a database or a provider that is away (the run waits and goes on).
"""

from typing import Final, cast

from langchain_core.messages import ToolMessage
from langgraph.errors import GraphBubbleUp, is_invalid_resume
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolInvocationError
from pydantic import ValidationError

from outlast.calls import scope
from outlast.calls.tool_results import told
from outlast.errors import (
    BadAnswer,
    Conflict,
    Forbidden,
    InvalidInput,
    NotApplied,
    NotFound,
    OutlastError,
    ProviderRefused,
)
from outlast.telemetry import FaultInjected, emit

# Errors of ours that are about what was asked for.
_FOR_THE_MODEL: Final = (BadAnswer, Conflict, Forbidden, InvalidInput, NotApplied, NotFound, ProviderRefused)
_FOR_THE_RUN: Final = (GraphBubbleUp, FaultInjected, MemoryError)
# The same call fails the same way each time.
_HOPELESS: Final = (
    AttributeError, ImportError, LookupError, NameError, NotImplementedError, OutlastError, SyntaxError,
    ToolInvocationError, TypeError, ValidationError,
)  # fmt: skip


class ToolTimeout(TimeoutError):
    """A tool has taken longer than it may."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} took longer than {seconds:g} s and was stopped; it may have done a part of its work")


def for_the_run(error: BaseException) -> BaseException | None:
    """Return the error that passes on, which may stand inside of a group; None when the model is told."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return next((found for inner in group.exceptions if (found := for_the_run(inner)) is not None), None)
    if not isinstance(error, Exception) or isinstance(error, _FOR_THE_RUN) or is_invalid_resume(error):
        return error
    return error if isinstance(error, OutlastError) and not isinstance(error, _FOR_THE_MODEL) else None


def is_worth_repeating(error: Exception) -> bool:
    """Whether another try of a tool that only reads may do better."""
    # A bare ValueError is about the arguments; its kinds, like broken JSON, are about what came back.
    return for_the_run(error) is None and not isinstance(error, _HOPELESS) and type(error) is not ValueError


def answered(request: ToolCallRequest, error: Exception) -> ToolMessage:
    """Return what the model is told of the error; raises it when it passes on."""
    passing = for_the_run(error)
    if passing is not None:
        raise passing
    name = request.tool_call["name"]
    running = scope.current.get()
    emit("tool.failed", run_id=running.run_id if running is not None else None, tool=name, error=type(error).__name__)
    return ToolMessage(told(error), name=name, tool_call_id=request.tool_call["id"], status="error")


def wrong_arguments(error: Exception) -> str:
    """For `ToolNode(handle_tool_errors=...)`: the model hears of its wrong arguments, the rest is ours to tell."""
    if isinstance(error, ToolInvocationError):
        return error.message
    raise error
