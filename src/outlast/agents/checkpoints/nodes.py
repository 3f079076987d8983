"""A stored value is a small tree, a node.

    bytes                    the value's own encoding, when it is small
    Ext(REF, hash)           the encoding is a blob, kept once per thread under the hash of its content
    [node, ...]  {str: node} a list or dict whose parts are stored on their own
    Ext(LIST, ...)           a list channel: list id, length, whether this line may append to it
    Ext(DELTA, node)         LangGraph's snapshot of a DeltaChannel

So a message that appears in the input, in a task's output and in the list of messages is stored once.
Parts are looked for in the places where LangGraph puts messages (a list, a dict of lists), not at any depth:
deeper values are encoded whole.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast
from uuid import UUID

import ormsgpack
from langgraph.checkpoint.serde.types import _DeltaSnapshot as DeltaSnapshot  # pyright: ignore[reportPrivateUsage]

from outlast.agents.codec import Codec
from outlast.errors import StateUnreadable

REF, LIST, DELTA = 1, 2, 3
# Below this a reference (18 bytes, a row of 60 and an index entry of 60) costs more than the value.
INLINE_BYTES = 64
_MAX_PARTS = 4096
# Also what ends the descent into a value that holds itself, which the codec then refuses by name.
_MAX_DEPTH = 4
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})

_NONE = b"\xc0"

Node = Any
Blobs = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a blob is: the BLAKE2b-128 of its content."""

    hash: bytes


@dataclass(frozen=True, slots=True)
class ListReference:
    """The first `length` items of a list; `owned` says that this line of checkpoints may append to it."""

    list_id: int
    length: int
    owned: bool


@dataclass(frozen=True, slots=True)
class DeltaReference:
    """A DeltaChannel's snapshot."""

    node: Node


def content_hash(data: bytes) -> bytes:
    """16 bytes; collision-resistant, since a thread's content may come from anyone."""
    return blake2b(data, digest_size=16).digest()


def node_of(codec: Codec, value: object, *, path: str, blobs: Blobs, depth: int = _MAX_DEPTH) -> Node:
    """Return the node of a value and add the blobs it refers to.

    Raises StateNotSerializable or StateTooLarge, naming the path.
    """
    if value is None:
        # Every step leaves a few of these: LangGraph's channels that only trigger a node.
        return _NONE
    kind = type(value)
    if kind is list and depth and _has_parts(value):
        items = cast("list[object]", value)
        return [
            node_of(codec, item, path=f"{path}[{index}]", blobs=blobs, depth=depth - 1)
            for index, item in enumerate(items)
        ]
    if kind is dict and depth and _has_list(value):
        entries = cast("dict[str, object]", value)
        return {
            key: node_of(codec, entry, path=f"{path}.{key}", blobs=blobs, depth=depth - 1)
            for key, entry in entries.items()
        }
    if kind is DeltaSnapshot:
        snapshot = cast("DeltaSnapshot", value)
        return DeltaReference(node_of(codec, snapshot.value, path=path, blobs=blobs))
    return leaf_of(codec.encode(value, path=path), blobs)


def leaf_of(data: bytes, blobs: Blobs) -> Node:
    """Return the node of an encoded value: itself when small, else a reference."""
    if len(data) <= INLINE_BYTES:
        return data
    hashed = content_hash(data)
    blobs[hashed] = data
    return Reference(hashed)


def _has_parts(value: object) -> bool:
    """Whether a list is worth storing item by item: its items are objects, not scalars."""
    items = cast("list[object]", value)
    return 0 < len(items) <= _MAX_PARTS and type(items[0]) not in _SCALARS


def _has_list(value: object) -> bool:
    entries = cast("dict[object, object]", value)
    if not 0 < len(entries) <= _MAX_PARTS:
        return False
    return any(type(entry) is list and _has_parts(entry) for entry in entries.values()) and all(
        type(key) is str for key in entries
    )


def pack(node: object) -> bytes:
    """Encode a structure that holds nodes."""
    return ormsgpack.packb(
        node, default=_default, option=ormsgpack.OPT_NON_STR_KEYS | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    )


def _default(value: object) -> ormsgpack.Ext:
    if isinstance(value, Reference):
        return ormsgpack.Ext(REF, value.hash)
    if isinstance(value, ListReference):
        return ormsgpack.Ext(LIST, ormsgpack.packb([value.list_id, value.length, value.owned]))
    if isinstance(value, DeltaReference):
        return ormsgpack.Ext(DELTA, pack(value.node))
    raise TypeError(type(value).__name__)


def unpack(data: bytes, *, path: str) -> Any:
    """Decode what `pack` encoded; raises StateUnreadable on anything else."""
    try:
        return ormsgpack.unpackb(data, ext_hook=_ext, option=ormsgpack.OPT_NON_STR_KEYS)
    except (ValueError, TypeError) as error:
        msg = f"state {path}: the stored row is damaged ({error})"
        raise StateUnreadable(msg, path=path) from error


def _ext(code: int, data: bytes) -> Reference | ListReference | DeltaReference:
    if code == REF and len(data) == 16:  # noqa: PLR2004 - the size of the hash
        return Reference(data)
    if code == LIST:
        list_id, length, owned = ormsgpack.unpackb(data)
        return ListReference(list_id, length, owned)
    if code == DELTA:
        return DeltaReference(ormsgpack.unpackb(data, ext_hook=_ext, option=ormsgpack.OPT_NON_STR_KEYS))
    msg = f"unknown reference {code}"
    raise ValueError(msg)


def references(node: Node) -> Iterator[bytes]:
    """Yield the hashes of all blobs that a node refers to, list channels excepted."""
    if isinstance(node, Reference):
        yield node.hash
    elif isinstance(node, DeltaReference):
        yield from references(node.node)
    elif isinstance(node, list):
        for item in cast("list[Node]", node):
            yield from references(item)
    elif isinstance(node, dict):
        for item in cast("dict[str, Node]", node).values():
            yield from references(item)


def value_of(codec: Codec, node: Node, *, path: str, blob: Callable[[bytes, str], bytes]) -> Any:
    """Rebuild a value; `blob` returns the content of a hash (or raises StateUnreadable)."""
    if isinstance(node, bytes):
        return codec.decode(node, path=path)
    if isinstance(node, Reference):
        return codec.decode(blob(node.hash, path), path=path)
    if isinstance(node, DeltaReference):
        return DeltaSnapshot(value_of(codec, node.node, path=path, blob=blob))
    if isinstance(node, list):
        items = cast("list[Node]", node)
        return [value_of(codec, item, path=f"{path}[{index}]", blob=blob) for index, item in enumerate(items)]
    if isinstance(node, dict):
        entries = cast("Mapping[str, Node]", node)
        return {key: value_of(codec, entry, path=f"{path}.{key}", blob=blob) for key, entry in entries.items()}
    msg = f"state {path}: the stored row is damaged (a {type(node).__name__} where a value belongs)"
    raise StateUnreadable(msg, path=path)


def blob_getter(blobs: Mapping[bytes, bytes]) -> Callable[[bytes, str], bytes]:
    """Look up blobs that were read; a missing one is an error that names the value."""

    def get(hashed: bytes, path: str) -> bytes:
        try:
            return blobs[hashed]
        except KeyError:
            msg = f"state {path}: blob {UUID(bytes=hashed)} is missing from checkpoint_blobs"
            raise StateUnreadable(msg, path=path) from None

    return get
