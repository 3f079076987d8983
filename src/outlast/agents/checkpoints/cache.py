"""What a process remembers between two steps; everything here can be lost and is then read again."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from outlast.agents.checkpoints.lists import KnownList
from outlast.agents.checkpoints.nodes import Node

Key = tuple[bytes, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCheckpoint:
    """A stored checkpoint, as far as the next one needs it."""

    checkpoint_id: UUID
    generation: int | None
    versions: Mapping[str, object]
    nodes: Mapping[str, Node]
    lists: Mapping[str, KnownList]

    @property
    def weight(self) -> int:
        """Objects kept alive."""
        return 1 + len(self.nodes) + sum(len(known.items) for known in self.lists.values())


class KnownCheckpoints:
    """The last checkpoint of each (thread, namespace), least recently used ones forgotten first."""

    def __init__(self, *, max_weight: int = 20_000) -> None:
        self._max_weight = max_weight
        self._weight = 0
        self._known: OrderedDict[Key, KnownCheckpoint] = OrderedDict()

    def get(self, key: Key, checkpoint_id: UUID) -> KnownCheckpoint | None:
        """Return what is known of exactly this checkpoint."""
        known = self._known.get(key)
        if known is None or known.checkpoint_id != checkpoint_id:
            return None
        self._known.move_to_end(key)
        return known

    def latest(self, key: Key) -> KnownCheckpoint | None:
        """Return what is known of the namespace, whichever checkpoint it is of."""
        return self._known.get(key)

    def put(self, key: Key, known: KnownCheckpoint) -> None:
        """Remember; replaces what was known of the namespace."""
        self.forget(key)
        self._known[key] = known
        self._weight += known.weight
        while self._weight > self._max_weight and len(self._known) > 1:
            self._weight -= self._known.popitem(last=False)[1].weight

    def forget(self, key: Key) -> None:
        """Forget one namespace; the next write reads it from the database."""
        known = self._known.pop(key, None)
        if known is not None:
            self._weight -= known.weight

    def forget_thread(self, thread_key: bytes) -> None:
        """Forget all namespaces of a thread."""
        for key in [key for key in self._known if key[0] == thread_key]:
            self.forget(key)


class BlobCache:
    """Recently stored and read blobs. Content under a hash never changes, so nothing here can be stale."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._blobs: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()

    def add(self, thread_key: bytes, blobs: Mapping[bytes, bytes]) -> None:
        """Remember the blobs of a thread."""
        for hashed, data in blobs.items():
            key = (thread_key, hashed)
            if key in self._blobs:
                self._blobs.move_to_end(key)
                continue
            self._blobs[key] = data
            self._size += len(data)
        while self._size > self._max_bytes and self._blobs:
            self._size -= len(self._blobs.popitem(last=False)[1])

    def find(self, thread_key: bytes, hashes: Iterable[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Return the blobs that are here and the hashes that are not."""
        found: dict[bytes, bytes] = {}
        missing: list[bytes] = []
        for hashed in hashes:
            data = self._blobs.get((thread_key, hashed))
            if data is None:
                missing.append(hashed)
            else:
                found[hashed] = data
        return found, missing
