"""What an agent has put out, shown to a person, edited by one, and sent back to do better.

The output is what the graph declares as its output, for runs of either protocol. A person sees it as JSON; of a channel
of messages the last one only, since the others were said before.
"""

# LangGraph is typed, but pyright does not see it: the py.typed of a namespace package is not looked at.
# pyright: reportMissingTypeStubs=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

import orjson
from langchain_core.messages import AIMessage, HumanMessage, messages_from_dict
from langchain_core.runnables import RunnableConfig
from langgraph.channels import BinaryOperatorAggregate
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.constants import END, START
from langgraph.errors import InvalidUpdateError
from langgraph.graph.message import add_messages
from langgraph.types import Overwrite

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.jsonable import jsonable
from outlast.domain.outcome import Succeeded
from outlast.errors import InvalidInput, OutlastError

#: The key of a graph's input under which reasons come back, where it has no messages.
REVIEW: Final = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a run that has ended says, and where its thread stands."""

    #: The declared output, as JSON.
    value: Any
    #: What a person decides about: the same, of messages the last one.
    subject: Any
    checkpoint_id: UUID
    #: The conversation, as JSON; empty where the graph has none.
    messages: Sequence[Any] = ()


async def output_of(graph: Any, saver: Checkpointer, thread_id: str, outcome: Succeeded) -> Output:
    """Return the output of a run that has ended; the saver has its state at hand."""
    head = await saver.aget_tuple({"configurable": {"thread_id": thread_id}})
    value = declared(graph, outcome)
    return Output(
        value=value,
        subject=_subject(graph, value),
        checkpoint_id=checkpoint_id_of(head),
        messages=_messages(graph, head),
    )


def checkpoint_id_of(head: CheckpointTuple | None) -> UUID:
    """Return where a thread stands; a graph that has stored nothing stands nowhere."""
    return UUID(int=0) if head is None else UUID(head.checkpoint["id"])


def sent_back(graph: Any, text: str, reasons: Sequence[Mapping[str, str]], *, given: Any) -> Any:
    """Return the input that tells the agent what is wrong; None: it has no place for that.

    A graph with messages gets one of a person; one with a key `review` in its input the reasons; a function what it
    was `given`, with the reasons under that key.
    """
    told = [dict(reason) for reason in reasons]
    if START not in graph.nodes:
        return {**cast("dict[str, Any]", given), REVIEW: told} if isinstance(given, dict) else None
    accepted = _input_channels(graph)
    channel = next((name for name in accepted if _has_messages(graph, name)), None)
    if channel is not None:
        return {channel: [HumanMessage(text)]}
    return {REVIEW: told} if REVIEW in accepted else None


async def write_edit(graph: Any, config: RunnableConfig, subject: Any, edited: Any) -> None:
    """Write what a person has changed of the output into the thread, which then has nothing left to do.

    What is left out of an edited object stays as it is. A channel with a reducer gets what stands there now; of
    messages, those with the id of the shown one replace it. Raises InvalidInput when the graph refuses.
    """
    update = _update(graph, subject, edited)
    if update is None:
        return
    try:
        await _written(graph, config, update)
    except OutlastError:
        raise
    # Whatever a user's reducer or edge raises about a person's values.
    except Exception as error:
        msg = f"the graph refuses this edit: {type(error).__name__}: {error}"
        raise InvalidInput(msg, field="value") from error
    await rest(graph, config)


async def rest(graph: Any, config: RunnableConfig) -> None:
    """Leave the thread with nothing to do: an edit is the end, whatever the edges make of it. Safe to repeat."""
    if (await graph.aget_state(config)).next:
        await graph.aupdate_state(config, None, as_node=END)


async def _written(graph: Any, config: RunnableConfig, update: Any) -> None:
    nodes = [name for name in graph.nodes if not name.startswith("__")]
    try:
        await graph.aupdate_state(config, update, as_node=nodes[0] if len(nodes) == 1 else None)
    except InvalidUpdateError as error:
        if "mbiguous" not in str(error) or not nodes:
            raise
        # Several nodes have ended in the last step. Any of them may write any channel.
        await graph.aupdate_state(config, update, as_node=nodes[-1])


def _update(graph: Any, subject: Any, edited: Any) -> Any:
    """Return what is to be written; None when nothing has changed."""
    if edited == subject:
        return None
    if isinstance(graph.output_channels, str):
        return edited
    if not isinstance(edited, dict) or not isinstance(subject, dict):
        msg = "the edited output is an object, as the output is"
        raise InvalidInput(msg, field="value")
    shown, wanted = cast("dict[str, Any]", subject), cast("dict[str, Any]", edited)
    if unknown := sorted(set(wanted) - set(cast("Sequence[str]", graph.output_channels))):
        known = ", ".join(graph.output_channels)
        msg = f"the output has no {unknown[0]!r}; it has {known}"
        raise InvalidInput(msg, field=f"value.{unknown[0]}")
    changed = {name: value for name, value in wanted.items() if name not in shown or shown[name] != value}
    return {name: _channel_value(graph, name, shown.get(name), value) for name, value in changed.items()} or None


def _channel_value(graph: Any, name: str, shown: Any, value: Any) -> Any:
    if _has_messages(graph, name):
        return _edited_messages(shown, value)
    return Overwrite(value) if isinstance(graph.channels.get(name), BinaryOperatorAggregate) else value


def _edited_messages(shown: Any, value: Any) -> list[Any]:
    """Return messages for the reducer, which replaces those whose ids it knows."""
    before = cast("list[dict[str, Any]]", shown)[-1] if isinstance(shown, list) and shown else {}
    given = cast("list[Any]", value if isinstance(value, list) else [value])
    if len(given) != 1:
        return given
    [message] = given
    if isinstance(message, str):
        return [AIMessage(message, id=before.get("id"))]
    if isinstance(message, dict):
        said = cast("dict[str, Any]", message)
        said = {**said, "type": said.get("type") or "ai", "id": said.get("id") or before.get("id")}
        return messages_from_dict([{"type": said["type"], "data": said}])
    msg = "a message is a text, or an object with `type` and `content`"
    raise InvalidInput(msg, field="value")


def declared(graph: Any, outcome: Succeeded) -> Any:
    """Return what the graph declares as its output of how it ended, as JSON."""
    if outcome.output is not None or outcome.values is None:
        return outcome.output
    state: Any = orjson.loads(outcome.values)
    channels = graph.output_channels
    if isinstance(channels, str) or not isinstance(state, dict):
        return state  # pyright: ignore[reportUnknownVariableType] - JSON
    return {name: value for name, value in cast("dict[str, Any]", state).items() if name in channels}


def _subject(graph: Any, output: Any) -> Any:
    if not isinstance(output, dict) or isinstance(graph.output_channels, str):
        return output  # pyright: ignore[reportUnknownVariableType] - JSON
    return {name: _shown(graph, name, value) for name, value in cast("dict[str, Any]", output).items()}


def _shown(graph: Any, name: str, value: Any) -> Any:
    if not isinstance(value, list) or not _has_messages(graph, name):
        return value  # pyright: ignore[reportUnknownVariableType] - JSON
    return cast("list[Any]", value)[-1:]


def _messages(graph: Any, head: CheckpointTuple | None) -> list[Any]:
    values: Mapping[str, Any] = {} if head is None else head.checkpoint["channel_values"]
    channel = next((name for name in graph.channels if _has_messages(graph, name)), None)
    return [] if channel is None else jsonable(values.get(channel) or [])


def _has_messages(graph: Any, name: str) -> bool:
    return getattr(graph.channels.get(name), "operator", None) is add_messages


def _input_channels(graph: Any) -> list[str]:
    builder = getattr(graph, "builder", None)
    if builder is None:
        return []
    return [str(name) for name in builder.schemas.get(builder.input_schema, ())]
