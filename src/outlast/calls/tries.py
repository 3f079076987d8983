"""A stream of chunks, cut where it begins anew."""

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from outlast.calls.restarts import is_restart

T = TypeVar("T")


class Tries(Generic[T]):
    """The tries of a stream, one after the other; `ahead` is the first chunk of the next one, None at the end."""

    def __init__(self, chunks: Iterator[T]) -> None:
        self._chunks = chunks
        self.ahead: T | None = next(chunks, None)

    @property
    def cut(self) -> bool:
        """Whether the last try was cut off: another one follows."""
        return self.ahead is not None

    def each(self) -> Iterator[T]:
        """Yield the chunks of one try."""
        begin, self.ahead = self.ahead, None
        if begin is not None:
            yield begin
        for chunk in self._chunks:
            if _restarts(chunk):
                self.ahead = chunk
                return
            yield chunk


class AsyncTries(Generic[T]):
    """The same of an async stream; `begin` looks at its first chunk."""

    def __init__(self, chunks: AsyncIterator[T]) -> None:
        self._chunks = chunks
        self.ahead: T | None = None

    async def begin(self) -> None:
        """Wait for the first chunk of the first try."""
        self.ahead = await anext(self._chunks, None)

    @property
    def cut(self) -> bool:
        """Whether the last try was cut off: another one follows."""
        return self.ahead is not None

    async def each(self) -> AsyncIterator[T]:
        """Yield the chunks of one try."""
        begin, self.ahead = self.ahead, None
        if begin is not None:
            yield begin
        async for chunk in self._chunks:
            if _restarts(chunk):
                self.ahead = chunk
                return
            yield chunk


def _restarts(chunk: object) -> bool:
    message = chunk.message if isinstance(chunk, ChatGenerationChunk) else chunk
    return isinstance(message, BaseMessage) and is_restart(message)
