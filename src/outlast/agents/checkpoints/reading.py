"""From rows back to LangGraph's checkpoints, exact or not at all.

What cannot be restored to its type raises StateUnreadable, naming the place in the state; it never becomes None or a
dict.
"""

import gc
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple, PendingWrite

from outlast.agents.checkpoints.address import config_of
from outlast.agents.checkpoints.cache import BlobCache, KnownCheckpoint
from outlast.agents.checkpoints.lists import KnownList, known_list
from outlast.agents.checkpoints.nodes import (
    ListReference,
    Node,
    blob_getter,
    pack,
    references,
    unpack,
    value_of,
)
from outlast.agents.codec import Codec
from outlast.errors import StateUnreadable
from outlast.storage.postgres.checkpoints import CheckpointReader, StoredCheckpoint, StoredWrites

# First element of a body; a later layout gets another number and this one stays readable.
LAYOUT = 1
_UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Body:
    """The decoded `checkpoints.body`."""

    v: int
    ts: str
    channel_versions: dict[str, Any]
    versions_seen: dict[str, dict[str, Any]]
    updated_channels: list[str] | None
    nodes: dict[str, Node]

    def pack(self) -> bytes:
        """Encode for the database."""
        return pack(
            [LAYOUT, self.v, self.ts, self.channel_versions, self.versions_seen, self.updated_channels, self.nodes]
        )

    @classmethod
    def unpack(cls, stored: StoredCheckpoint) -> "Body":
        """Decode; raises StateUnreadable for a damaged or newer row."""
        path = f"checkpoint {stored.checkpoint_id}"
        parts = unpack(stored.body, path=path)
        if not isinstance(parts, list) or not parts or parts[0] != LAYOUT or len(cast("list[Any]", parts)) != 7:  # noqa: PLR2004
            msg = f"{path} was written by another version of Outlast; upgrade this one"
            raise StateUnreadable(msg, path=path)
        return cls(*cast("list[Any]", parts)[1:])


class Restorer:
    """Rebuilds values of one process's reads, with its codec and its cache of blobs."""

    def __init__(self, reader: CheckpointReader, codec: Codec, cache: BlobCache) -> None:
        self.reader = reader
        self.codec = codec
        self.cache = cache

    async def restore(
        self, stored: StoredCheckpoint, writes: Sequence[StoredWrites] = (), *, known: KnownCheckpoint | None = None
    ) -> tuple[Checkpoint, list[PendingWrite], KnownCheckpoint]:
        """Return the checkpoint, its pending writes, and what the next write needs to know of it.

        `known` is an earlier checkpoint of the namespace: the lists that it shares with this one are not read again.
        """
        body = Body.unpack(stored)
        pending = [(row, writes_of(row)) for row in writes]
        lists = await self._lists(stored.thread_key, body.nodes, _known_lists(known, stored.generation))
        blobs = await self._blobs(stored.thread_key, [*body.nodes.values(), *lists.values(), *(n for _, n in pending)])
        with _no_collection():
            values, known_lists = self._values(body.nodes, lists, blobs)
        checkpoint: Checkpoint = {
            "v": body.v,
            "id": str(stored.checkpoint_id),
            "ts": body.ts,
            "channel_values": values,
            "channel_versions": body.channel_versions,
            "versions_seen": body.versions_seen,
            "updated_channels": body.updated_channels,
        }
        # LangGraph changes the version maps of a checkpoint it works on in place.
        remembered = KnownCheckpoint(
            checkpoint_id=stored.checkpoint_id, generation=stored.generation, versions=dict(body.channel_versions),
            nodes=body.nodes, lists=known_lists,
        )  # fmt: skip
        return checkpoint, self.pending_writes(pending, blobs), remembered

    async def writes(self, thread_key: bytes, rows: Sequence[StoredWrites]) -> "dict[UUID, list[PendingWrite]]":
        """Return the restored writes of several checkpoints."""
        pending = [(row, writes_of(row)) for row in rows]
        blobs = await self._blobs(thread_key, [nodes for _, nodes in pending])
        by_checkpoint: dict[UUID, list[tuple[StoredWrites, list[Node]]]] = {}
        for row, nodes in pending:
            by_checkpoint.setdefault(row.checkpoint_id, []).append((row, nodes))
        return {checkpoint_id: self.pending_writes(own, blobs) for checkpoint_id, own in by_checkpoint.items()}

    async def value(self, thread_key: bytes, node: Node, *, path: str) -> Any:
        """Restore one channel's value."""
        lists = await self._lists(thread_key, {path: node}, {})
        blobs = await self._blobs(thread_key, [node, *lists.values()])
        return self._values({path: node}, lists, blobs)[0][path]

    def pending_writes(
        self, rows: Iterable[tuple[StoredWrites, list[Node]]], blobs: Mapping[bytes, bytes]
    ) -> list[PendingWrite]:
        """Restore task outputs, in the order of the rows."""
        get = blob_getter(blobs)
        return [
            (task_name(row.task_id), channel, value_of(self.codec, node, path=f"write to {channel}", blob=get))
            for row, nodes in rows
            for channel, node in nodes
        ]

    def _values(
        self, nodes: Mapping[str, Node], lists: Mapping[int, list[Node]], blobs: Mapping[bytes, bytes]
    ) -> tuple[dict[str, Any], dict[str, KnownList]]:
        values: dict[str, Any] = {}
        known: dict[str, KnownList] = {}
        get = blob_getter(blobs)
        for channel, node in nodes.items():
            if isinstance(node, ListReference):
                items = lists[node.list_id][: node.length]
                values[channel] = value_of(self.codec, items, path=channel, blob=get)
                known[channel] = known_list(self.codec, node, values[channel], items)
            else:
                values[channel] = value_of(self.codec, node, path=channel, blob=get)
        return values, known

    async def _lists(
        self, thread_key: bytes, nodes: Mapping[str, Node], known: Mapping[int, Sequence[Node]]
    ) -> dict[int, list[Node]]:
        lengths = {node.list_id: node.length for node in nodes.values() if isinstance(node, ListReference)}
        lists = {list_id: list(known.get(list_id, ())) for list_id in lengths}
        wanted = {list_id: length for list_id, length in lengths.items() if len(lists[list_id]) < length}
        for segment in await self.reader.segments(thread_key, wanted) if wanted else ():
            # Segments begin where the last one ended; those that are known are passed over.
            if segment.start == len(lists[segment.list_id]):
                lists[segment.list_id].extend(unpack(segment.items, path=f"list {segment.list_id}"))
        for channel, node in nodes.items():
            if isinstance(node, ListReference) and len(lists[node.list_id]) < node.length:
                msg = f"state {channel}: items are missing from checkpoint_lists (list {node.list_id})"
                raise StateUnreadable(msg, path=channel)
        return lists

    async def _blobs(self, thread_key: bytes, nodes: Iterable[Node]) -> dict[bytes, bytes]:
        wanted = {hashed for node in nodes for hashed in references(node)}
        if not wanted:
            return {}
        found, missing = self.cache.find(thread_key, wanted)
        if missing:
            read = await self.reader.blobs(thread_key, missing)
            self.cache.add(thread_key, read)
            found.update(read)
        return found


def _known_lists(known: KnownCheckpoint | None, generation: int | None) -> dict[int, Sequence[Node]]:
    """Return the nodes of lists by id; nothing that was known before history was erased."""
    if known is None or known.generation != generation:
        return {}
    return {own.reference.list_id: own.nodes for own in known.lists.values()}


@contextmanager
def _no_collection() -> Generator[None]:
    """Look for no garbage while a state comes into being: none of it is any, and all of it would be gone through."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def writes_of(row: StoredWrites) -> list[Node]:
    """Return a row's [channel, node] pairs."""
    return unpack(row.body, path=f"writes of task {task_name(row.task_id)}")


def task_bytes(task_id: str) -> bytes:
    """16 bytes for the UUIDs that LangGraph uses, the text itself (after a NUL) for any other id."""
    try:
        value = UUID(task_id)
    except ValueError:
        value = None
    if value is not None and str(value) == task_id:
        return value.bytes
    text = b"\x00" + task_id.encode("utf-8", "surrogatepass")
    # 0xFF is in no text: it only keeps this one from having the length of a UUID.
    return text + b"\xff" if len(text) == _UUID_BYTES else text


def task_name(task: bytes) -> str:
    """Undo `task_bytes`."""
    if len(task) == _UUID_BYTES:
        return str(UUID(bytes=task))
    return task[1:].removesuffix(b"\xff").decode("utf-8", "surrogatepass")


def checkpoint_tuple(
    thread_id: str, stored: StoredCheckpoint, checkpoint: Checkpoint, pending: list[PendingWrite]
) -> CheckpointTuple:
    """Return what LangGraph is given of a checkpoint."""
    parent = None if stored.parent_id is None else config_of(thread_id, stored.ns, stored.parent_id)
    return CheckpointTuple(
        config=config_of(thread_id, stored.ns, stored.checkpoint_id),
        checkpoint=checkpoint,
        metadata=cast("CheckpointMetadata", stored.metadata),
        parent_config=parent,
        pending_writes=pending,
    )
