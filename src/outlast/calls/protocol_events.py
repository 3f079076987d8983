"""Chunks as the content-block events of LangChain's streaming protocol, restarts included.

The protocol has no event that takes back what was said. A message that begins anew says `message-start` a second time
and counts its blocks from 0 again; what LangChain has accumulated by then is dropped, so that a call of a tool that was
cut off in the middle is never made.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from langchain_core.language_models._compat_bridge import achunks_to_events, chunks_to_events
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.outputs import ChatGenerationChunk

from outlast.calls.restarts import is_restart
from outlast.calls.tries import AsyncTries, Tries

Stream = ChatModelStream | AsyncChatModelStream
# What a stream keeps of the events so far; private, so a test restarts a stream in the middle of a tool call.
_TEXTS: Final = ("_text_acc", "_reasoning_acc")
_PARTS: Final = (
    "_blocks", "_text_per_block", "_reasoning_per_block", "_tool_call_chunks", "_server_tool_call_chunks",
    "_tool_calls_acc", "_invalid_tool_calls_acc",
)  # fmt: skip


def events(chunks: Iterator[ChatGenerationChunk], stream: Stream) -> Iterator[Any]:
    """Yield the events of the chunks; `stream` is what they will be accumulated in."""
    tries = Tries(chunks)
    while tries.ahead is not None:
        if is_restart(tries.ahead.message):
            _forget(stream)
        for event in chunks_to_events(tries.each(), **_arguments(stream)):
            # The ends of a try that was cut off are LangChain's, not the model's.
            if not tries.cut:
                yield event


async def aevents(chunks: AsyncIterator[ChatGenerationChunk], stream: Stream) -> AsyncIterator[Any]:
    """Yield the events of the chunks; `stream` is what they will be accumulated in."""
    tries = AsyncTries(chunks)
    await tries.begin()
    while tries.ahead is not None:
        if is_restart(tries.ahead.message):
            _forget(stream)
        async for event in achunks_to_events(tries.each(), **_arguments(stream)):
            if not tries.cut:
                yield event


def _arguments(stream: Stream) -> dict[str, Any]:
    return {"message_id": stream.message_id, "generation_info": vars(stream).get("_generation_info")}


def _forget(stream: Stream) -> None:
    for name in _TEXTS:
        setattr(stream, name, "")
    for name in _PARTS:
        getattr(stream, name).clear()
