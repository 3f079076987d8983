"""Reading and erasing checkpoints: rows in, rows out. Writing is `group_commit`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from outlast.domain.acting import principal
from outlast.domain.redaction import redacted
from outlast.storage.postgres import checkpoint_sealing as sealed
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.prepared import ReadLine, Statement
from outlast.storage.postgres.queries import Queries, numbered
from outlast.storage.postgres.together import Executes

_SQL = Queries("checkpoints")
Connection = AsyncConnection[Any]
# uuid and text; a lone surrogate in a name is refused by `encode`.
_LOAD_OIDS = {"thread_key": 2950, "ns": 25, "checkpoint_id": 2950}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """One row of `checkpoints`. `generation` is None where the head was not read."""

    thread_key: bytes
    ns: str
    checkpoint_id: UUID
    parent_id: UUID | None
    metadata: dict[str, Any]
    body: bytes
    is_head: bool = False
    generation: int | None = None
    thread_id: str | None = None
    run_id: str | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWrites:
    """One row of `checkpoint_writes`."""

    checkpoint_id: UUID
    task_id: bytes
    idx: int
    task_path: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """One row of `checkpoint_lists`."""

    list_id: int
    start: int
    length: int
    items: bytes


def thread_key(thread_id: str) -> bytes:
    """Return the 16-byte key of a thread of the context's tenant: a hash of tenant and id, with the tenant's length."""
    tenant = principal().tenant
    text = f"{len(tenant)}:{tenant}:{thread_id}"
    # A lone surrogate is refused when it is written; here it is just another name that nobody has.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class CheckpointReader:
    """Short reads: a run's first look on a line of its own, everything else on pooled connections."""

    def __init__(self, pool: Pool, line: ReadLine) -> None:
        self.pool = pool
        self._line = line

    async def load(
        self, key: bytes, ns: str, checkpoint_id: UUID | None
    ) -> tuple[StoredCheckpoint, list[StoredWrites]] | None:
        """Return a checkpoint (the head when no id is given) and its pending writes, or None."""
        parameters = {"thread_key": key, "ns": ns.encode()}
        if checkpoint_id is None:
            load = numbered("checkpoints", "load", "head")
        else:
            load = numbered("checkpoints", "load")
            parameters["checkpoint_id"] = checkpoint_id.bytes
        oids = [_LOAD_OIDS[name] for name in load.names]
        found: StoredCheckpoint | None = None
        writes: list[StoredWrites] = []
        for row in await self._line.fetch(Statement(load.text, oids, load.arguments(parameters))):
            if row[0] is None:
                writes.append(_stored_writes(row))
            else:
                found = _stored_checkpoint(key, ns, row)
        if found is None:
            return None
        writes.sort(key=lambda write: (write.task_path, write.task_id, write.idx))
        if not self.pool.sealing.on:
            return found, writes
        (opened,) = await sealed.opened_checkpoints(self.pool.sealing, [found])
        return opened, await sealed.opened_writes(self.pool.sealing, key, ns, writes)

    async def writes(self, key: bytes, ns: str, checkpoint_ids: Sequence[UUID]) -> list[StoredWrites]:
        """Return the writes of several checkpoints, each checkpoint's in LangGraph's order."""
        async with self.pool.connection() as connection:
            found = await _writes(connection, key, ns, checkpoint_ids)
        return await sealed.opened_writes(self.pool.sealing, key, ns, found)

    async def segments(self, key: bytes, lengths: Mapping[int, int]) -> list[StoredSegment]:
        """Return the segments of each list up to the length given for it, in order."""
        parameters = {
            "thread_key": UUID(bytes=key), "list_ids": list(lengths), "lengths": list(lengths.values())
        }  # fmt: skip
        rows = await self._fetch(_SQL.lists, parameters)
        found = [StoredSegment(list_id=row[0], start=row[1], length=row[2], items=row[3]) for row in rows]
        return await sealed.opened_segments(self.pool.sealing, key, found)

    async def blobs(self, key: bytes, hashes: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the content of the hashes that exist."""
        wanted = [UUID(bytes=hashed) for hashed in hashes]
        rows = await self._fetch(_SQL.blobs, {"thread_key": UUID(bytes=key), "hashes": wanted})
        return await sealed.opened_blobs(self.pool.sealing, key, ((hashed.bytes, data) for hashed, data in rows))

    async def ancestors(self, key: bytes, ns: str, checkpoint_id: UUID, *, limit: int) -> list[StoredCheckpoint]:
        """Return a checkpoint and its parents, nearest first, at most `limit` (metadata is not read)."""
        parameters = {"thread_key": UUID(bytes=key), "ns": ns, "checkpoint_id": checkpoint_id, "limit": limit}
        rows = await self._fetch(_SQL.ancestors, parameters)
        found = [
            StoredCheckpoint(thread_key=key, ns=ns, checkpoint_id=row[0], parent_id=row[1], metadata={}, body=row[2])
            for row in rows
        ]
        return await sealed.opened_checkpoints(self.pool.sealing, found)

    async def matching(
        self,
        key: bytes | None,
        ns: str | None,
        checkpoint_id: UUID | None,
        *,
        metadata: Mapping[str, Any],
        before_seq: int | None,
        limit: int,
    ) -> list[StoredCheckpoint]:
        """Return matching checkpoints, newest first; None does not filter."""
        parameters = {
            "thread_key": None if key is None else UUID(bytes=key),
            "ns": ns,
            "checkpoint_id": checkpoint_id,
            "before_seq": before_seq,
            "filter": jsonb(dict(metadata)),
            "limit": limit,
        }
        rows = await self._fetch(_SQL.list_checkpoints, parameters)
        found = [
            StoredCheckpoint(
                thread_key=row[0].bytes,
                thread_id=row[1],
                ns=row[2],
                checkpoint_id=row[3],
                parent_id=row[4],
                metadata=row[5],
                body=row[6],
                seq=row[7],
                is_head=row[8],
            )
            for row in rows
        ]
        return await sealed.opened_checkpoints(self.pool.sealing, found)

    async def seq_of(self, key: bytes | None, checkpoint_id: UUID) -> int | None:
        """Return the place of a checkpoint in the order of insertion."""
        thread = None if key is None else UUID(bytes=key)
        rows = await self._fetch(_SQL.seq_of, {"thread_key": thread, "checkpoint_id": checkpoint_id})
        return rows[0][0] if rows else None

    async def generation(self, key: bytes, ns: str) -> int | None:
        """Return how often history was erased; None when the namespace has no checkpoint."""
        rows = await self._fetch(_SQL.generation, {"thread_key": UUID(bytes=key), "ns": ns})
        return rows[0][0] if rows else None

    async def threads_of_runs(self, run_ids: Sequence[str]) -> list[bytes]:
        """Return the keys of the threads on which these runs left checkpoints."""
        rows = await self._fetch(_SQL.threads_of_runs, {"run_ids": list(run_ids)})
        return [key.bytes for (key,) in rows]

    async def quarantine(self, key: bytes, reason: str | None) -> None:
        """Mark a thread whose state cannot be restored; None lifts the mark."""
        async with self.pool.connection() as connection:
            kept = None if reason is None else redacted(reason)
            await connection.execute(_SQL.quarantine, {"thread_key": UUID(bytes=key), "reason": kept})

    async def _fetch(self, statement: bytes, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement, parameters, binary=True)
            return await cursor.fetchall()


async def _writes(connection: Executes, key: bytes, ns: str, checkpoint_ids: Sequence[UUID]) -> list[StoredWrites]:
    parameters = {"thread_key": UUID(bytes=key), "ns": ns, "checkpoint_ids": list(checkpoint_ids)}
    cursor = await connection.execute(_SQL.writes, parameters, binary=True)
    return [
        StoredWrites(checkpoint_id=row[0], task_id=row[1], idx=row[2], task_path=row[3], body=row[4])
        for row in await cursor.fetchall()
    ]


def _stored_checkpoint(key: bytes, ns: str, row: Sequence[bytes | None]) -> StoredCheckpoint:
    generation, is_head, checkpoint_id, parent_id, metadata, body = row[:6]
    return StoredCheckpoint(
        thread_key=key,
        ns=ns,
        checkpoint_id=UUID(bytes=checkpoint_id),
        parent_id=None if parent_id is None else UUID(bytes=parent_id),
        # jsonb in binary is its text behind a version number of one byte.
        metadata=orjson.loads(memoryview(metadata or b"")[1:]),
        body=body or b"",
        generation=int.from_bytes(generation or b""),
        is_head=is_head == b"\x01",
    )


def _stored_writes(row: Sequence[bytes | None]) -> StoredWrites:
    checkpoint_id, body, task_id, idx, task_path = row[2], row[5], row[6], row[7], row[8]
    return StoredWrites(
        checkpoint_id=UUID(bytes=checkpoint_id),
        task_id=task_id or b"",
        idx=int.from_bytes(idx or b"", signed=True),
        task_path=(task_path or b"").decode(),
        body=body or b"",
    )
