"""The parent chain of a checkpoint, for LangGraph's DeltaChannel.

A DeltaChannel stores only what was written; its value is the nearest stored snapshot and the writes since. The chain
is read in pages with one statement each, not checkpoint by checkpoint.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langgraph.checkpoint.base import DeltaChannelHistory, PendingWrite

from outlast.agents.checkpoints.reading import Body, Restorer

_PAGE = 256


async def delta_history(
    restorer: Restorer, key: bytes, ns: str, checkpoint_id: UUID, channels: Sequence[str]
) -> Mapping[str, DeltaChannelHistory]:
    """Return for each channel its seed, if any, and the writes since, oldest first.

    The writes of the checkpoint itself are pending and do not count.
    """
    collected: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
    seeds: dict[str, Any] = {}
    at: UUID | None = checkpoint_id
    first = True
    while at is not None and len(seeds) < len(channels):
        page = await restorer.reader.ancestors(key, ns, at, limit=_PAGE)
        at = page[-1].parent_id if len(page) == _PAGE else None
        ancestors = page[1:] if first else page
        first = False
        rows = await restorer.reader.writes(key, ns, [ancestor.checkpoint_id for ancestor in ancestors])
        writes = await restorer.writes(key, rows)
        for ancestor in ancestors:
            nodes = Body.unpack(ancestor).nodes
            for channel in channels:
                if channel in seeds:
                    continue
                own = [write for write in writes.get(ancestor.checkpoint_id, []) if write[1] == channel]
                collected[channel].extend(reversed(own))
                if channel in nodes:
                    seeds[channel] = await restorer.value(key, nodes[channel], path=channel)
    return {channel: _entry(channel, collected[channel], seeds) for channel in channels}


def _entry(channel: str, newest_first: list[PendingWrite], seeds: Mapping[str, Any]) -> DeltaChannelHistory:
    entry: DeltaChannelHistory = {"writes": list(reversed(newest_first))}
    if channel in seeds:
        entry["seed"] = seeds[channel]
    return entry
