"""Deleting, pruning and copying a thread's checkpoints, exactly.

Each is one transaction that first locks the thread's heads, the rows every writer has to move: so nothing is appended
meanwhile, and raising the generation there tells writers that what they remember of this thread may be gone. What
nothing refers to any more is then found by marking from the checkpoints that stay. The functions that end in `_in` are
part of a transaction of their caller's.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from outlast.agents.checkpoints.nodes import ListReference, references, unpack
from outlast.agents.checkpoints.reading import Body
from outlast.errors import Conflict
from outlast.storage.postgres.checkpoint_sealing import opened_checkpoints, opened_items, opened_write
from outlast.storage.postgres.checkpoints import StoredCheckpoint
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.resealing import reseal_copy_in
from outlast.storage.postgres.sealing import OFF, Sealing
from outlast.storage.postgres.writes_before import restore_in

_SQL = Queries("checkpoints")
_THREADS = Queries("threads")
Connection = AsyncConnection[Any]
Keep = Callable[[list[StoredCheckpoint], Mapping[str, UUID]], list[StoredCheckpoint]]


async def delete_thread(pool: Pool, key: bytes) -> None:
    """Erase everything of a thread and leave a tombstone that refuses late writes."""
    async with pool.transaction() as connection:
        await delete_thread_in(connection, key)


async def delete_thread_in(connection: Connection, key: bytes) -> None:
    """Do it as part of the open transaction."""
    parameters = {"thread_key": UUID(bytes=key)}
    if await _lock(connection, key) is None:
        # Outputs of tasks may be there before the first checkpoint.
        await connection.execute(_SQL.erase_writes, parameters)
        return
    await connection.execute(_THREADS.forget_details, parameters)
    for statement in (
        _SQL.tombstone, _SQL.erase_heads, _SQL.erase_checkpoints,
        _SQL.erase_writes, _SQL.erase_lists, _SQL.erase_blobs,
    ):  # fmt: skip
        await connection.execute(statement, parameters)


async def delete_runs(pool: Pool, key: bytes, run_ids: set[str]) -> None:
    """Delete the checkpoints of some runs; the head falls back to the newest that remains.

    What a DeltaChannel of a remaining checkpoint is rebuilt from stays, whatever its run.
    """
    async with pool.transaction() as connection:
        await delete_runs_in(connection, key, run_ids, sealing=pool.sealing)


async def delete_runs_in(connection: Connection, key: bytes, run_ids: set[str], *, sealing: Sealing = OFF) -> None:
    """Do it as part of the open transaction.

    What a run added to a checkpoint that stays is undone as well, when `keep_in` was called before it began.
    """

    def of_other_runs(stored: list[StoredCheckpoint], _heads: Mapping[str, UUID]) -> list[StoredCheckpoint]:
        by_id = {(checkpoint.ns, checkpoint.checkpoint_id): checkpoint for checkpoint in stored}
        remaining = [checkpoint for checkpoint in stored if checkpoint.run_id not in run_ids]
        needed = {ancestor.seq for checkpoint in remaining for ancestor in _delta_line(by_id, checkpoint)}
        return [checkpoint for checkpoint in stored if checkpoint.seq in needed]

    await _keep_in(connection, key, of_other_runs, sealing, restore=lambda: restore_in(connection, key, run_ids))


async def keep_latest(pool: Pool, key: bytes) -> None:
    """Delete all but the heads and what a DeltaChannel of a head is rebuilt from."""
    async with pool.transaction() as connection:
        await keep_latest_in(connection, key, sealing=pool.sealing)


async def keep_latest_in(connection: Connection, key: bytes, *, sealing: Sealing = OFF) -> None:
    """Do it as part of the open transaction."""

    def heads_only(stored: list[StoredCheckpoint], heads: Mapping[str, UUID]) -> list[StoredCheckpoint]:
        by_id = {(checkpoint.ns, checkpoint.checkpoint_id): checkpoint for checkpoint in stored}
        kept = [_delta_line(by_id, by_id[ns, head]) for ns, head in heads.items() if (ns, head) in by_id]
        return [checkpoint for line in kept for checkpoint in line]

    await _keep_in(connection, key, heads_only, sealing)


async def copy_thread(pool: Pool, source: bytes, target: bytes, *, target_thread_id: str) -> None:
    """Copy a thread's state and history to a thread that has none."""
    async with pool.transaction() as connection:
        await copy_thread_in(connection, source, target, target_thread_id=target_thread_id, sealing=pool.sealing)


async def copy_thread_in(
    connection: Connection, source: bytes, target: bytes, *, target_thread_id: str, sealing: Sealing = OFF
) -> None:
    """Do it as part of the open transaction; raises Conflict when the target has state."""
    parameters = {"source_key": UUID(bytes=source), "target_key": UUID(bytes=target)}
    # The order of keys, so that two opposite copies cannot wait for each other.
    heads = {key: await _lock(connection, key) for key in sorted((source, target))}
    if not heads[source]:
        return
    # First the thread, which keeps a first writer out, then the question whether there was one.
    opened = {"thread_key": UUID(bytes=target), "thread_id": target_thread_id}
    await connection.execute(_SQL.open_thread, opened)
    cursor = await connection.execute(_SQL.is_empty, {"thread_key": UUID(bytes=target)})
    row = await cursor.fetchone()
    if row is None or not row[0]:
        msg = f"thread {target_thread_id!r} has state already; copy to a new thread or delete that one first"
        raise Conflict(msg)
    for statement in (
        _SQL.copy_heads, _SQL.copy_checkpoints, _SQL.copy_writes, _SQL.copy_lists, _SQL.copy_blobs
    ):  # fmt: skip
        await connection.execute(statement, parameters)
    if sealing.on:
        for table in ("checkpoints", "checkpoint_writes", "checkpoint_lists", "checkpoint_blobs"):
            await reseal_copy_in(connection, sealing, table, source=source, target=target)


async def _lock(connection: Connection, key: bytes) -> dict[str, UUID] | None:
    """Keep writers of checkpoints and of task outputs out until the end of the transaction; return the heads.

    None when there is no such thread. Nothing keeps its first writer out then, so nothing may be erased either.
    """
    parameters = {"thread_key": UUID(bytes=key)}
    locked = await connection.execute(_SQL.lock_thread, parameters)
    if await locked.fetchone() is None:
        return None
    cursor = await connection.execute(_SQL.lock_heads, parameters)
    return dict(await cursor.fetchall())


def _delta_line(by_id: Mapping[tuple[str, UUID], StoredCheckpoint], head: StoredCheckpoint) -> list[StoredCheckpoint]:
    """Return the head and the ancestors back to where each of its DeltaChannels is stored whole."""
    line = [head]
    missing = set(head.metadata.get("counters_since_delta_snapshot") or ()) - Body.unpack(head).nodes.keys()
    at = head
    while missing and at.parent_id is not None and (at.ns, at.parent_id) in by_id:
        at = by_id[at.ns, at.parent_id]
        line.append(at)
        missing -= Body.unpack(at).nodes.keys()
    return line


async def _keep_in(
    connection: Connection,
    key: bytes,
    choose: Keep,
    sealing: Sealing,
    *,
    restore: Callable[[], Awaitable[bool]] | None = None,
) -> None:
    parameters = {"thread_key": UUID(bytes=key)}
    heads = await _lock(connection, key)
    if heads is None:
        return
    # Before anything is swept: what it puts back refers to blobs.
    restored = restore is not None and await restore()
    stored = await opened_checkpoints(sealing, await _checkpoints(connection, key))
    kept = choose(stored, heads)
    remaining = {checkpoint.seq for checkpoint in kept}
    gone = [checkpoint.seq for checkpoint in stored if checkpoint.seq not in remaining]
    if gone:
        await connection.execute(_SQL.delete_checkpoints, {**parameters, "seqs": gone})
        await _move_heads(connection, parameters, heads, kept)
    if gone or restored:
        await _sweep(connection, parameters, kept, key=key, sealing=sealing)


async def _checkpoints(connection: Connection, key: bytes) -> list[StoredCheckpoint]:
    cursor = await connection.execute(_SQL.thread_checkpoints, {"thread_key": UUID(bytes=key)})
    return [
        StoredCheckpoint(
            thread_key=key,
            ns=row[0],
            checkpoint_id=row[1],
            parent_id=row[2],
            run_id=row[3],
            metadata=row[4],
            body=row[5],
            seq=row[6],
        )
        for row in await cursor.fetchall()
    ]


async def _move_heads(
    connection: Connection,
    parameters: Mapping[str, Any],
    heads: Mapping[str, UUID],
    kept: Iterable[StoredCheckpoint],
) -> None:
    newest: dict[str, UUID] = {}
    ids: set[tuple[str, UUID]] = set()
    for checkpoint in kept:
        newest[checkpoint.ns] = checkpoint.checkpoint_id
        ids.add((checkpoint.ns, checkpoint.checkpoint_id))
    for ns, head in heads.items():
        if (ns, head) in ids:
            continue
        if ns in newest:
            await connection.execute(_SQL.set_head, {**parameters, "ns": ns, "checkpoint_id": newest[ns]})
        else:
            await connection.execute(_SQL.delete_head, {**parameters, "ns": ns})


async def _sweep(
    connection: Connection,
    parameters: Mapping[str, Any],
    kept: Iterable[StoredCheckpoint],
    *,
    key: bytes,
    sealing: Sealing,
) -> None:
    """Delete list segments and blobs that no checkpoint or write refers to."""
    used: set[bytes] = set()
    lengths: dict[int, int] = {}
    for checkpoint in kept:
        for node in Body.unpack(checkpoint).nodes.values():
            used.update(references(node))
            if isinstance(node, ListReference):
                lengths[node.list_id] = max(node.length, lengths.get(node.list_id, 0))
    writes = await connection.execute(_SQL.all_writes, parameters)
    for ns, checkpoint_id, task_id, idx, body in await writes.fetchall():
        plain = await opened_write(sealing, body, key, ns, checkpoint_id, task_id, idx)
        used.update(references(unpack(plain, path="writes")))
    segments = await connection.execute(_SQL.list_segments_of, parameters)
    dropped: list[tuple[int, int]] = []
    for list_id, start, items in await segments.fetchall():
        if start < lengths.get(list_id, 0):
            plain = await opened_items(sealing, items, key, list_id, start)
            used.update(references(unpack(plain, path=f"list {list_id}")))
        else:
            dropped.append((list_id, start))
    await connection.execute(
        _SQL.delete_segments,
        {**parameters, "list_ids": [gone for gone, _ in dropped], "starts": [start for _, start in dropped]},
    )
    await connection.execute(_SQL.keep_blobs, {**parameters, "hashes": [UUID(bytes=hashed) for hashed in used]})
