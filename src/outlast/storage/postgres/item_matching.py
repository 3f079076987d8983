"""Whether an item meets a filter, where the database cannot look into it because it is encrypted.

The same answers as `@>` and the function `store_item_matches` give; a test compares them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from outlast.storage.postgres.items import Condition

_SIDES: Final[Mapping[str, Callable[[int], bool]]] = {
    "$gt": lambda side: side > 0,
    "$gte": lambda side: side >= 0,
    "$lt": lambda side: side < 0,
    "$lte": lambda side: side <= 0,
}


def meets(value: Any, contains: Mapping[str, Any] | None, conditions: "Sequence[Condition]") -> bool:
    """Whether the value contains what it has to, and meets each condition."""
    return (not contains or _contains(value, contains)) and all(_holds(value, condition) for condition in conditions)


def _contains(value: Any, wanted: Any) -> bool:
    """As jsonb's `@>`: keys may be more, an array holds each of the elements somewhere."""
    if isinstance(wanted, Mapping):
        inner = cast("Mapping[str, Any]", wanted)
        return isinstance(value, Mapping) and all(key in value and _contains(value[key], inner[key]) for key in inner)
    if isinstance(wanted, list | tuple):
        elements = cast("Sequence[Any]", wanted)
        return isinstance(value, list) and all(
            any(_contains(found, element) for found in cast("list[Any]", value)) for element in elements
        )
    return _equal(value, wanted)


def _holds(value: Any, condition: "Condition") -> bool:
    found, wanted = _at(value, condition.path), condition.operand
    if condition.operator == "$eq":
        return _equal(found, wanted)
    if condition.operator == "$ne":
        return not _equal(found, wanted)
    side = _side(found, wanted)
    return side is not None and _SIDES[condition.operator](side)


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(key)
        elif isinstance(value, list) and key.removeprefix("-").isdecimal():
            # As jsonb's `#>`: a number is a place in an array.
            items, number = cast("list[Any]", value), int(key)
            value = items[number] if -len(items) <= number < len(items) else None
        else:
            return None
    return value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        left, right = cast("Mapping[str, Any]", one), cast("Mapping[str, Any]", other)
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        first, second = cast("Sequence[Any]", one), cast("Sequence[Any]", other)
        return len(first) == len(second) and all(map(_equal, first, second))
    # For Python, true is 1.
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _side(found: Any, wanted: Any) -> int | None:
    """Return where the one stands to the other; None when they have no order."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return None
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return (found > wanted) - (found < wanted)
    if isinstance(found, str) and isinstance(wanted, str):
        left, right = found.encode(), wanted.encode()
        return (left > right) - (left < right)
    return None
