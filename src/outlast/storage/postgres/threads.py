"""Threads as clients see them: metadata, status, values, questions, and when they are to be deleted.

The history of a thread's state is the checkpointer's; what erases and copies it takes part in the transactions here.
"""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from outlast.domain.run import RunStatus
from outlast.domain.thread import ThreadMark, ThreadStatus, ThreadView, Ttl
from outlast.errors import Conflict, NotFound, NotSupported, ThreadBusy
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.jsonb import encoded_jsonb, jsonb
from outlast.storage.postgres.listing import Listing, Page
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.resealing import reseal_copy_in
from outlast.storage.postgres.run_sealing import sealed_error, sealed_questions, sealed_values
from outlast.storage.postgres.sealing import Sealing
from outlast.storage.postgres.thread_sealing import opened_thread
from outlast.storage.postgres.together import Executes

_SQL = Queries("threads")
_KIND: Final = "thread"
Connection = AsyncConnection[Any]
ThreadSort = Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
Order = Literal["asc", "desc"]
Strategy = Literal["delete", "keep_latest"]


class ThreadHistory(Protocol):
    """What erases and copies the checkpoints of a thread as part of an open transaction."""

    def delete_thread_in(self, connection: Connection, key: bytes) -> Coroutine[Any, Any, None]:
        """Erase everything and leave a tombstone."""
        ...

    def keep_latest_in(self, connection: Connection, key: bytes, *, sealing: Sealing) -> Coroutine[Any, Any, None]:
        """Erase all but the present state."""
        ...

    def copy_thread_in(
        self, connection: Connection, source: bytes, target: bytes, *, target_thread_id: str, sealing: Sealing
    ) -> Coroutine[Any, Any, None]:
        """Copy state and history to a thread that has none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadQuery:
    """Which threads are wanted; None does not filter."""

    metadata: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    ids: Sequence[str] | None = None
    status: ThreadStatus | None = None
    access: str | None = None

    @property
    def flags(self) -> set[str]:
        """The parts of the statement that are needed."""
        busy = self.status is ThreadStatus.BUSY
        given = {
            "metadata": self.metadata, "values": self.values, "status": self.status and not busy, "busy": busy,
            "ids": self.ids is not None, "access": self.access,
        }  # fmt: skip
        return {part for part, value in given.items() if value}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all parts."""
        return {
            "metadata": jsonb(dict(self.metadata or {})),
            "values": jsonb(dict(self.values or {})),
            "keys": [UUID(bytes=thread_key(thread_id)) for thread_id in self.ids or ()],
            "status": self.status,
            "access": self.access,
        }


class ThreadStore:
    """Threads. `access` is a jsonpath that the metadata has to match; what it does not match is not found."""

    def __init__(self, pool: Pool, history: ThreadHistory, *, values_bytes: int = 1024 * 1024) -> None:
        self._pool = pool
        self._list = Listing(pool, ("threads", "search"), ("threads", "count"), _view, opened_thread)
        self._history = history
        #: A larger state is not kept a second time, but read from its checkpoint.
        self._values_bytes = values_bytes

    async def create(
        self,
        thread_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        ttl: Ttl | None = None,
        exist_ok: bool = False,
        access: str | None = None,
    ) -> tuple[ThreadView, bool]:
        """Store a thread; return it, and whether it is new.

        Raises Conflict when there is one of this id, NotFound when `exist_ok` finds one that is hidden from the caller.
        """
        key = _key(thread_id)
        async with self._pool.transaction() as connection:
            cursor = await connection.execute(_SQL.open_new, {**key, "thread_id": thread_id})
            new = await cursor.fetchone() is not None
            if new:
                await connection.execute(_SQL.forget_details, key)
                await connection.execute(_SQL.describe, {**key, **_described(metadata, ttl)})
            elif not exist_ok:
                msg = f"Thread with ID {thread_id} already exists"
                raise Conflict(msg)
            return await self._read(connection, thread_id, None if new else access), new

    async def get(self, thread_id: str, *, access: str | None = None) -> ThreadView:
        """Return a thread; raises NotFound."""
        async with self._pool.connection() as connection:
            return await self._read(connection, thread_id, access)

    async def exists(self, thread_id: str) -> bool:
        """Whether there is a thread of this name."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.is_there, _key(thread_id))
            return await cursor.fetchone() is not None

    async def last_agent(self, thread: ThreadView) -> str | None:
        """Return the graph of the thread's newest run."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.last_agent, {"thread_key": UUID(bytes=thread.key)})
            row = await cursor.fetchone()
        return row[0] if row else None

    async def check_idle(self, thread: ThreadView) -> None:
        """Raise ThreadBusy while a run of the thread has still to run."""
        async with self._pool.connection() as connection:
            busy = await _busy_run(connection, thread.key)
        if busy is not None:
            raise busy

    async def update(
        self,
        thread_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        ttl: Ttl | None = None,
        access: str | None = None,
    ) -> ThreadView:
        """Merge metadata and set a new TTL; raises NotFound."""
        async with self._pool.transaction() as connection:
            await lock_in(connection, thread_id, access=access)
            await connection.execute(_SQL.update, {**_key(thread_id), **_described(metadata, ttl)})
            return await self._read(connection, thread_id, None)

    async def delete(self, thread_id: str, *, access: str | None = None) -> list[UUID]:
        """Delete a thread with its runs, crons, events and state; return the runs that were running.

        Their owners are refused everything from here on. Raises NotFound.
        """
        async with self._pool.transaction() as connection:
            await lock_in(connection, thread_id, access=access)
            return await self._delete_in(connection, thread_id)

    async def expire_in(self, connection: Connection, thread_id: str, *, strategy: Strategy) -> None:
        """Delete a thread that the caller has locked, or all of its history but the present state."""
        if strategy == "keep_latest":
            await self._history.keep_latest_in(connection, thread_key(thread_id), sealing=self._pool.sealing)
        else:
            await self._delete_in(connection, thread_id)

    async def _delete_in(self, connection: Connection, thread_id: str) -> list[UUID]:
        key = _key(thread_id)
        cursor = await connection.execute(_SQL.delete_runs, key)
        running = [run_id for run_id, status in await cursor.fetchall() if status == RunStatus.RUNNING]
        for statement in (_SQL.delete_crons, _SQL.delete_events):
            await connection.execute(statement, key)
        await self._history.delete_thread_in(connection, thread_key(thread_id))
        return running

    async def copy(
        self, source: str, target: str, *, metadata: Mapping[str, Any] | None = None, access: str | None = None
    ) -> ThreadView:
        """Copy a thread that stands still to a new id, history included; `metadata` is merged into the copy's.

        Raises NotFound, ThreadBusy.
        """
        async with self._pool.transaction() as connection:
            await lock_in(connection, source, access=access)
            if (busy := await _busy_run(connection, thread_key(source))) is not None:
                raise busy
            await connection.execute(_SQL.open_new, {**_key(target), "thread_id": target})
            sealing = self._pool.sealing
            await self._history.copy_thread_in(
                connection, thread_key(source), thread_key(target), target_thread_id=target, sealing=sealing
            )
            # A source without details of its own copies none.
            keys = {"source_key": UUID(bytes=thread_key(source)), "target_key": UUID(bytes=thread_key(target))}
            await connection.execute(_SQL.copy_details, {**keys, "metadata": jsonb(dict(metadata or {}))})
            if sealing.on:
                await reseal_copy_in(
                    connection, sealing, "thread_details", source=thread_key(source), target=thread_key(target)
                )
            await connection.execute(_SQL.describe, {**_key(target), **_described(metadata, None)})
            return await self._read(connection, target, None)

    async def prune(self, thread_id: str, *, strategy: Strategy, access: str | None = None) -> bool:
        """Delete a thread, or all of its history but the present state; False when it is busy.

        Raises NotFound.
        """
        async with self._pool.transaction() as connection:
            await lock_in(connection, thread_id, access=access)
            if await _busy_run(connection, thread_key(thread_id)) is not None:
                return False
            await self.expire_in(connection, thread_id, strategy=strategy)
        return True

    async def of_assistant(self, assistant_id: UUID, *, access: str | None = None) -> list[str]:
        """Return the ids of the threads that an assistant has worked on."""
        metadata = {"assistant_id": str(assistant_id)}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.of_assistant, {"metadata": jsonb(metadata), "access": access})
            return [thread_id for (thread_id,) in await cursor.fetchall()]

    async def search(
        self, query: ThreadQuery, *, sort_by: ThreadSort, order: Order, page: Page, with_values: bool
    ) -> tuple[list[ThreadView], int]:
        """Return one page, and how many match. `values` are compared as they were when a run last ended."""
        flags = [f"{sort_by}_{order}", *(["with_values"] if with_values else [])]
        self._require_searchable(query)
        return await self._list.search(query, *flags, page=page)

    async def count(self, query: ThreadQuery) -> int:
        """Return how many match."""
        self._require_searchable(query)
        return await self._list.count(query)

    def _require_searchable(self, query: ThreadQuery) -> None:
        if query.values and self._pool.sealing.on:
            msg = "threads cannot be found by their values where these are encrypted; search by metadata"
            raise NotSupported(msg, field="values")

    async def mark_in(
        self, connection: Connection, key: bytes, mark: ThreadMark, *, last_pos: int | None = None
    ) -> None:
        """Write down how the thread stands now, in the caller's transaction."""
        await connection.execute(_SQL.mark, {**await self._marked(key, mark), "last_pos": last_pos})

    async def mark(self, thread_id: str, mark: ThreadMark) -> bool:
        """Write down a state that was made from outside of a run; False when the thread has moved on since."""
        key = thread_key(thread_id)
        async with self._pool.transaction() as connection:
            # Under the thread's lock nobody else marks it, and a run that begins now ends after us.
            await lock_in(connection, thread_id)
            cursor = await connection.execute(_SQL.stand, {"thread_key": UUID(bytes=key)})
            row = await cursor.fetchone()
            if (row[0] if row else None) != mark.stands_at:
                return False
            await self.mark_in(connection, key, mark)
        return True

    async def refresh(self, thread: ThreadView, mark: ThreadMark) -> None:
        """Keep what was read from the thread's checkpoint, unless the thread has moved on since."""
        parameters = await self._marked(thread.key, mark)
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.refresh, parameters)

    async def _marked(self, key: bytes, mark: ThreadMark) -> dict[str, Any]:
        values = mark.values if mark.values is not None and len(mark.values) <= self._values_bytes else None
        sealing, asked = self._pool.sealing, mark.interrupts
        error = None if mark.error is None else jsonb(dict(mark.error))
        return {
            "thread_key": UUID(bytes=key),
            "state": mark.state,
            "values": await sealed_values(sealing, key, None if values is None else encoded_jsonb(values)),
            "interrupts": await sealed_questions(sealing, key, None if asked is None else jsonb(dict(asked))),
            "waiting_at": mark.waiting_at,
            "stands_at": mark.stands_at,
            "error": await sealed_error(sealing, key, error),
        }

    async def _read(self, connection: Executes, thread_id: str, access: str | None) -> ThreadView:
        cursor = await connection.execute(_SQL.get, {**_key(thread_id), "access": access}, binary=True)
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(_KIND, thread_id)
        return _view(await opened_thread(self._pool.sealing, row))


async def lock_in(connection: Connection, thread_id: str, *, access: str | None = None) -> None:
    """Lock a thread until the transaction ends; raises NotFound."""
    cursor = await connection.execute(_SQL.lock, {**_key(thread_id), "access": access})
    if await cursor.fetchone() is None:
        raise NotFound(_KIND, thread_id)


async def _busy_run(connection: Executes, key: bytes) -> ThreadBusy | None:
    cursor = await connection.execute(_SQL.busy_run, {"thread_key": UUID(bytes=key)})
    row = await cursor.fetchone()
    return None if row is None else ThreadBusy(run_id=str(row[0]), status=row[1])


def _key(thread_id: str) -> dict[str, UUID]:
    return {"thread_key": UUID(bytes=thread_key(thread_id))}


def _described(metadata: Mapping[str, Any] | None, ttl: Ttl | None) -> dict[str, Jsonb | float | str | None]:
    return {
        "metadata": jsonb(dict(metadata or {})),
        "ttl_minutes": None if ttl is None else float(ttl.minutes),
        "ttl_strategy": None if ttl is None else ttl.strategy,
    }


def _view(row: tuple[Any, ...]) -> ThreadView:
    (
        key, thread_id, created_at, updated_at, state_updated_at, metadata, config, values, interrupts, waiting_at,
        stands_at, error, temporary, ttl_minutes, ttl_strategy, expires_at, head, status,
    ) = row  # fmt: skip
    return ThreadView(
        id=thread_id,
        key=key.bytes,
        status=ThreadStatus(status),
        created_at=created_at,
        updated_at=updated_at,
        state_updated_at=state_updated_at,
        metadata=metadata,
        config=config,
        values=values,
        interrupts=interrupts,
        waiting_at=waiting_at,
        stands_at=stands_at,
        error=error,
        temporary=temporary,
        ttl=None if ttl_minutes is None else Ttl(minutes=ttl_minutes, strategy=ttl_strategy),
        expires_at=expires_at,
        # While something runs, the state of its beginning is what is shown.
        stale=head is not None and head != stands_at and status != ThreadStatus.BUSY,
    )
