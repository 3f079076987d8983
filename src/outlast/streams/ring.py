"""What was said last on one thread, in order, so that most listeners never read the database."""

from collections.abc import Sequence
from typing import Final

from outlast.streams.records import Item, Record

# Of an item beside its data.
_ITEM_BYTES: Final = 300
# What is dropped is cut off the list when it is this much, not at each drop.
_SLACK_ITEMS: Final = 256


class Ring:
    """Items with rising positions. Places in it are ordinals: an end that has no position of its own has one, too.

    Everything up to `floor` is in the database alone.
    """

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.head = floor
        self.bytes = 0
        self._items: list[Item] = []
        #: The ordinal of the first item of the list, and how many at its beginning are dropped already.
        self._first = 0
        self._dropped = 0

    @property
    def end(self) -> int:
        """The ordinal of the next item."""
        return self._first + len(self._items)

    def push(self, item: Item) -> bool:
        """Add an item; False for a record that is not behind the others: it was known, or is a former owner's.

        An end goes to the head when its position has passed, or when it has none.
        """
        if item.pos <= self.head:
            if isinstance(item, Record):
                return False
            item = item._replace(pos=self.head)
        self.head = item.pos
        self._items.append(item)
        self.bytes += size_of(item)
        return True

    def start(self, after: int) -> int | None:
        """Return the ordinal of the first item behind a position; None when some of them are not here any more."""
        if after < self.floor:
            return None
        low, high = self._dropped, len(self._items)
        while low < high:
            middle = (low + high) // 2
            if self._items[middle].pos <= after:
                low = middle + 1
            else:
                high = middle
        return self._first + low

    def since(self, ordinal: int, *, limit: int) -> Sequence[Item] | None:
        """Return items from an ordinal on; None when the first of them is not here any more."""
        index = ordinal - self._first
        if index < self._dropped:
            return None
        return self._items[index : index + limit]

    def trim(self, max_bytes: int, *, stored: int | None) -> None:
        """Drop the oldest items until the rest fits; what lies behind `stored` is nowhere else and stays."""
        while self.bytes > max_bytes and self._dropped < len(self._items):
            item = self._items[self._dropped]
            if stored is not None and item.pos > stored:
                break
            self.floor = item.pos
            self.bytes -= size_of(item)
            self._dropped += 1
        if self._dropped > _SLACK_ITEMS or self._dropped == len(self._items):
            del self._items[: self._dropped]
            self._first += self._dropped
            self._dropped = 0


def size_of(item: Item) -> int:
    """Return about how many bytes an item takes."""
    return _ITEM_BYTES + (len(item.data) if isinstance(item, Record) else 0)
