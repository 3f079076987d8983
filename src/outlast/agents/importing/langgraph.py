"""All threads of a LangGraph PostgresSaver database, several at a time, and a report of what became of each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

from outlast.agents.checkpoints.nodes import node_of
from outlast.agents.codec import Codec
from outlast.agents.importing.threads import Copied, Result, Saver, ThreadImport, target_id
from outlast.errors import DatabaseUnavailable, OutlastError
from outlast.storage.postgres.imports import Imports
from outlast.storage.postgres.langgraph_source import LangGraphTables


class Trial:
    """In place of a checkpointer: encodes everything as that would, and keeps nothing.

    Raises StateNotSerializable or StateTooLarge for a value that could not be stored.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,  # noqa: ARG002 - the checkpointer's signature
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Encode what changed."""
        for channel, value in checkpoint["channel_values"].items():
            if channel in new_versions:
                node_of(self._codec, value, path=channel, blobs={})
        return config

    async def aput_writes(
        self,
        config: RunnableConfig,  # noqa: ARG002 - as above
        writes: Sequence[tuple[str, Any]],
        task_id: str,  # noqa: ARG002 - as above
        task_path: str = "",  # noqa: ARG002 - as above
    ) -> None:
        """Encode each value."""
        for channel, value in writes:
            node_of(self._codec, value, path=f"write to {channel}", blobs={})


@dataclass(slots=True)
class Report:
    """What an import did, thread by thread; `failed` says why."""

    results: Counter[Result] = field(default_factory=Counter[Result])
    checkpoints: int = 0
    writes: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def threads(self) -> int:
        """How many threads were looked at."""
        return self.results.total() + len(self.failed)

    def add(self, copied: Copied) -> None:
        """Count one thread."""
        self.results[copied.result] += 1
        self.checkpoints += copied.checkpoints
        self.writes += copied.writes


async def import_threads(
    source: LangGraphTables,
    target: Imports,
    saver: Saver,
    threads: AsyncIterator[str],
    *,
    agent: str | None,
    trial: bool,
    concurrency: int,
    done: Callable[[str], None],
) -> Report:
    """Import threads, `concurrency` at a time; `done` is called after each.

    A thread that cannot be imported is in the report, and the others go on. Raises DatabaseUnavailable when one of the
    databases has gone: the same import, started again, goes on from there.
    """
    report = Report()
    room = asyncio.Semaphore(concurrency)

    async def one(thread_id: str) -> None:
        try:
            work = ThreadImport(source, target, saver, thread_id, agent=agent, trial=trial)
            report.add(await work.copy())
        except DatabaseUnavailable:
            raise
        except OutlastError as error:
            report.failed[target_id(thread_id)] = str(error)
        finally:
            room.release()
        done(thread_id)

    try:
        async with asyncio.TaskGroup() as tasks:
            async for thread_id in threads:
                await room.acquire()
                tasks.create_task(one(thread_id))
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return report


async def all_threads(source: LangGraphTables) -> AsyncIterator[str]:
    """Yield the id of every thread, page by page."""
    after: str | None = None
    while page := await source.threads(after):
        for thread_id in page:
            yield thread_id
        after = page[-1]
