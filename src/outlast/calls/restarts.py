"""A streamed answer that begins anew: what was streamed of a try that failed does not count.

The first chunk of the next try is a `RestartChunk`. Who adds chunks up with `+`, as LangChain and its users do, gets
the message of the last try alone. Who shows chunks as they come looks for the mark, which is JSON like all metadata:

    chunk.response_metadata["outlast"] == {"restart": True, "attempt": 2, "model": "openai:gpt-4o", "replaces": "lc_."}

`attempt` counts the tries of the call from 1, `replaces` is the id of the message that the earlier chunks had: drop
what has this id.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk

#: What of `response_metadata` is ours.
MARK: Final = "outlast"


class RestartChunk(AIMessageChunk):
    """The first chunk after a restart; added to what came before, it drops it."""

    def __radd__(self, earlier: object) -> AIMessageChunk:
        """Return this chunk alone. Python asks it before the left one, whose class it refines."""
        # A plain chunk: langchain-core turns chunks into messages by the first base of their class.
        return AIMessageChunk.model_construct(**self.__dict__) if isinstance(earlier, AIMessageChunk) else self


class StreamedChunk(ChatGenerationChunk):
    """The first chunk of a stream; added to a list of what followed, it is dropped where a restart is among that."""

    def __add__(self, other: Any) -> ChatGenerationChunk:
        """Return the sum of the last try."""
        if isinstance(other, list):
            kept = since_restart([self, *cast("list[ChatGenerationChunk]", other)])
            if kept[0] is not self:
                return total(kept)
        return super().__add__(cast("ChatGenerationChunk", other))


def first(chunk: ChatGenerationChunk, mark: Mapping[str, Any]) -> ChatGenerationChunk:
    """Return the chunk as the first one of a try, with what is to be said of the try."""
    message = cast("AIMessageChunk", chunk.message)
    if mark:
        message.response_metadata = {**message.response_metadata, MARK: dict(mark)}
        if mark.get("restart"):
            message = RestartChunk.model_construct(**message.__dict__)
    return StreamedChunk(message=message, generation_info=chunk.generation_info)


def is_restart(message: BaseMessage | Mapping[str, Any]) -> bool:
    """Say whether a chunk, live or as JSON, begins its message anew."""
    metadata = message.response_metadata if isinstance(message, BaseMessage) else message.get("response_metadata")
    mark = cast("Mapping[str, Any]", metadata or {}).get(MARK)
    return isinstance(mark, Mapping) and bool(cast("Mapping[str, Any]", mark).get("restart"))


def replaced(message: BaseMessage | Mapping[str, Any]) -> str | None:
    """Return the id of the message that a restart takes back; None if it is no restart."""
    if not is_restart(message):
        return None
    metadata = message.response_metadata if isinstance(message, BaseMessage) else message["response_metadata"]
    found = metadata[MARK].get("replaces")
    return None if found is None else str(found)


def since_restart(chunks: Sequence[ChatGenerationChunk]) -> Sequence[ChatGenerationChunk]:
    """Return the chunks of the last try."""
    for index in range(len(chunks) - 1, 0, -1):
        if isinstance(chunks[index].message, RestartChunk):
            return chunks[index:]
    return chunks


def total(chunks: Sequence[ChatGenerationChunk]) -> ChatGenerationChunk:
    """Return the sum of one try's chunks, of which there is at least one."""
    begin = chunks[0]
    if isinstance(begin.message, RestartChunk):
        begin = ChatGenerationChunk(
            message=AIMessageChunk.model_construct(**begin.message.__dict__), generation_info=begin.generation_info
        )
    return begin + list(chunks[1:]) if len(chunks) > 1 else begin


def whole(message: BaseMessage, generation_info: dict[str, Any] | None = None) -> ChatGenerationChunk:
    """Return a message that is there already as the only chunk of its stream."""
    if isinstance(message, AIMessageChunk):
        return ChatGenerationChunk(message=message, generation_info=generation_info)
    said = cast("AIMessage", message)
    chunk = AIMessageChunk(
        content=said.content,
        additional_kwargs=said.additional_kwargs,
        response_metadata=said.response_metadata,
        name=said.name,
        id=said.id,
        tool_calls=said.tool_calls,
        invalid_tool_calls=said.invalid_tool_calls,
        usage_metadata=said.usage_metadata,
        chunk_position="last",
    )
    return ChatGenerationChunk(message=chunk, generation_info=generation_info)
