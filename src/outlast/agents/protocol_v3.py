"""What a run does, as events of the thread-centred protocol (`client.threads.stream`), made where the run executes.

One record of the stream is one event, so that an event's place in the line of the thread is its sequence number. That
the run is `running` is said by the first record of its claim. Its end and its questions are no records: they are
derived from the run's row, since a run may end without its worker.

Guarantees, as clients rely on them:

- a checkpoint comes right before the values that it holds (LangGraph says them the other way round);
- a subgraph's `started` comes before everything it does, its end after everything;
- whatever began (a message, a call of a tool, a subgraph) is told to have ended, unless the process dies in between.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, cast

from outlast.agents.chunks import clean_task
from outlast.agents.jsonable import encoded
from outlast.agents.protocol_messages import MessageEvents, Namespace

#: The stream modes that the events are made of.
V3_MODES: Final = ("checkpoints", "custom", "messages", "tasks", "tools", "updates", "values")
#: The mode of a record that holds an event: this and its method.
V3_PREFIX: Final = "v3:"

_NOTHING: Final[Mapping[str, Any]] = {}

Ended = Literal["completed", "failed", "cancelled", "interrupted"]


class Encoded(NamedTuple):
    """An event, ready for the emitter: mode, namespace and JSON. `seq` and `event_id` are added when it is sent."""

    mode: str
    ns: str
    data: bytes


class ProtocolEncoder:
    """Encodes one attempt of a run; belongs to it, and to the loop that it runs on."""

    def __init__(self, *, thread_id: str) -> None:
        self._messages = MessageEvents(thread_id=thread_id)
        self._held: dict[Namespace, Encoded] = {}
        self._tools: dict[str, Namespace] = {}
        self._subgraphs: dict[Namespace, str] = {}
        self._seen: set[Namespace] = set()
        # Task id -> the tool call that the task answers, which says why a subgraph started.
        self._calls: dict[str, str] = {}
        self._of_mode: dict[str, Callable[[Namespace, Any], Iterator[Encoded]]] = {
            "updates": _updates,
            "custom": _custom,
            "tools": self._tool,
            "tasks": self._task,
            "messages": self._message,
        }

    def begin(self, *, attempt: int, answered: Sequence[str] = ()) -> list[Encoded]:
        """Return what a run says first; `answered`: the ids of the questions that it was created to answer."""
        if attempt > 1 or not answered:
            return []
        return [_event("input.answered", (), {"interrupt_ids": list(answered)})]

    def events(self, part: Mapping[str, Any]) -> list[Encoded]:
        """Return the events of one part of `graph.astream(version="v2")`.

        Call it before the next await: a part holds the live lists of the state.
        """
        mode, ns, data = part["type"], tuple(part["ns"]), part["data"]
        if mode == "checkpoints":
            held = self._held.pop(ns, None)
            return [_event("checkpoints", ns, _checkpoint(data)), *([] if held is None else [held])]
        events = self._flushed()
        if mode == "values":
            self._held[ns] = _event("values", ns, data)
        elif mode in self._of_mode:
            events.extend(self._of_mode[mode](ns, data))
        return events

    def end(self, status: Ended, error: str | None = None) -> list[Encoded]:
        """Return what closes everything that is still open; nothing may be encoded afterwards.

        To be called before the last flush, however the attempt went: also when the run will be taken up again.
        """
        why = error or f"the run was {status}"
        events = self._flushed()
        events += [_event("messages", ns, data, node) for ns, node, data in self._messages.abandon(why)]
        if status == "interrupted":
            # A tool that asks a person is paused, not over; LangGraph says nothing of it either.
            self._tools.clear()
        for call, ns in self._tools.items():
            events.append(_event("tools", ns, {"event": "tool-error", "tool_call_id": call, "message": why}))
        closing = "failed" if status == "cancelled" else status
        for child in sorted(self._subgraphs, key=len, reverse=True):
            events.append(self._ended(child, closing, why if closing == "failed" else None))
        return events

    def _flushed(self) -> list[Encoded]:
        events = list(self._held.values())
        self._held.clear()
        return events

    def _message(self, ns: Namespace, data: tuple[object, Mapping[str, Any]]) -> Iterator[Encoded]:
        message, metadata = data
        for where, node, event in self._messages.of(ns, message, metadata):
            yield _event("messages", where, event, node)

    def _tool(self, ns: Namespace, data: Mapping[str, Any]) -> Iterator[Encoded]:
        kind, call = data["event"], data["tool_call_id"]
        if kind == "tool-started":
            self._tools[call] = ns
        elif kind in ("tool-finished", "tool-error"):
            self._tools.pop(call, None)
        elif not isinstance(data.get("delta"), str):
            # The SDK drops a delta that is no text.
            data = {**data, "delta": encoded(data.get("delta")).decode()}
        yield _event("tools", ns, data)

    def _task(self, ns: Namespace, data: Mapping[str, Any]) -> Iterator[Encoded]:
        if "result" in data:
            yield from self._task_ended(ns, data)
            return
        call = _tool_call(data.get("input"))
        if call is not None:
            self._calls[data["id"]] = call
        yield from self._subgraphs_started(ns, data)
        yield _event("tasks", ns, data)

    def _task_ended(self, ns: Namespace, data: Mapping[str, Any]) -> Iterator[Encoded]:
        data = clean_task(data)
        error = data.get("error")
        why = str(cast("dict[str, str]", error)["message"]) if isinstance(error, dict) else None
        for where, node, event in self._messages.task_ended(data["id"], why):
            yield _event("messages", where, event, node)
        yield _event("tasks", ns, data)
        for child, task in list(self._subgraphs.items()):
            if child[:-1] == ns and task == data["id"]:
                status = "interrupted" if data.get("interrupts") else "completed" if why is None else "failed"
                yield self._ended(child, status, why)

    def _subgraphs_started(self, ns: Namespace, data: Mapping[str, Any]) -> Iterator[Encoded]:
        for depth in range(1, len(ns) + 1):
            child = ns[:depth]
            if child in self._seen:
                continue
            self._seen.add(child)
            name, _, task = child[-1].partition(":")
            about: Mapping[str, Any] = data.get("metadata") or {}
            agent = about.get("lc_agent_name") if depth == len(ns) else None
            started: dict[str, Any] = {"event": "started", "graph_name": agent or name}
            if task in self._calls:
                started["cause"] = {"type": "toolCall", "tool_call_id": self._calls[task]}
            if task:
                self._subgraphs[child] = task
            yield _event("lifecycle", child, started)

    def _ended(self, child: Namespace, status: str, error: str | None) -> Encoded:
        self._subgraphs.pop(child, None)
        data = {"event": status, "graph_name": child[-1].partition(":")[0]}
        return _event("lifecycle", child, data if error is None else {**data, "error": error})


def _event(method: str, ns: Namespace, data: object, node: str | None = None) -> Encoded:
    # The worker's time: clients compare it with that of the checkpoint they began with, which is from this clock.
    params: dict[str, Any] = {"namespace": ns, "timestamp": int(time.time() * 1000), "data": data}
    if node is not None:
        params["node"] = node
    name = cast("Mapping[str, Any]", data).get("name") if method == "custom" else None
    mode = f"{V3_PREFIX}{method}:{name}" if isinstance(name, str) and name else f"{V3_PREFIX}{method}"
    return Encoded(mode, "|".join(ns), encoded({"method": method, "params": params}))


def _updates(ns: Namespace, data: Mapping[str, Any] | None) -> Iterator[Encoded]:
    if data is None:
        return
    for node, values in data.items():
        if node != "__interrupt__":
            yield _event("updates", ns, {"node": node, "values": _NOTHING if values is None else values})


def _custom(ns: Namespace, data: object) -> Iterator[Encoded]:
    # Python's clients read what the node said itself, JavaScript's read `payload`.
    if isinstance(data, dict):
        said = cast("dict[str, Any]", data)
        if isinstance(said.get("name"), str) and said["name"]:
            yield _event("custom", ns, {"payload": said.get("payload", said), **said})
            return
    yield _event("custom", ns, {"payload": cast("object", data)})


def _checkpoint(data: Mapping[str, Any]) -> dict[str, Any]:
    metadata: Mapping[str, Any] = data.get("metadata") or {}
    came_from: Mapping[str, Any] = data.get("parent_config") or {}
    parent = came_from.get("configurable", {}).get("checkpoint_id")
    said: dict[str, Any] = {
        "id": data["config"]["configurable"]["checkpoint_id"],
        "step": metadata.get("step", -1),
        "source": metadata.get("source", "loop"),
    }
    return {**said, "parent_id": parent} if parent else said


def _tool_call(given: object) -> str | None:
    call: Any = cast("dict[str, Any]", given).get("tool_call") if isinstance(given, dict) else None
    found: Any = cast("dict[str, Any]", call).get("id") if isinstance(call, dict) else None
    return found if isinstance(found, str) else None
