"""The commit of one step of one run, as plain parameters.

With few runs at a time most batches are just this, and arrays of one element cost time on both sides.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from outlast.storage.postgres.arrays import BigintArray, ByteaArray, IntArray, Parameter, Scalar, UuidArray
from outlast.storage.postgres.checkpoint_rows import CheckpointRow, Row, Segment, WritesRow


class LoneStep(NamedTuple):
    """A batch as parameters of `commit_step`, and which of its optional parts it needs."""

    flags: tuple[str, ...]
    parameters: Mapping[str, Parameter]

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
            parameters |= _writes(writes)
            blobs = {**writes.blobs, **blobs}
        if checkpoint.fence is not None:
            flags += ("fenced",)
            parameters["fence_run"] = Scalar.of_uuid(checkpoint.fence.run_id)
        if checkpoint.segments:
            flags += ("appended",)
            parameters |= _segments(checkpoint.segments)
        if blobs:
            flags += ("stored",)
            parameters |= {"b_hash": UuidArray(list(blobs)), "b_data": ByteaArray(list(blobs.values()))}
        return cls(flags, parameters)


def _belongs(writes: WritesRow, checkpoint: CheckpointRow) -> bool:
    """Whether the writes are of the step that ends with this checkpoint."""
    return (
        writes.thread_key == checkpoint.thread_key
        and writes.ns == checkpoint.ns
        and writes.checkpoint_id == checkpoint.parent_id
        and writes.fence == checkpoint.fence
    )


def _checkpoint(row: CheckpointRow) -> dict[str, Parameter]:
    return {
        "thread": Scalar.of_uuid(row.thread_key),
        "ns": Scalar.of_text(row.ns),
        "id": Scalar.of_uuid(row.checkpoint_id),
        "parent": Scalar.of_uuid(row.parent_id),
        "run": Scalar.of_text(row.run_id),
        "metadata": Scalar.of_bytes(row.metadata),
        "body": Scalar.of_bytes(row.body),
        "fence_epoch": Scalar.of_int(None if row.fence is None else row.fence.epoch),
    }


def _writes(row: WritesRow) -> dict[str, Parameter]:
    return {
        "task": Scalar.of_bytes(row.task_id),
        "idx": Scalar.of_smallint(row.idx),
        "count": Scalar.of_int(row.writes),
        "path": Scalar.of_text(row.task_path),
        "written": Scalar.of_bytes(row.body),
    }


def _segments(segments: Sequence[Segment]) -> dict[str, Parameter]:
    return {
        "s_list": BigintArray.of(segment.list_id for segment in segments),
        "s_start": IntArray.of(segment.start for segment in segments),
        "s_length": IntArray.of(segment.length for segment in segments),
        "s_items": ByteaArray([segment.items for segment in segments]),
    }
