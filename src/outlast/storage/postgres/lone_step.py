"""The commit of one step of one run, as plain parameters.

With few runs at a time most batches are just this, and arrays of one element cost time on both sides.
"""

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from outlast.storage.postgres.arrays import BigintArray, ByteaArray, IntArray, UuidArray
from outlast.storage.postgres.checkpoint_rows import CheckpointRow, Row, Segment, WritesRow

_BYTEA, _SMALLINT, _INT, _TEXT, _UUID = 17, 21, 23, 25, 2950
#: The type of each parameter of `commit_step`.
OIDS: Mapping[str, int] = MappingProxyType({
    "thread": _UUID, "ns": _TEXT, "id": _UUID, "parent": _UUID, "run": _TEXT, "metadata": _BYTEA, "body": _BYTEA,
    "fence_run": _UUID, "fence_epoch": _INT,
    "task": _BYTEA, "idx": _SMALLINT, "count": _INT, "path": _TEXT, "written": _BYTEA,
    "s_list": BigintArray.oid, "s_start": IntArray.oid, "s_length": IntArray.oid, "s_items": ByteaArray.oid,
    "b_hash": UuidArray.oid, "b_data": ByteaArray.oid,
})  # fmt: skip

_smallint = struct.Struct("!h").pack
_int = struct.Struct("!i").pack


class LoneStep(NamedTuple):
    """A batch as parameters of `commit_step` in binary, and which of its optional parts it needs."""

    flags: tuple[str, ...]
    parameters: Mapping[str, bytes | None]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "LoneStep | None":
        """Build from rows; None when they are anything else than a step of one run."""
        if len(rows) > 2:  # noqa: PLR2004 - a checkpoint and a task's output
            return None
        checkpoint = rows[-1]
        if not isinstance(checkpoint, CheckpointRow) or checkpoint.parent_id is None or checkpoint.fork:
            return None
        flags: tuple[str, ...] = ()
        parameters = _checkpoint(checkpoint)
        blobs = checkpoint.blobs
        if len(rows) == 2:  # noqa: PLR2004 - as above
            writes = rows[0]
            if not isinstance(writes, WritesRow) or not _belongs(writes, checkpoint):
                return None
            flags += ("written",)
            _add_writes(parameters, writes)
            blobs = {**writes.blobs, **blobs}
        if checkpoint.fence is not None:
            flags += ("fenced",)
            parameters["fence_run"] = checkpoint.fence.run_id.bytes
            parameters["fence_epoch"] = _int(checkpoint.fence.epoch)
        if checkpoint.segments:
            flags += ("appended",)
            _add_segments(parameters, checkpoint.segments)
        if blobs:
            flags += ("stored",)
            parameters["b_hash"] = UuidArray(list(blobs)).to_binary()
            parameters["b_data"] = ByteaArray(list(blobs.values())).to_binary()
        return cls(flags, parameters)


def _belongs(writes: WritesRow, checkpoint: CheckpointRow) -> bool:
    """Whether the writes are of the step that ends with this checkpoint."""
    return (
        writes.thread_key == checkpoint.thread_key
        and writes.ns == checkpoint.ns
        and writes.checkpoint_id == checkpoint.parent_id
        and writes.fence == checkpoint.fence
    )


def _checkpoint(row: CheckpointRow) -> dict[str, bytes | None]:
    return {
        "thread": row.thread_key,
        "ns": row.ns.encode(),
        "id": row.checkpoint_id.bytes,
        "parent": None if row.parent_id is None else row.parent_id.bytes,
        "run": None if row.run_id is None else row.run_id.encode(),
        "metadata": row.metadata,
        "body": row.body,
        "fence_epoch": None,
    }


def _add_writes(parameters: dict[str, bytes | None], row: WritesRow) -> None:
    parameters["task"] = row.task_id
    parameters["idx"] = _smallint(row.idx)
    parameters["count"] = _int(row.writes)
    parameters["path"] = row.task_path.encode()
    parameters["written"] = row.body


def _add_segments(parameters: dict[str, bytes | None], segments: Sequence[Segment]) -> None:
    parameters["s_list"] = BigintArray.of(segment.list_id for segment in segments).to_binary()
    parameters["s_start"] = IntArray.of(segment.start for segment in segments).to_binary()
    parameters["s_length"] = IntArray.of(segment.length for segment in segments).to_binary()
    parameters["s_items"] = ByteaArray([segment.items for segment in segments]).to_binary()
