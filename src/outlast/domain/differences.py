"""What differs between two values of JSON, by place.

    differences({"a": [1]}, {"a": [1, 2], "b": 0})  # a[1] added 2, b added 0

Lists are compared by position from both ends, so that something added in front of many is told as that, and not as a
change of all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import orjson

_SORTED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place at which they differ. `before` is None for what was added, `after` for what was removed."""

    #: As `messages[2].content`; empty: the values as a whole.
    path: str
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


def differences(before: Any, after: Any) -> list[Difference]:
    """Return them in the order of the places; empty for equal values."""
    return list(_differ("", before, after))


def _differ(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _mappings(path, cast("Mapping[str, Any]", old), cast("Mapping[str, Any]", new))
        return
    if isinstance(old, list) and isinstance(new, list):
        yield from _lists(path, cast("list[Any]", old), cast("list[Any]", new))
        return
    before, after = cast("tuple[Any, Any]", (old, new))
    # True is 1, and is not the same.
    if before != after or type(before) is not type(after):
        yield Difference(path=path, kind="changed", before=before, after=after)


def _mappings(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for key in dict.fromkeys((*before, *after)):
        place = f"{path}.{key}" if path else key
        if key not in after:
            yield Difference(path=place, kind="removed", before=before[key])
        elif key not in before:
            yield Difference(path=place, kind="added", after=after[key])
        else:
            yield from _differ(place, before[key], after[key])


def _lists(path: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Difference]:
    start = _equal(before, after)
    end = _equal(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    for place in range(max(len(old), len(new))):
        where = f"{path}[{start + place}]"
        if place >= len(new):
            yield Difference(path=where, kind="removed", before=old[place])
        elif place >= len(old):
            yield Difference(path=where, kind="added", after=new[place])
        else:
            yield from _differ(where, old[place], new[place])


def _equal(before: Sequence[Any], after: Sequence[Any]) -> int:
    """Return how many items at the beginning are the same."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((place for place, (old, new) in pairs if not _same(old, new)), min(len(before), len(after)))


def _same(old: Any, new: Any) -> bool:
    # As JSON: 1 is equal to True in Python.
    return old == new and orjson.dumps(old, option=_SORTED) == orjson.dumps(new, option=_SORTED)
