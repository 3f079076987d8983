"""LangGraph's checkpointer interface on Outlast's storage.

Who may write. Every checkpoint names its parent, and the head of a thread moves from parent to child by
compare-and-swap, so of two runs on one thread the later one fails with ThreadConflict instead of making the other's
work vanish. Leaving the line on purpose (time travel, `update_state` at an old checkpoint) is a fork: it
is recognised by what the caller read - a checkpoint addressed by its id - and moves the head. A saver bound to a
lease (`fenced`) is refused everything once the run has another owner.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Self, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from outlast.agents.checkpoints import erasing, history, seen
from outlast.agents.checkpoints.accepted import Accepted
from outlast.agents.checkpoints.address import Address, address_of, config_of, filter_of, thread_key
from outlast.agents.checkpoints.bridge import SyncBridge
from outlast.agents.checkpoints.cache import BlobCache, KnownCheckpoint, KnownCheckpoints
from outlast.agents.checkpoints.reading import Restorer, checkpoint_tuple
from outlast.agents.checkpoints.writing import checkpoint_row, writes_rows
from outlast.agents.codec import Codec
from outlast.errors import InvalidInput, StateUnreadable, ThreadConflict
from outlast.secret import Secret
from outlast.settings import CheckpointSettings, DatabaseSettings
from outlast.settings_encryption import EncryptionSettings
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.checkpoints import CheckpointReader, StoredCheckpoint, StoredWrites
from outlast.storage.postgres.data_keys import sealing_of
from outlast.storage.postgres.group_commit import GroupCommit, Refused
from outlast.storage.postgres.master_keys import MasterKeys
from outlast.storage.postgres.migrate import migrate
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.prepared import Line, ReadLine
from outlast.storage.postgres.sealing import OFF, Sealing
from outlast.telemetry.spans import span

_KEYS_SEEN = EncryptionSettings().refresh


class Checkpointer(SyncBridge):
    """A LangGraph checkpointer on PostgreSQL: group-committed, fenced, and linear in what is stored.

        async with outlast.Checkpointer.open("postgresql://...") as saver:
            graph = builder.compile(checkpointer=saver)
            await graph.ainvoke(inputs, {"configurable": {"thread_id": "1"}}, durability="sync")

    Use `durability="sync"`: a step's checkpoint is then on disk before the next step starts, and a
    completed step is never executed again. Values that cannot be restored raise StateUnreadable and quarantine
    the thread. One saver serves any number of graphs and concurrent runs of one event loop.
    """

    def __init__(
        self,
        reader: CheckpointReader,
        writer: GroupCommit,
        *,
        codec: Codec,
        cache_bytes: int,
        fence: Fence | None = None,
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._reader = reader
        self._known = KnownCheckpoints()
        self._blobs = BlobCache(max_bytes=cache_bytes)
        self._codec = codec
        self._fence = fence
        self._starts_empty = False
        #: What this saver has stored; one that was `fenced` counts anew.
        self.accepted = Accepted()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        schema: str = "outlast",
        allowed_types: Iterable[type] | None = None,
        max_value_bytes: int = CheckpointSettings().max_value_bytes,
        cache_bytes: int = CheckpointSettings().cache_bytes,
        pool_size: int = 4,
        master_key: Secret | None = None,
    ) -> AsyncGenerator[Self]:
        """Open a saver on a database; the schema is created or brought up to date first.

        `allowed_types` narrows what may be restored to these types and the built-in ones; by default any
        pydantic model, dataclass, enum or namedtuple of a module that the program has imported. With a `master_key`
        what is stored is encrypted. Raises DatabaseUnavailable when the server cannot be reached, ConfigurationError
        when the database is encrypted and there is no key, or holds content that is not.
        """
        database = DatabaseSettings(url=url, schema_name=schema, pool_size=pool_size)
        await migrate(database)
        codec, keys = Codec(allowed_types=allowed_types, max_value_bytes=max_value_bytes), MasterKeys.of(master_key)
        async with (
            cls.on(database, codec=codec, cache_bytes=cache_bytes) as saver,
            sealing_of(saver._reader.pool, keys, refresh=_KEYS_SEEN) as sealing,  # noqa: SLF001 - this very class
        ):
            saver._reader.pool.sealing = saver._writer.sealing = sealing  # noqa: SLF001 - as above
            yield saver

    @classmethod
    @asynccontextmanager
    async def on(
        cls, database: DatabaseSettings, *, codec: Codec, cache_bytes: int, sealing: Sealing = OFF
    ) -> AsyncGenerator[Self]:
        """Open a saver on a database whose schema is known to be current."""
        pool = Pool(database, application_name="outlast-checkpoint-reads")
        line = ReadLine(Line(database, application_name="outlast-checkpoint-reads"), schema=database.schema_name)
        writer = GroupCommit(database)
        pool.sealing = writer.sealing = sealing
        await pool.open()
        try:
            await line.open()
            await writer.open()
            yield cls(CheckpointReader(pool, line), writer, codec=codec, cache_bytes=cache_bytes)
        finally:
            await writer.close()
            await line.close()
            await pool.close()

    def fenced(self, fence: Fence, *, starts_empty: bool = False) -> "Checkpointer":
        """Return this saver for one claimed run: every write is refused once the claim is over.

        `starts_empty`: the claim saw that the thread has no state, so the first look need not ask again.
        """
        bound = self._with(fence=fence)
        bound._starts_empty = starts_empty  # noqa: SLF001 - a clone of this very class
        bound.accepted = Accepted()
        return bound

    def allowing(self, types: Iterable[type]) -> "Checkpointer":
        """Return this saver with more types that may be restored."""
        return self._with(codec=self._codec.allowing(types))

    def with_allowlist(self, extra_allowlist: object) -> "Checkpointer":  # noqa: ARG002
        """Return the saver itself: what may be restored is decided by `allowed_types`, not by LangGraph."""
        return self

    def _with(self, *, fence: Fence | None = None, codec: Codec | None = None) -> "Checkpointer":
        other = copy(self)
        if fence is not None:
            other._fence = fence  # noqa: SLF001 - a clone of this very class
        if codec is not None:
            other._codec = codec  # noqa: SLF001 - as above
        return other

    @property
    def _restorer(self) -> Restorer:
        return Restorer(self._reader, self._codec, self._blobs)

    # reading

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` addresses, or the head of the thread."""
        thread_id, key, ns, wanted, possible = address_of(config)
        if not possible:
            return None
        restored = None
        while restored is None:
            loaded = await self._load(key, ns, wanted)
            if loaded is None:
                self._observe(key, ns, None, addressed=wanted is not None)
                return None
            restored = await self._restore(*loaded)
        stored, checkpoint, pending, known = restored
        self._observe(key, ns, stored, addressed=wanted is not None)
        if stored.is_head:
            self._known.put((key, ns), known)
        return checkpoint_tuple(thread_id, stored, checkpoint, pending)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[CheckpointTuple]:
        """Yield checkpoints, newest first by insertion; reads in pages."""
        key, ns, wanted, possible = filter_of(config)
        before_seq = await self._before(before, key)
        if not possible or before_seq == 0:
            return
        remaining = limit if limit is not None else 2**31
        while remaining > 0:
            page = await self._reader.matching(
                key, ns, wanted, metadata=filter or {}, before_seq=before_seq, limit=min(remaining, 64)
            )
            for stored in page:
                writes = await self._reader.writes(stored.thread_key, stored.ns, [stored.checkpoint_id])
                restored = await self._restore(stored, writes)
                if restored is None:
                    continue
                _, checkpoint, pending, _ = restored
                if before is not None and key is not None and ns is not None and not stored.is_head:
                    # This is how LangGraph addresses a subgraph's checkpoint in a replay.
                    seen.addressed(key, ns, stored.checkpoint_id)
                yield checkpoint_tuple(cast("str", stored.thread_id), stored, checkpoint, pending)
            remaining -= len(page)
            if len(page) < 64:  # noqa: PLR2004 - the page size above
                return
            before_seq = page[-1].seq

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what each DeltaChannel is rebuilt from, reading the parent chain in pages."""
        _, key, ns, wanted, _ = address_of(config)
        if not channels or wanted is None:
            return {channel: {"writes": []} for channel in channels}
        while True:
            generation = await self._reader.generation(key, ns)
            try:
                found = await history.delta_history(self._restorer, key, ns, wanted, channels)
            except StateUnreadable as error:
                if await self._reader.generation(key, ns) == generation:
                    await self._reader.quarantine(key, str(error))
                    raise
                continue
            # Erasing between two pages would leave out writes, and nobody would notice.
            if await self._reader.generation(key, ns) == generation:
                return found

    async def _load(
        self, key: bytes, ns: str, wanted: UUID | None
    ) -> tuple[StoredCheckpoint, list[StoredWrites]] | None:
        if self._starts_empty and not ns and wanted is None:
            self._starts_empty = False
            return None
        return await self._reader.load(key, ns, wanted)

    async def _before(self, before: RunnableConfig | None, key: bytes | None) -> int | None:
        """Return the seq that a page must stay below; 0 when the checkpoint does not exist."""
        if before is None:
            return None
        # LangGraph names only the checkpoint when it looks for what a subgraph was before a replayed step.
        its_key, _, wanted, possible = filter_of(before)
        if wanted is None:
            return None if possible else 0
        return await self._reader.seq_of(its_key or key, wanted) or 0

    async def _restore(
        self, stored: StoredCheckpoint, writes: Sequence[StoredWrites]
    ) -> tuple[StoredCheckpoint, Checkpoint, list[Any], KnownCheckpoint] | None:
        """Restore a row; None when the checkpoint was erased meanwhile."""
        while True:
            try:
                known = self._known.latest((stored.thread_key, stored.ns))
                return stored, *await self._restorer.restore(stored, writes, known=known)
            except StateUnreadable as error:
                now = await self._reader.load(stored.thread_key, stored.ns, stored.checkpoint_id)
                if now is None:
                    return None
                if now[0].generation == stored.generation:
                    # Fail closed: nobody starts a run on state that only looks complete.
                    await self._reader.quarantine(stored.thread_key, str(error))
                    raise
                # History was erased between two of our reads.
                stored, writes = now

    async def lift_quarantine(self, thread_id: str) -> None:
        """Let runs start on a thread again, once its state has been read without an error."""
        await self._reader.quarantine(thread_key(thread_id), None)

    def _observe(self, key: bytes, ns: str, found: StoredCheckpoint | None, *, addressed: bool) -> None:
        self.accepted.looked(ns, None if found is None else found.checkpoint_id)
        if found is None:
            if not addressed:
                seen.saw_empty(key, ns)
        elif addressed and not found.is_head:
            seen.addressed(key, ns, found.checkpoint_id)

    # writing

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint as the child of the one that `config` names, and move the head to it.

        Durable when it returns. Raises ThreadConflict when another writer moved the thread on, LeaseLost when the
        saver is fenced and the run has another owner, StateNotSerializable or StateTooLarge naming the value.
        """
        address = address_of(config)
        key, ns = address.key, address.ns
        if not address.known:
            msg = "the parent's checkpoint_id is not a UUID"
            raise InvalidInput(msg, field="configurable.checkpoint_id")
        parent = await self._parent(address)
        row, known = checkpoint_row(
            self._codec, address, config, checkpoint, metadata, new_versions=new_versions,
            parent=parent, fence=self._fence,
            fork=metadata.get("source") == "fork" or seen.may_fork(key, ns, address.checkpoint_id),
        )  # fmt: skip
        try:
            with self.accepted.storing(), span("checkpoint"):
                await self._writer.submit(row)
        # Also a cancellation: nobody knows then what the database has.
        except BaseException as error:
            self._known.forget((key, ns))
            if isinstance(error, Refused):
                raise ThreadConflict(
                    thread_id=row.thread_id, checkpoint_ns=ns, checkpoint_id=str(row.checkpoint_id)
                ) from None
            raise
        self.accepted.checkpoint(ns, row.checkpoint_id)
        if known.generation is None:
            # A new first checkpoint over an old line, whose generation was not read.
            self._known.forget((key, ns))
        else:
            self._known.put((key, ns), known)
        self._blobs.add(key, row.blobs)
        return config_of(row.thread_id, ns, row.checkpoint_id)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what one task wrote, next to the checkpoint it started from. Durable when it returns."""
        address = address_of(config)
        rows = writes_rows(self._codec, address, writes, task_id=task_id, task_path=task_path, fence=self._fence)
        try:
            # Nearly always one row; gather would make a task of it.
            if len(rows) == 1:
                await self._writer.submit(rows[0])
            else:
                await asyncio.gather(*(self._writer.submit(row) for row in rows))
        except Refused:
            raise ThreadConflict(
                thread_id=address.thread_id, checkpoint_ns=address.ns, checkpoint_id=str(address.checkpoint_id)
            ) from None
        self.accepted.rows += len(rows)
        for row in rows:
            self._blobs.add(address.key, row.blobs)

    async def _parent(self, address: Address) -> KnownCheckpoint | None:
        if address.checkpoint_id is None:
            return None
        known = self._known.get((address.key, address.ns), address.checkpoint_id)
        if known is None:
            # Not ours, or forgotten: read it, so that what it shares with the new one is not stored again.
            loaded = await self._reader.load(address.key, address.ns, address.checkpoint_id)
            if loaded is not None:
                restored = await self._restore(loaded[0], ())
                known = restored[3] if restored is not None else None
        return known

    # erasing and copying

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread; late writes of runs that still know it are refused."""
        key = thread_key(str(thread_id))
        self._known.forget_thread(key)
        await erasing.delete_thread(self._reader.pool, key)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs; the head falls back to the newest that remains."""
        for key in await self._reader.threads_of_runs([str(run_id) for run_id in run_ids]):
            self._known.forget_thread(key)
            await erasing.delete_runs(self._reader.pool, key, {str(run_id) for run_id in run_ids})

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy state and history to a thread that has none; raises Conflict when it has."""
        source, target = thread_key(str(source_thread_id)), thread_key(str(target_thread_id))
        await erasing.copy_thread(self._reader.pool, source, target, target_thread_id=str(target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete history: all of it (`delete`), or all but the heads (`keep_latest`).

        `keep_latest` keeps ancestors that a DeltaChannel of the head is still rebuilt from.
        """
        if isinstance(thread_ids, str):
            msg = "thread_ids must be a sequence of thread ids, not one string"
            raise InvalidInput(msg, field="thread_ids")
        if strategy not in {"keep_latest", "delete"}:
            msg = f"unknown prune strategy {strategy!r}; there are 'keep_latest' and 'delete'"
            raise InvalidInput(msg, field="strategy")
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
            else:
                key = thread_key(str(thread_id))
                self._known.forget_thread(key)
                await erasing.keep_latest(self._reader.pool, key)
