"""From LangGraph's checkpoints and task outputs to rows."""

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, ChannelVersions, Checkpoint, CheckpointMetadata

from outlast.agents.checkpoints.address import Address, parsed_id
from outlast.agents.checkpoints.cache import KnownCheckpoint
from outlast.agents.checkpoints.lists import KnownList, store_list
from outlast.agents.checkpoints.metadata import encode_metadata, stored_metadata
from outlast.agents.checkpoints.nodes import Blobs, Node, node_of, pack
from outlast.agents.checkpoints.reading import Body, task_bytes
from outlast.agents.codec import Codec
from outlast.storage.postgres.checkpoint_rows import CheckpointRow, Fence, Segment, WritesRow

# Where LangGraph keeps a run's durability, for its subgraphs.
_DURABILITY = "__pregel_durability"


def checkpoint_row(
    codec: Codec,
    address: Address,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    *,
    new_versions: ChannelVersions,
    parent: KnownCheckpoint | None,
    fork: bool,
    fence: Fence | None,
) -> tuple[CheckpointRow, KnownCheckpoint]:
    """Return the row of a checkpoint, and what its child needs to know of it once it is stored."""
    blobs: Blobs = {}
    segments: list[Segment] = []
    nodes, lists = _channels(codec, checkpoint, new_versions, parent, blobs=blobs, segments=segments, fork=fork)
    known = KnownCheckpoint(
        checkpoint_id=parsed_id(checkpoint["id"]),
        generation=parent.generation if parent is not None else None if fork else 0,
        versions=dict(checkpoint["channel_versions"]),
        nodes=nodes,
        lists=lists,
    )
    kept = stored_metadata(config, metadata)
    run_id = kept.get("run_id")
    row = CheckpointRow(
        thread_key=address.key,
        thread_id=address.thread_id,
        ns=address.ns,
        checkpoint_id=known.checkpoint_id,
        parent_id=address.checkpoint_id,
        fork=fork,
        # With `exit`, a subgraph's checkpoint is stored before the root's.
        opens=not address.ns or (config.get("configurable") or {}).get(_DURABILITY) == "exit",
        generation=known.generation,
        run_id=run_id if isinstance(run_id, str) else None,
        metadata=encode_metadata(kept),
        body=_body(checkpoint, nodes),
        fence=fence,
        segments=segments,
        blobs=blobs,
    )
    return row, known


def _body(checkpoint: Checkpoint, nodes: dict[str, Node]) -> bytes:
    body = Body(
        checkpoint["v"],
        checkpoint["ts"],
        checkpoint["channel_versions"],
        checkpoint["versions_seen"],
        checkpoint.get("updated_channels"),
        nodes,
    )
    return body.pack()


def _channels(
    codec: Codec,
    checkpoint: Checkpoint,
    new_versions: ChannelVersions,
    parent: KnownCheckpoint | None,
    *,
    blobs: Blobs,
    segments: list[Segment],
    fork: bool,
) -> tuple[dict[str, Node], dict[str, KnownList]]:
    """Turn channel values into nodes; a channel whose version did not move keeps its parent's."""
    nodes: dict[str, Node] = {}
    lists: dict[str, KnownList] = {}
    versions = checkpoint["channel_versions"]
    values: dict[str, object] = checkpoint["channel_values"]
    for channel, value in values.items():
        same = parent if parent is not None and _unchanged(channel, parent, versions, new_versions) else None
        if same is not None and not fork and channel in same.lists:
            nodes[channel], lists[channel] = same.nodes[channel], same.lists[channel]
        elif type(value) is list and value:
            before = parent.lists.get(channel) if parent is not None else None
            items = cast("list[object]", value)
            known, segment = store_list(codec, items, before, path=channel, blobs=blobs, fork=fork)
            nodes[channel] = known.reference
            lists[channel] = known
            if segment is not None:
                segments.append(segment)
        elif same is not None:
            nodes[channel] = same.nodes[channel]
        else:
            nodes[channel] = node_of(codec, cast("object", value), path=channel, blobs=blobs)
    return nodes, lists


def _unchanged(channel: str, parent: KnownCheckpoint, versions: ChannelVersions, new_versions: ChannelVersions) -> bool:
    return (
        channel in parent.nodes
        and channel not in new_versions
        and parent.versions.get(channel) == versions.get(channel)
    )


def writes_rows(
    codec: Codec,
    address: Address,
    writes: Sequence[tuple[str, Any]],
    *,
    task_id: str,
    task_path: str,
    fence: Fence | None,
) -> list[WritesRow]:
    """Return one row for a task's output, and one for each of LangGraph's special channels."""
    grouped: dict[int, list[tuple[str, Any]]] = {}
    for write in writes:
        grouped.setdefault(WRITES_IDX_MAP.get(write[0], 0), []).append(write)
    return [
        _writes_row(codec, address, idx, own, task=task_bytes(task_id), task_path=task_path, fence=fence)
        for idx, own in grouped.items()
    ]


def _writes_row(
    codec: Codec,
    address: Address,
    idx: int,
    writes: Sequence[tuple[str, Any]],
    *,
    task: bytes,
    task_path: str,
    fence: Fence | None,
) -> WritesRow:
    blobs: Blobs = {}
    nodes = [[channel, node_of(codec, value, path=f"write to {channel}", blobs=blobs)] for channel, value in writes]
    return WritesRow(
        thread_key=address.key,
        ns=address.ns,
        checkpoint_id=address.required(),
        task_id=task,
        idx=idx,
        writes=len(nodes),
        task_path=task_path,
        body=pack(nodes),
        fence=fence,
        blobs=blobs,
    )
