"""Checkpoints, encrypted as they go to the writer and decrypted as they are read. See `sealing`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from outlast.errors import StateUnreadable, Undecipherable
from outlast.storage.postgres.checkpoint_rows import CheckpointRow, Row, Segment
from outlast.storage.postgres.sealed_columns import CHECKPOINT_BLOB, CHECKPOINT_BODY, CHECKPOINT_LIST, CHECKPOINT_WRITES
from outlast.storage.postgres.sealing import Part, Place, Sealing

if TYPE_CHECKING:
    from outlast.storage.postgres.checkpoints import StoredCheckpoint, StoredSegment, StoredWrites


async def sealed_row(sealing: Sealing, row: Row) -> Row:
    """Return a row as it goes to the writer, which may send it several times."""
    key = row.thread_key
    found = row.blobs.items()
    blobs = {hashed: await sealing.seal(CHECKPOINT_BLOB, data, key, hashed) or b"" for hashed, data in found}
    if isinstance(row, CheckpointRow):
        body = await sealing.seal(CHECKPOINT_BODY, row.body, key, row.ns, row.checkpoint_id)
        segments = [await _sealed_segment(sealing, key, segment) for segment in row.segments]
        return row._replace(body=body or b"", blobs=blobs, segments=segments)
    body = await sealing.seal(CHECKPOINT_WRITES, row.body, key, row.ns, row.checkpoint_id, row.task_id, row.idx)
    return row._replace(body=body or b"", blobs=blobs)


async def _sealed_segment(sealing: Sealing, key: bytes, segment: Segment) -> Segment:
    items = await sealing.seal(CHECKPOINT_LIST, segment.items, key, segment.list_id, segment.start)
    return segment._replace(items=items or b"")


async def opened_checkpoints(sealing: Sealing, found: Sequence["StoredCheckpoint"]) -> list["StoredCheckpoint"]:
    """Return checkpoints as they were; raises StateUnreadable."""
    return [replace(stored, body=await opened_body(sealing, stored)) for stored in found] if sealing.on else [*found]


async def opened_body(sealing: Sealing, stored: "StoredCheckpoint") -> bytes:
    """Return the body of a checkpoint as it was; raises StateUnreadable."""
    return await _opened(sealing, CHECKPOINT_BODY, stored.body, stored.thread_key, stored.ns, stored.checkpoint_id)


async def _opened(sealing: Sealing, place: Place, data: bytes, *identity: Part) -> bytes:
    """Decrypt a part of a thread's state: what cannot be decrypted is state that cannot be restored."""
    try:
        return await sealing.open(place, data, *identity) or b""
    except Undecipherable as error:
        raise StateUnreadable(str(error), path=place.name) from error


async def opened_writes(
    sealing: Sealing, key: bytes, ns: str, found: Sequence["StoredWrites"]
) -> list["StoredWrites"]:  # fmt: skip
    """Return task outputs as they were; raises StateUnreadable."""
    if not sealing.on:
        return [*found]
    return [
        replace(row, body=await opened_write(sealing, row.body, key, ns, row.checkpoint_id, row.task_id, row.idx))
        for row in found
    ]


async def opened_write(sealing: Sealing, body: bytes, *identity: Part) -> bytes:
    """Return one task output as it was."""
    return await _opened(sealing, CHECKPOINT_WRITES, body, *identity)


async def opened_segments(
    sealing: Sealing, key: bytes, found: Sequence["StoredSegment"]
) -> list["StoredSegment"]:  # fmt: skip
    """Return parts of lists as they were; raises StateUnreadable."""
    if not sealing.on:
        return [*found]
    return [replace(row, items=await opened_items(sealing, row.items, key, row.list_id, row.start)) for row in found]


async def opened_items(sealing: Sealing, items: bytes, key: bytes, list_id: int, start: int) -> bytes:
    """Return one part of a list as it was."""
    return await _opened(sealing, CHECKPOINT_LIST, items, key, list_id, start)


async def opened_blobs(
    sealing: Sealing, key: bytes, found: Iterable[tuple[bytes, bytes]]
) -> dict[bytes, bytes]:  # fmt: skip
    """Return contents by their hash as they were; raises StateUnreadable."""
    return {hashed: await _opened(sealing, CHECKPOINT_BLOB, data, key, hashed) for hashed, data in found}
