"""The saver's interface for threads: a sync node that calls a subgraph with `invoke` needs it.

No second implementation: each call is handed to the saver's event loop and waited for.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from outlast.agents.checkpoints import seen
from outlast.agents.loops import running_loop
from outlast.errors import ConfigurationError

T = TypeVar("T")


class SyncBridge(BaseCheckpointSaver[int]):
    """The sync half of BaseCheckpointSaver, on top of the async half."""

    _loop: asyncio.AbstractEventLoop

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        if running_loop() is self._loop:
            call.close()
            msg = "Outlast's checkpointer is async: use ainvoke, astream or aget_state on the event loop"
            raise ConfigurationError(msg)
        result, observed = asyncio.run_coroutine_threadsafe(_observed(call), self._loop).result()
        seen.adopt(observed)
        return result

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `aget_tuple`."""
        return self._wait(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """See `alist`; the result is read whole."""
        return iter(self._wait(_collect(self.alist(config, filter=filter, before=before, limit=limit))))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `aput`."""
        return self._wait(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `aput_writes`."""
        self._wait(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """See `adelete_thread`."""
        self._wait(self.adelete_thread(thread_id))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """See `aget_delta_channel_history`."""
        return self._wait(self.aget_delta_channel_history(config=config, channels=channels))


async def _observed(call: Coroutine[Any, Any, T]) -> tuple[T, seen.Observations]:
    return await call, seen.observations()


async def _collect(items: AsyncIterator[T]) -> "list[T]":
    return [item async for item in items]
