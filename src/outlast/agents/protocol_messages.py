"""Messages of a run as the content-block events of the thread-centred protocol.

LangGraph can make models speak this protocol by themselves, but then stores other messages in the graph's state, and
the nodes, the clients and the runs that come later see those. So the chunks are translated here, by langchain-core's
own rules for a stream of chunks, and the state is the same whoever watches.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast
from uuid import uuid4

from langchain_core.language_models import _compat_bridge as bridge
from langchain_core.messages import AIMessageChunk, BaseMessage, ToolMessage

from outlast.calls import restarts

# The rules are private to langchain-core, though LangGraph imports them too; a test compares what they make here with
# what LangGraph's own stream of the same run says.
_blocks_of: Any = bridge._iter_protocol_blocks  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_start: Any = bridge._start_skeleton  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_delta: Any = bridge._to_content_delta  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_accumulate: Any = bridge._accumulate  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_finalize: Any = bridge._finalize_block  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

_CALLS: Final = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call"})
_ROLES: Final = {"human": "human", "system": "system"}
_PLAIN: Final = (str, int, float, bool)
_KEPT: Final = ("langgraph_node", "langgraph_step", "langgraph_checkpoint_ns")
_RENAMED: Final = (("ls_provider", "provider"), ("ls_model_name", "model"), ("ls_model_type", "model_type"))

Namespace = tuple[str, ...]


class MessageEvent(NamedTuple):
    """One event of a message: where the graph stands that has it, the node, and what is said."""

    ns: Namespace
    node: str | None
    data: dict[str, Any]


@dataclass(slots=True)
class _Open:
    """A message that has begun and not ended."""

    ns: Namespace
    node: str | None
    task: str
    blocks: dict[Any, tuple[int, Any]] = field(default_factory=dict[Any, tuple[int, Any]])
    usage: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


class MessageEvents:
    """Turns what LangGraph's mode `messages` brings during one attempt of a run into events.

    Every event carries its message's id, since two models may speak at once. A message that began is always ended: by
    its last chunk, by the end of the task whose model it was, or by `abandon`.
    """

    def __init__(self, *, thread_id: str) -> None:
        self._thread_id = thread_id
        self._open: dict[str, _Open] = {}
        self._native: dict[str, str] = {}
        self._seen: set[str] = set()

    def of(self, ns: Namespace, message: object, metadata: Mapping[str, Any]) -> Iterator[MessageEvent]:
        """Yield the events of one part: a chunk, a whole message, or an event that a model made by itself."""
        if isinstance(message, dict):
            yield from self._of_event(ns, cast("dict[str, Any]", message), metadata)
        elif isinstance(message, AIMessageChunk):
            yield from self._of_chunk(ns, message, metadata)
        elif isinstance(message, BaseMessage):
            yield from self._of_whole(ns, message, metadata)

    def task_ended(self, task_id: str, error: str | None) -> Iterator[MessageEvent]:
        """Yield the ends of messages whose task is over: a model need not say which chunk is its last."""
        for message_id in [message_id for message_id, message in self._open.items() if message.task == task_id]:
            yield from self._finished(message_id) if error is None else self._failed(message_id, error)

    def abandon(self, reason: str) -> Iterator[MessageEvent]:
        """Yield an error for every message that will not be ended any more."""
        for message_id in list(self._open):
            yield from self._failed(message_id, reason)

    def _of_event(self, ns: Namespace, event: dict[str, Any], metadata: Mapping[str, Any]) -> Iterator[MessageEvent]:
        run_id = str(metadata.get("run_id"))
        if event["event"] == "message-start":
            message_id = str(event.get("id") or event.get("message_id") or run_id)
            self._native[run_id] = message_id
            self._begun(message_id, ns, metadata)
            event = {**event, "metadata": {**self._metadata(metadata), **(event.get("metadata") or {})}}
        found = self._native.get(run_id)
        if found is None or found not in self._open:
            return
        # Of the model's own run, by which JavaScript tells apart what several models say at once.
        yield self._event(found, {**event, "run_id": run_id})
        if event["event"] in ("message-finish", "error"):
            self._open.pop(found)
            self._native.pop(run_id)

    def _of_chunk(self, ns: Namespace, chunk: AIMessageChunk, metadata: Mapping[str, Any]) -> Iterator[MessageEvent]:
        message_id = str(chunk.id)
        if restarts.is_restart(chunk):
            yield from self._restarted(ns, chunk, metadata)
        elif message_id not in self._open:
            if message_id in self._seen:
                # A chunk behind the end of its message, by a model that says something more.
                return
            self._begun(message_id, ns, metadata)
            yield self._event(
                message_id, {"event": "message-start", "role": "ai", "metadata": self._metadata(metadata)}
            )
        message = self._open[message_id]
        message.metadata.update(chunk.response_metadata or {})
        for key, block in _blocks_of(chunk):
            yield from self._of_block(message_id, message, key, block)
        if chunk.usage_metadata:
            message.usage = dict(chunk.usage_metadata)
        if chunk.chunk_position == "last":
            yield from self._finished(message_id)

    def _restarted(self, ns: Namespace, chunk: AIMessageChunk, metadata: Mapping[str, Any]) -> Iterator[MessageEvent]:
        """Yield the second start of a message whose first try failed; clients drop what they have of it then."""
        message_id, replaced = str(chunk.id), restarts.replaced(chunk)
        if replaced != message_id and replaced in self._open:
            yield from self._failed(replaced, "the model was asked again")
        self._begun(message_id, ns, metadata)
        again = {**self._metadata(metadata), "attempt": chunk.response_metadata[restarts.MARK].get("attempt")}
        yield self._event(message_id, {"event": "message-start", "role": "ai", "metadata": again})

    def _of_block(self, message_id: str, message: _Open, key: Any, block: dict[str, Any]) -> Iterator[MessageEvent]:
        if key in message.blocks:
            index, so_far = message.blocks[key]
            message.blocks[key] = (index, _accumulate(so_far, block))
        else:
            index = len(message.blocks)
            message.blocks[key] = (index, dict(block))
            yield self._event(message_id, {"event": "content-block-start", "index": index, "content": _start(block)})
        delta = _delta(block)
        if delta is not None:
            yield self._event(message_id, {"event": "content-block-delta", "index": index, "delta": delta})

    def _of_whole(self, ns: Namespace, message: BaseMessage, metadata: Mapping[str, Any]) -> Iterator[MessageEvent]:
        """Yield the events of a message that a node returned, or a model that does not stream."""
        message_id = str(message.id or uuid4())
        if isinstance(message, ToolMessage) or message_id in self._seen:
            return
        if all(block.get("type") in _CALLS for block in message.content_blocks):
            # Nothing to read: calls of tools have events of their own, and are in the state.
            return
        self._begun(message_id, ns, metadata)
        for event in bridge.message_to_events(message, message_id=message_id):
            data = cast("dict[str, Any]", event)
            if data["event"] == "message-start":
                extra: dict[str, Any] = {**self._metadata(metadata), **(data.get("metadata") or {})}
                data = {**data, "role": _ROLES.get(message.type, "ai"), "metadata": extra}
            yield self._event(message_id, data)
        self._open.pop(message_id)

    def _begun(self, message_id: str, ns: Namespace, metadata: Mapping[str, Any]) -> None:
        node = metadata.get("langgraph_node")
        task = str(metadata.get("langgraph_checkpoint_ns", "")).rpartition(":")[2]
        self._open[message_id] = _Open(ns, node if isinstance(node, str) else None, task)
        self._seen.add(message_id)

    def _finished(self, message_id: str) -> Iterator[MessageEvent]:
        message = self._open[message_id]
        for index, block in message.blocks.values():
            yield self._event(
                message_id, {"event": "content-block-finish", "index": index, "content": _finalize(block)}
            )
        finish: dict[str, Any] = {"event": "message-finish"}
        if message.usage:
            finish["usage"] = message.usage
        if message.metadata:
            finish["metadata"] = message.metadata
        yield self._event(message_id, finish)
        self._open.pop(message_id)

    def _failed(self, message_id: str, reason: str) -> Iterator[MessageEvent]:
        yield self._event(message_id, {"event": "error", "message": reason})
        self._open.pop(message_id)

    def _event(self, message_id: str, data: Mapping[str, Any]) -> MessageEvent:
        message = self._open[message_id]
        return MessageEvent(message.ns, message.node, {**data, "id": message_id})

    def _metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a client may see of a message's metadata, which holds whatever the run's config held."""
        kept = {key: metadata[key] for key in _KEPT if isinstance(metadata.get(key), _PLAIN)}
        renamed = {name: metadata[key] for key, name in _RENAMED if isinstance(metadata.get(key), str)}
        return {**kept, **renamed, "thread_id": self._thread_id}
