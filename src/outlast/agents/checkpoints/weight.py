"""What a thread's state weighs: its checkpoints, the values of its channels, and the writes that are pending."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from outlast.agents.checkpoints.nodes import ListReference, Node, references, unpack
from outlast.agents.checkpoints.reading import Body
from outlast.storage.postgres.checkpoint_sealing import opened_items
from outlast.storage.postgres.checkpoints import StoredCheckpoint
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import CHECKPOINT_BODY
from outlast.storage.postgres.sealing import Sealing

_SQL = Queries("weights")
_NOWHERE = UUID(int=0)


@dataclass(slots=True)
class _Channel:
    """What one channel refers to, over all checkpoints."""

    lists: set[int] = field(default_factory=set[int])
    blobs: set[bytes] = field(default_factory=set[bytes])


async def weigh(pool: Pool, key: bytes) -> dict[str, Any]:
    """Return bytes and counts; a value that several channels hold counts for the first of them by name.

    Raises StateUnreadable when a row is damaged.
    """
    parameters = {"thread_key": UUID(bytes=key)}
    async with pool.transaction() as connection:
        found = [
            await (await connection.execute(statement, parameters, binary=True)).fetchall()
            for statement in (_SQL.checkpoints, _SQL.lists, _SQL.blobs, _SQL.writes)
        ]
    found[:2] = await _opened(pool.sealing, key, found[0], found[1])
    # A long thread has thousands of rows to decode.
    return await asyncio.to_thread(_told, key, *found)


async def _opened(
    sealing: Sealing, key: bytes, checkpoints: Sequence[tuple[Any, ...]], lists: Sequence[tuple[Any, ...]]
) -> list[list[tuple[Any, ...]]]:
    """Return what is looked into, decrypted, without what is needed for that alone."""
    return [
        [
            (await sealing.open(CHECKPOINT_BODY, body, key, ns, checkpoint_id), size)
            for body, size, ns, checkpoint_id in checkpoints
        ],
        [
            (list_id, await opened_items(sealing, items, key, list_id, start)) for list_id, items, start in lists
        ],
    ]  # fmt: skip


def _told(
    key: bytes,
    checkpoints: Sequence[tuple[Any, ...]],
    lists: Sequence[tuple[Any, ...]],
    blobs: Sequence[tuple[Any, ...]],
    writes: Sequence[tuple[Any, ...]],
) -> dict[str, Any]:
    channels = _channels(key, [body for body, _ in checkpoints])
    list_sizes, list_blobs = _lists(lists)
    blob_sizes = {hashed.bytes: size for hashed, size in blobs}
    by_channel: dict[str, int] = {}
    for name in sorted(channels):
        channel = channels[name]
        inner = (list_blobs.pop(list_id, set()) for list_id in channel.lists)
        hashes = channel.blobs.union(*inner)
        size = sum(list_sizes.pop(list_id, 0) for list_id in channel.lists)
        by_channel[name] = size + sum(blob_sizes.pop(hashed, 0) for hashed in hashes)
    stored = sum(size for _, size in checkpoints)
    # What only pending writes refer to is theirs.
    pending = {"count": writes[0][0], "bytes": writes[0][1] + sum(blob_sizes.values())}
    values = sum(by_channel.values())
    return {
        "total_bytes": stored + values + pending["bytes"] + sum(list_sizes.values()),
        "checkpoints": {"count": len(checkpoints), "bytes": stored},
        "channel_values": {"count": len(lists) + len(blobs), "bytes": values, "by_channel": by_channel},
        "pending_writes": pending,
    }


def _channels(key: bytes, bodies: Iterable[bytes]) -> dict[str, _Channel]:
    channels: dict[str, _Channel] = {}
    for body in bodies:
        row = StoredCheckpoint(thread_key=key, ns="", checkpoint_id=_NOWHERE, parent_id=None, metadata={}, body=body)
        for name, node in Body.unpack(row).nodes.items():
            _add(channels.setdefault(name, _Channel()), node)
    return channels


def _add(channel: _Channel, node: Node) -> None:
    if isinstance(node, ListReference):
        channel.lists.add(node.list_id)
    else:
        channel.blobs.update(references(node))


def _lists(rows: Iterable[tuple[Any, ...]]) -> tuple[dict[int, int], dict[int, set[bytes]]]:
    sizes: dict[int, int] = {}
    blobs: dict[int, set[bytes]] = {}
    for list_id, items in rows:
        sizes[list_id] = sizes.get(list_id, 0) + len(items)
        blobs.setdefault(list_id, set()).update(references(unpack(items, path=f"list {list_id}")))
    return sizes, blobs
