"""What the checkpointer hands to the database: two kinds of write, and how a batch of them is sent.

Everything variable is already bytes here; this module knows arrays and columns, nothing of graphs. Rows are named
tuples: several are made at each step, and a frozen dataclass costs three times as much to make.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from outlast.storage.postgres.arrays import Array, BigintArray, BoolArray, ByteaArray, IntArray, TextArray, UuidArray


class Fence(NamedTuple):
    """The right to write for a run: its id and the epoch of the claim."""

    run_id: UUID
    epoch: int


class Segment(NamedTuple):
    """Items appended to a list at position `start`."""

    list_id: int
    start: int
    length: int
    items: bytes


class CheckpointRow(NamedTuple):
    """A checkpoint to be saved and made the head of its namespace.

    Accepted when the head is `parent_id` (or there is none and `parent_id` is None), or in any case
    when `fork` says that leaving the line is meant. `generation`, when known, must be the head's:
    otherwise history was erased since it was read, and what this row refers to may be gone. `opens` says that
    a first checkpoint may bring a deleted thread back to life.
    """

    thread_key: bytes
    thread_id: str
    ns: str
    checkpoint_id: UUID
    parent_id: UUID | None
    fork: bool
    opens: bool
    generation: int | None
    run_id: str | None
    metadata: bytes
    body: bytes
    fence: Fence | None = None
    segments: Sequence[Segment] = ()
    blobs: Mapping[bytes, bytes] = MappingProxyType({})


class WritesRow(NamedTuple):
    """The output of one task of a step that is not committed yet."""

    thread_key: bytes
    ns: str
    checkpoint_id: UUID
    task_id: bytes
    idx: int
    writes: int
    task_path: str
    body: bytes
    fence: Fence | None = None
    blobs: Mapping[bytes, bytes] = MappingProxyType({})


Row = CheckpointRow | WritesRow


class Batch(NamedTuple):
    """Rows as parameters of `commit_batch`, and which of its optional parts they need; a row's number is its place."""

    flags: tuple[str, ...]
    parameters: Mapping[str, Array]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Batch":
        """Build from rows."""
        numbered = list(enumerate(rows))
        checkpoints = [(n, row) for n, row in numbered if isinstance(row, CheckpointRow)]
        writes = [(n, row) for n, row in numbered if isinstance(row, WritesRow)]
        parameters = {
            **_checkpoint_parameters(checkpoints),
            **_segment_parameters(checkpoints),
            **_writes_parameters(writes),
            **_blob_parameters(numbered),
            "o_threads": UuidArray(sorted({row.thread_key for row in rows if _needs_open_thread(row)})),
        }
        flags: tuple[str, ...] = ()
        if any(row.parent_id is None or row.fork for _, row in checkpoints):
            flags += ("roots",)
            parameters |= _root_parameters(checkpoints)
        if any(row.fence is not None for row in rows):
            flags += ("fenced",)
            parameters |= _fence_parameters(rows, [row for _, row in checkpoints], [row for _, row in writes])
        return cls(flags, parameters)


def _needs_open_thread(row: Row) -> bool:
    return isinstance(row, WritesRow) or (row.parent_id is None and not row.opens)


def _checkpoint_parameters(rows: Sequence[tuple[int, CheckpointRow]]) -> dict[str, Array]:
    return {
        "c_n": IntArray.of(n for n, _ in rows),
        "c_thread": UuidArray([row.thread_key for _, row in rows]),
        "c_ns": TextArray.of(row.ns for _, row in rows),
        "c_id": UuidArray.of(row.checkpoint_id for _, row in rows),
        "c_parent": UuidArray.of(row.parent_id for _, row in rows),
        "c_run": TextArray.of(row.run_id for _, row in rows),
        "c_metadata": ByteaArray([row.metadata for _, row in rows]),
        "c_body": ByteaArray([row.body for _, row in rows]),
    }


def _root_parameters(rows: Sequence[tuple[int, CheckpointRow]]) -> dict[str, Array]:
    starting = {row.thread_key: row.thread_id for _, row in rows if row.parent_id is None}
    return {
        "t_key": UuidArray(list(starting)),
        "t_id": TextArray.of(starting.values()),
        "c_fork": BoolArray.of(row.fork for _, row in rows),
        "c_opens": BoolArray.of(row.opens for _, row in rows),
        "c_generation": IntArray.of(row.generation for _, row in rows),
    }


def _segment_parameters(rows: Iterable[tuple[int, CheckpointRow]]) -> dict[str, Array]:
    segments = [(n, row.thread_key, segment) for n, row in rows for segment in row.segments]
    return {
        "s_n": IntArray.of(n for n, _, _ in segments),
        "s_thread": UuidArray([thread_key for _, thread_key, _ in segments]),
        "s_list": BigintArray.of(segment.list_id for _, _, segment in segments),
        "s_start": IntArray.of(segment.start for _, _, segment in segments),
        "s_length": IntArray.of(segment.length for _, _, segment in segments),
        "s_items": ByteaArray([segment.items for _, _, segment in segments]),
    }


def _writes_parameters(rows: Sequence[tuple[int, WritesRow]]) -> dict[str, Array]:
    return {
        "w_n": IntArray.of(n for n, _ in rows),
        "w_thread": UuidArray([row.thread_key for _, row in rows]),
        "w_ns": TextArray.of(row.ns for _, row in rows),
        "w_checkpoint": UuidArray.of(row.checkpoint_id for _, row in rows),
        "w_task": ByteaArray([row.task_id for _, row in rows]),
        "w_idx": IntArray.of(row.idx for _, row in rows),
        "w_count": IntArray.of(row.writes for _, row in rows),
        "w_path": TextArray.of(row.task_path for _, row in rows),
        "w_body": ByteaArray([row.body for _, row in rows]),
    }


def _blob_parameters(rows: Sequence[tuple[int, Row]]) -> dict[str, Array]:
    # A blob is sent once per row that needs it: the other row may be refused.
    blobs = [(n, row.thread_key, hashed, data) for n, row in rows for hashed, data in row.blobs.items()]
    return {
        "b_n": IntArray.of(n for n, _, _, _ in blobs),
        "b_thread": UuidArray([thread_key for _, thread_key, _, _ in blobs]),
        "b_hash": UuidArray([hashed for _, _, hashed, _ in blobs]),
        "b_data": ByteaArray([data for _, _, _, data in blobs]),
    }


def _fence_parameters(
    rows: Sequence[Row], checkpoints: Sequence[CheckpointRow], writes: Sequence[WritesRow]
) -> dict[str, Array]:
    fences = {row.fence for row in rows if row.fence is not None}
    return {
        "fence_run": UuidArray.of(fence.run_id for fence in fences),
        "fence_epoch": IntArray.of(fence.epoch for fence in fences),
        "c_fence": UuidArray.of(row.fence.run_id if row.fence else None for row in checkpoints),
        "c_epoch": IntArray.of(row.fence.epoch if row.fence else None for row in checkpoints),
        "w_fence": UuidArray.of(row.fence.run_id if row.fence else None for row in writes),
        "w_epoch": IntArray.of(row.fence.epoch if row.fence else None for row in writes),
    }
