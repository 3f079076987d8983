"""A list channel as append-only segments.

A checkpoint refers to (list id, length). Appending stores the new items as one segment and moves the length, so a
chat of n turns costs n items, not n * n / 2. What is unchanged is recognised by identity first - the item is
the very object that was stored or loaded last time - and by what it looked like then, since a node may have changed it
in place (`looks`); another object may still have the same content. Only an item that fails all that is encoded again.

A list may be appended to by one line of checkpoints only. A fork refers to the same items but does not own the list:
its first append starts a list of its own, with the references copied (18 bytes an item), not the items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import randbits

from outlast.agents.checkpoints.looks import Look, content_print, look_at, looks_same, same_content
from outlast.agents.checkpoints.nodes import Blobs, ListReference, Node, node_of, pack
from outlast.agents.codec import Codec
from outlast.storage.postgres.checkpoint_rows import Segment


@dataclass(frozen=True, slots=True)
class KnownList:
    """What this process knows of a stored list: its items, what they looked like, and their nodes.

    `items` is a copy: a node may change the list itself in place, too.
    """

    reference: ListReference
    items: Sequence[object]
    looks: Sequence[Look]
    nodes: Sequence[Node]


def known_list(codec: Codec, reference: ListReference, items: Sequence[object], nodes: Sequence[Node]) -> KnownList:
    """Remember a list that was just loaded, before user code can touch its items."""
    return KnownList(reference, tuple(items), [look_at(codec, item) for item in items], nodes)


def store_list(
    codec: Codec, items: Sequence[object], before: KnownList | None, *, path: str, blobs: Blobs, fork: bool
) -> tuple[KnownList, Segment | None]:
    """Return what is known of the list afterwards, and the segment to append, if any."""
    kept = _unchanged_prefix(codec, items, before) if before is not None else 0
    if before is not None and kept == before.reference.length:
        return _append(codec, items, before, path=path, blobs=blobs, fork=fork)
    return _rewrite(codec, items, before, path=path, blobs=blobs)


def _unchanged_prefix(codec: Codec, items: Sequence[object], before: KnownList) -> int:
    """Count the leading items that are the stored ones."""
    kept = 0
    for item, known, look in zip(items, before.items, before.looks, strict=False):
        if not looks_same(codec, known, look) or (item is not known and not same_content(codec, item, known)):
            break
        kept += 1
    return kept


def _append(
    codec: Codec, items: Sequence[object], before: KnownList, *, path: str, blobs: Blobs, fork: bool
) -> tuple[KnownList, Segment | None]:
    start = before.reference.length
    if len(items) == start:
        owned = before.reference.owned and not fork
        reference = ListReference(before.reference.list_id, start, owned)
        return KnownList(reference, tuple(items), before.looks, before.nodes), None
    if fork or not before.reference.owned:
        return _rewrite(codec, items, before, path=path, blobs=blobs)
    new = [node_of(codec, items[n], path=f"{path}[{n}]", blobs=blobs) for n in range(start, len(items))]
    looks = [*before.looks, *(look_at(codec, items[n]) for n in range(start, len(items)))]
    reference = ListReference(before.reference.list_id, len(items), owned=True)
    segment = Segment(list_id=reference.list_id, start=start, length=len(new), items=pack(new))
    return KnownList(reference, tuple(items), looks, [*before.nodes, *new]), segment


def _rewrite(
    codec: Codec, items: Sequence[object], before: KnownList | None, *, path: str, blobs: Blobs
) -> tuple[KnownList, Segment]:
    """Start a new list; items that are stored already are referred to, not stored again."""
    stored = _stored_nodes(codec, before)
    nodes: list[Node] = []
    for index, item in enumerate(items):
        node = stored.get(content_print(codec, item)) if stored else None
        nodes.append(node_of(codec, item, path=f"{path}[{index}]", blobs=blobs) if node is None else node)
    # 63 random bits: lists of one thread never meet, and no round trip is needed to get a number.
    reference = ListReference(randbits(63), len(items), owned=True)
    segment = Segment(list_id=reference.list_id, start=0, length=len(nodes), items=pack(nodes))
    return known_list(codec, reference, items, nodes), segment


def _stored_nodes(codec: Codec, before: KnownList | None) -> dict[bytes | None, Node]:
    """Return the nodes of the items that still are what was stored, by their content."""
    if before is None:
        return {}
    return {
        content_print(codec, item): node
        for item, look, node in zip(before.items, before.looks, before.nodes, strict=True)
        if looks_same(codec, item, look)
    }
