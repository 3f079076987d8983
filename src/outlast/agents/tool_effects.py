"""Tools that change something, called through `outlast.effect`.

Each call of the model is one effect: its key is made of the step that calls the tool and of the place among its calls,
so that a step which is executed again gets the result of the first time. When nobody knows whether the tool has done
its work, what the effect says of that happens (`on_unknown`: a person is asked); the model is not told, since it would
ask for the same thing again, under another key.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from inspect import Parameter, Signature
from keyword import iskeyword
from typing import Annotated, Any, Final, cast
from weakref import WeakKeyDictionary

import orjson
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolArg, StructuredTool
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolInvocationError
from langgraph.types import Command
from pydantic import BaseModel, ValidationError, create_model

from outlast.calls.effects import effect
from outlast.errors import NotApplied

KEY: Final = "idempotency_key"
# The tool's own limit is looked at inside; the effect's has only to be later, or it could not say which tool it was.
_LATER_SECONDS: Final = 5.0
_NO_LIMIT_SECONDS: Final = 7 * 86_400.0


async def applied(
    request: ToolCallRequest,
    call: Callable[[ToolCallRequest], Awaitable[Any]],
    options: Mapping[str, Any],
    *,
    seconds: float | None,
) -> Any:
    """Call the tool as an effect; raises what `outlast.effect` raises."""
    if not _takes_arguments(request):
        # The model is told of its wrong arguments; nothing is announced that will not be tried.
        return await call(request)

    async def carry_out(**given: Any) -> Any:
        with _refusals():
            return await call(_with_key(request, given[KEY]))

    perform = effect(name=request.tool_call["name"], **_complete(options, seconds))(_named(carry_out, request))
    return _answering(request, await perform(**_arguments(request)))


def applied_sync(
    request: ToolCallRequest,
    call: Callable[[ToolCallRequest], Any],
    options: Mapping[str, Any],
    *,
    seconds: float | None,
) -> Any:
    """Do the same in a thread."""
    if not _takes_arguments(request):
        return call(request)

    def carry_out(**given: Any) -> Any:
        with _refusals():
            return call(_with_key(request, given[KEY]))

    perform = effect(name=request.tool_call["name"], **_complete(options, seconds))(_named(carry_out, request))
    return _answering(request, perform(**_arguments(request)))


@contextmanager
def _refusals() -> Generator[None]:
    """Wrong arguments that only the tool itself has noticed: it was certainly not called."""
    try:
        yield
    except ToolInvocationError as error:
        raise NotApplied(error.message) from error


def _complete(options: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    return {"timeout": _NO_LIMIT_SECONDS if seconds is None else seconds + _LATER_SECONDS, **options}


def _takes_arguments(request: ToolCallRequest) -> bool:
    if request.tool is None:
        return False
    schema = cast("Any", request.tool.tool_call_schema)
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        # The schema of a tool from elsewhere (MCP): its server looks at the arguments.
        return True
    try:
        schema.model_validate(request.tool_call["args"])
    except ValidationError:
        return False
    return True


def _arguments(request: ToolCallRequest) -> dict[str, Any]:
    """Return what tells one call from another, by the tool's own names where a signature may have them."""
    given = {name: value for name, value in request.tool_call["args"].items() if name != KEY}
    nameable = all(name.isidentifier() and not iskeyword(name) for name in given)
    return given if nameable else {"arguments": given}


def _named(function: Any, request: ToolCallRequest) -> Any:
    names = [*_arguments(request), KEY]
    function.__signature__ = Signature([Parameter(name, Parameter.KEYWORD_ONLY) for name in names])
    return function


def _with_key(request: ToolCallRequest, key: str) -> ToolCallRequest:
    """Return the request for a tool that gets the key, if it has a parameter for it.

    LangGraph takes injected parameters out of the arguments, since a model could have made them up; so it is the
    tool's function that gets the key.
    """
    tool = request.tool
    if not isinstance(tool, StructuredTool) or not _takes_key(tool):
        return request
    function, coroutine = tool.func, tool.coroutine
    changes = {
        "args_schema": _schema_with_default(cast("type[BaseModel]", tool.args_schema)),
        "func": _keyed(function, key) if function is not None else None,
        "coroutine": _keyed(coroutine, key) if coroutine is not None else None,
    }
    return request.override(tool=tool.model_copy(update=changes))


def _takes_key(tool: StructuredTool) -> bool:
    schema: Any = tool.args_schema
    return isinstance(schema, type) and issubclass(schema, BaseModel) and KEY in schema.model_fields


def _keyed(function: Callable[..., Any], key: str) -> Callable[..., Any]:
    @wraps(function)
    def with_key(*args: Any, **given: Any) -> Any:
        return function(*args, **{**given, KEY: key})

    return with_key


_with_default: Final[WeakKeyDictionary[type[BaseModel], type[BaseModel]]] = WeakKeyDictionary()


def _schema_with_default(schema: type[BaseModel]) -> type[BaseModel]:
    """Return a schema that does not insist on the key."""
    if not schema.model_fields[KEY].is_required():
        return schema
    found = _with_default.get(schema)
    if found is None:
        key: Any = (Annotated[str, InjectedToolArg], "")
        found = _with_default[schema] = create_model(schema.__name__, __base__=schema, **{KEY: key})
    return found


def _answering(request: ToolCallRequest, result: Any) -> Any:
    """Return the result as that of this call: a model that was asked again has given its call another id."""
    items: list[Any] = cast("list[Any]", result) if isinstance(result, list) else [result]
    if not all(isinstance(item, ToolMessage | Command) for item in items):
        # A person, or a lookup, has said what came of it.
        return _told(request, result)
    answering = [_readdressed(request, item) for item in items]
    return answering if isinstance(result, list) else answering[0]


def _told(request: ToolCallRequest, result: Any) -> ToolMessage:
    text: str = result if isinstance(result, str) else orjson.dumps(result, default=str).decode()
    return ToolMessage(text, tool_call_id=request.tool_call["id"], name=request.tool_call["name"])


def _readdressed(request: ToolCallRequest, result: Any) -> Any:
    call_id = request.tool_call["id"]
    if isinstance(result, ToolMessage):
        return result if result.tool_call_id == call_id else result.model_copy(update={"tool_call_id": call_id})
    command = cast("Command[Any]", result)
    update: Any = command.update
    if not isinstance(update, dict):
        return command
    changed = {name: _readdressed_within(request, value) for name, value in cast("dict[str, Any]", update).items()}
    return replace(command, update=changed)


def _readdressed_within(request: ToolCallRequest, value: Any) -> Any:
    items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else []
    if not any(isinstance(item, ToolMessage) for item in items):
        return cast("Any", value)
    return [_readdressed(request, item) if isinstance(item, ToolMessage) else item for item in items]
