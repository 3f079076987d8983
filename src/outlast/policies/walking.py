"""The texts in a request's JSON."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

#: Numbers from here on may be those of cards; shorter ones are amounts, ids and times.
_LONG_NUMBER: Final = 10**12


def texts(value: Any) -> Iterator[str]:
    """Yield every text, keys of objects and long numbers included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            yield key
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from texts(item)
    elif _is_long(value):
        yield str(value)


def replaced(value: Any, change: Callable[[str], str]) -> Any:
    """Return the value with each text changed; what does not change is the same object."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        changed = {change(key): replaced(item, change) for key, item in given.items()}
        # Two keys that become one would lose a value.
        if len(changed) != len(given):
            changed = {key: replaced(item, change) for key, item in given.items()}
        same = all(new is old for new, old in zip(changed.values(), given.values(), strict=True)) and [*changed] == [
            *given
        ]
        return given if same else changed
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        changed_items = [replaced(item, change) for item in items]
        return items if all(new is old for new, old in zip(changed_items, items, strict=True)) else changed_items
    if _is_long(value):
        text = str(value)
        new = change(text)
        return value if new == text else new
    return value


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _LONG_NUMBER
