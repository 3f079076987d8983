"""Every request that LangGraph's SDK can send: each method called with every argument it has, and what went out."""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import orjson
from langgraph_sdk.client import LangGraphClient

RESOURCES = ("assistants", "threads", "runs", "crons", "store")
# Not one request but a session; the tests of the thread's stream drive it.
_SESSIONS = {("threads", "stream")}
# Arguments that stay on the client's side, or are the transport's own.
_LOCAL = {"self", "params", "headers", "on_run_created", "raise_error", "response_format"}
_STREAM_VERSION = ("runs", "stream", "version")

_IDS = {
    "thread_id": "00000000-0000-4000-8000-000000000001",
    "assistant_id": "00000000-0000-4000-8000-000000000002",
    "run_id": "00000000-0000-4000-8000-000000000003",
    "cron_id": "00000000-0000-4000-8000-000000000004",
    "checkpoint_id": "00000000-0000-4000-8000-000000000005",
}
_CHECKPOINT = {"thread_id": _IDS["thread_id"], "checkpoint_ns": "", "checkpoint_id": "c", "checkpoint_map": {}}
_VALUES: Mapping[str, Any] = {
    **_IDS,
    "after_seconds": 1,
    "as_node": "node",
    "before": "c",
    "checkpoint": _CHECKPOINT,
    "end_time": datetime(2030, 1, 1, tzinfo=UTC),
    "extract": {"last": "values.messages[-1]"},
    "ids": [_IDS["thread_id"]],
    "include": ["ttl"],
    "index": ["text"],
    "interrupt_after": ["node"],
    "interrupt_before": ["node"],
    "langsmith_tracing": {"project_name": "p", "example_id": "e"},
    "last_event_id": "1",
    "limit": 3,
    "max_depth": 2,
    "namespace": ["a"],
    "namespace_prefix": ["a"],
    "offset": 2,
    "prefix": ["a"],
    "run_ids": [_IDS["run_id"]],
    "select": ["metadata"],
    "stream_mode": ["values"],
    "suffix": ["a"],
    "thread_ids": [_IDS["thread_id"]],
    "ttl": 5,
    "version": 1,
    "xray": 1,
    "feedback_keys": ["helpful"],
    "supersteps": [{"updates": [{"values": {}, "command": {}, "as_node": "node"}]}],
    "payloads": [
        {
            "thread_id": _IDS["thread_id"], "assistant_id": "a", "input": {}, "metadata": {}, "config": {},
            "context": {}, "checkpoint_id": "c", "interrupt_before": ["a"], "interrupt_after": ["a"],
            "webhook": "https://a.example", "multitask_strategy": "reject",
        }
    ],
}  # fmt: skip
_OBJECTS = ("command", "config", "context", "filter", "input", "metadata", "value", "values")
_FLAGS = (
    "cancel_on_disconnect", "checkpoint_during", "delete_threads", "enabled", "recurse", "refresh_ttl",
    "return_minimal", "stream_resumable", "stream_subgraphs", "strict_resume", "subgraphs", "wait",
)  # fmt: skip
#: Where one argument decides what the others mean, the method is called without it, too.
_DECIDING = (("checkpoint",), ("checkpoint", "checkpoint_id"), ("thread_id",), ("namespace",), ("run_ids",))


class Sent(NamedTuple):
    """A field of a request: `name` in its body, `?name` in its query."""

    method: str
    path: str
    field: str


async def sent_by_python() -> set[Sent]:
    """Return every field of every request, and the requests without fields as fields named ''."""
    sent: set[Sent] = set()
    client = LangGraphClient(httpx.AsyncClient(transport=httpx.MockTransport(_recorder(sent)), base_url="http://sdk"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for call in _calls(client):
            await call if inspect.iscoroutine(call) else await _drained(call)
    return sent


def _calls(client: LangGraphClient) -> Iterator[Any]:
    for resource in RESOURCES:
        part = getattr(client, resource)
        for name, function in inspect.getmembers(type(part), inspect.isfunction):
            if name.startswith("_") or (resource, name) in _SESSIONS:
                continue
            arguments = {
                parameter: _value(resource, name, parameter)
                for parameter in inspect.signature(function).parameters
                if parameter not in _LOCAL and (resource, name, parameter) != _STREAM_VERSION
            }
            for left_out in ((), *_DECIDING):
                if set(left_out) <= arguments.keys() and (not left_out or _optional(function, left_out, name)):
                    given = {key: value for key, value in arguments.items() if key not in left_out}
                    yield _called(getattr(part, name), {**given, **_none_for(function, left_out)})


def _called(method: Any, arguments: dict[str, Any]) -> Any:
    bound = inspect.signature(method)
    only = [name for name, item in bound.parameters.items() if item.kind is inspect.Parameter.POSITIONAL_ONLY]
    positional = [arguments.pop(name) for name in only]
    return method(*positional, **arguments)


def _optional(function: Any, left_out: tuple[str, ...], name: str) -> bool:
    stateless = left_out == ("thread_id",) and name in {"create", "stream", "wait"}
    return stateless or all(_has_default(function, parameter) for parameter in left_out)


def _none_for(function: Any, left_out: tuple[str, ...]) -> dict[str, None]:
    return {name: None for name in left_out if not _has_default(function, name)}


def _has_default(function: Any, parameter: str) -> bool:
    return inspect.signature(function).parameters[parameter].default is not inspect.Parameter.empty


def _value(resource: str, method: str, name: str) -> Any:
    if (resource, method, name) == ("assistants", "get_subgraphs", "namespace"):
        return "sub"
    if name in _FLAGS:
        return True
    if name in _OBJECTS:
        return {"a": 1}
    return _VALUES.get(name, "text")


async def _drained(parts: Any) -> None:
    async for _ in parts:
        pass


def _recorder(sent: set[Sent]) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        for name, value in _IDS.items():
            path = path.replace(value, f"{{{name}}}")
        path = path.replace("/subgraphs/sub", "/subgraphs/{namespace}")
        fields = {f"?{name}" for name in request.url.params}
        body = orjson.loads(request.content) if request.content else None
        for item in body if isinstance(body, list) else [body or {}]:
            fields |= set(item)
        sent.update(Sent(request.method, path, field) for field in fields or {""})
        kind = "text/event-stream" if "stream" in path else "application/json"
        content = b"event: end\ndata: null\n\n" if "stream" in path else b"{}"
        return httpx.Response(200, headers={"content-type": kind}, content=content)

    return answer
