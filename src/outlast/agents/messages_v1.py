"""Stream mode `messages`: what a model says so far, message by message, made of the pieces of mode `messages-tuple`."""

from collections.abc import Mapping
from typing import Any, Final, cast

import orjson
from langchain_core.messages import (
    AIMessageChunk,
    BaseMessageChunk,
    ChatMessageChunk,
    FunctionMessageChunk,
    HumanMessageChunk,
    SystemMessageChunk,
    ToolMessageChunk,
    message_chunk_to_message,
)

from outlast.agents.jsonable import encoded
from outlast.calls import restarts

_CHUNKS: Final[Mapping[str, type[BaseMessageChunk]]] = {
    kind.__name__: kind
    for kind in (
        AIMessageChunk, ChatMessageChunk, FunctionMessageChunk, HumanMessageChunk, SystemMessageChunk, ToolMessageChunk,
    )
}  # fmt: skip


class MessageAccumulator:
    """Keeps the messages of one attempt that have begun and not ended."""

    def __init__(self) -> None:
        self._begun: dict[str, BaseMessageChunk] = {}
        self._described: set[str] = set()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Return the events that a piece makes: its message's metadata once, then the message as it is now.

        A piece of a message whose beginning was not fed makes a message of its own, from that piece on; so does a piece
        with which a message begins anew.
        """
        message, metadata = cast("tuple[dict[str, Any], dict[str, Any]]", orjson.loads(data))
        message_id = str(message.get("id"))
        events: list[tuple[str, bytes]] = []
        if message_id not in self._described:
            self._described.add(message_id)
            events.append(("messages/metadata", orjson.dumps({message_id: {"metadata": metadata}})))
        if restarts.is_restart(message):
            # A try of the model failed in the middle; the next one begins from nothing.
            self._begun.pop(message_id, None)
            self._begun.pop(restarts.replaced(message) or message_id, None)
        kind = _CHUNKS.get(str(message.get("type")))
        if kind is None:
            self._begun.pop(message_id, None)
            events.append(("messages/complete", orjson.dumps([message])))
        else:
            events.append(self._grown(message_id, kind.model_validate(message)))
        return events

    def _grown(self, message_id: str, piece: BaseMessageChunk) -> tuple[str, bytes]:
        begun = self._begun.pop(message_id, None)
        whole = piece if begun is None else begun + piece
        complete = getattr(piece, "chunk_position", None) == "last"
        if not complete:
            self._begun[message_id] = whole
        return "messages/complete" if complete else "messages/partial", encoded([message_chunk_to_message(whole)])
