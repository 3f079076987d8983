"""Where a thread stands, read from its last checkpoint alone.

Without its graph, which may be what is broken: the nodes that ran last and those that are to run next are told by the
channels of the checkpoint, as LangGraph writes them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple
from langgraph.checkpoint.serde.types import ERROR

from outlast.agents import calling
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.jsonable import jsonable
from outlast.domain.stuck import PendingCall, Place

# LangGraph's channels that make a node run next: an edge, and what Send has sent.
_TRIGGER: Final = "branch:to:"
_SENT: Final = "__pregel_tasks"


async def place_of(saver: Checkpointer, thread_id: str) -> Place | None:
    """Return where a thread stands; None before its first checkpoint. Raises StateUnreadable naming the path."""
    head = await saver.aget_tuple({"configurable": {"thread_id": thread_id}})
    return None if head is None else read_place(head)


def read_place(head: CheckpointTuple) -> Place:
    """Return what a checkpoint says of itself."""
    values: Mapping[str, Any] = head.checkpoint["channel_values"]
    writes = head.pending_writes or ()
    finished = {task for task, channel, _ in writes if channel not in WRITES_IDX_MAP}
    return Place(
        checkpoint_id=UUID(head.checkpoint["id"]),
        step=head.metadata.get("step"),
        saved_at=datetime.fromisoformat(head.checkpoint["ts"]) if head.checkpoint.get("ts") else None,
        last=_last(head.checkpoint["versions_seen"]),
        next=_next(values),
        pending_calls=tuple(_pending(values)),
        errors=tuple(str(value) for task, channel, value in writes if channel == ERROR and task not in finished),
        questions=tuple(calling.open_questions(head)),
    )


def _last(seen: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the nodes whose input is the newest that any node has seen: they ran in the last step."""
    newest = {node: max(versions.values()) for node, versions in seen.items() if versions and not node.startswith("__")}
    if not newest:
        return ()
    top = max(newest.values())
    return tuple(sorted(node for node, version in newest.items() if version == top))


def _next(values: Mapping[str, Any]) -> tuple[str, ...]:
    triggered = [channel.removeprefix(_TRIGGER) for channel in values if channel.startswith(_TRIGGER)]
    sent = [packet.node for packet in values.get(_SENT) or () if hasattr(packet, "node")]
    return tuple(dict.fromkeys((*triggered, *sent)))


def _pending(values: Mapping[str, Any]) -> Sequence[PendingCall]:
    """Return the calls of the last model message, of whatever channel, that have no result."""
    for value in values.values():
        if not isinstance(value, list) or not value or not isinstance(value[-1], BaseMessage):
            continue
        messages = cast("list[Any]", value)
        asked = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
        if asked is None or not asked.tool_calls:
            continue
        answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
        return [
            PendingCall(id=call["id"], name=call["name"], arguments=jsonable(call["args"]))
            for call in asked.tool_calls
            if call["id"] not in answered
        ]
    return ()
