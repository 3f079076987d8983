r"""Places in an output: `buyer.name`, `contingency.*.date`, `messages.-1.content`.

A part of a path is the name of a field, the number of an item (from the end with a minus), or `*` for all items or
fields. A name with a dot in it is written `a\.b`. Outputs are JSON, or objects with fields: pydantic models,
dataclasses, messages.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from pydantic import AfterValidator, BaseModel

MISSING: Final = object()
_PARTS: Final = re.compile(r"(?<!\\)\.")
_FENCED: Final = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)
#: Deeper than this nobody writes, and a path is not a program.
_LONGEST: Final = 32


def _is_path(text: str) -> str:
    if not text or not all(_PARTS.split(text)) or len(_PARTS.split(text)) > _LONGEST:
        msg = f"{text!r} is no path; write one as in buyer.name or contingency.*.date"
        raise ValueError(msg)
    return text


#: A path in options.
Path = Annotated[str, AfterValidator(_is_path)]


@dataclass(frozen=True, slots=True)
class Found:
    """A place, and what is there; `value` is MISSING where a field is not there at all."""

    #: With the numbers of items in the place of stars.
    path: str
    value: Any
    #: What the stars stood for.
    stars: tuple[str, ...] = ()

    @property
    def there(self) -> bool:
        """Whether there is anything."""
        return self.value is not MISSING and self.value is not None


def found_at(output: Any, path: str) -> Iterator[Found]:
    """Yield each place that the path names; one that is not there once, with the path up to what is missing."""
    yield from _walk(output, tuple(_PARTS.split(path)), (), ())


def looked_up(output: Any, path: str) -> Any:
    """Return what is at the first such place, JSON in a text as what it says; None when nothing is there."""
    found = next((found for found in found_at(output, path) if found.there), None)
    return None if found is None else read_json(found.value)


def read_json(value: Any) -> Any:
    """Return what a text says that is a JSON object or array, fenced or not; anything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    fenced = _FENCED.match(text)
    text = fenced[1].strip() if fenced else text
    if not text.startswith(("{", "[")):
        return value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return value


def _walk(value: Any, parts: tuple[str, ...], behind: tuple[str, ...], stars: tuple[str, ...]) -> Iterator[Found]:
    if not parts:
        yield Found(".".join(behind), value, stars)
        return
    part, rest = parts[0], parts[1:]
    if part != "*":
        name = part.replace("\\.", ".")
        inner, shown = _child(value, name)
        if inner is MISSING:
            yield Found(".".join((*behind, name)), MISSING, stars)
        else:
            yield from _walk(inner, rest, (*behind, shown), stars)
        return
    children = _children(value)
    if children is None:
        yield Found(".".join(behind), MISSING, stars)
        return
    for name, inner in children:
        yield from _walk(inner, rest, (*behind, name), (*stars, name))


def _child(value: Any, name: str) -> tuple[Any, str]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name, MISSING), name
    if _is_list(value):
        items = cast("Sequence[Any]", value)
        if not re.fullmatch(r"-?\d{1,9}", name):
            return MISSING, name
        number = int(name) + (len(items) if name.startswith("-") else 0)
        return (items[number], str(number)) if 0 <= number < len(items) else (MISSING, name)
    return (getattr(value, name), name) if name in _fields(value) else (MISSING, name)


def _children(value: Any) -> list[tuple[str, Any]] | None:
    """Return the items, or the fields; None when it can have none."""
    if isinstance(value, Mapping):
        return [(str(key), inner) for key, inner in cast("Mapping[Any, Any]", value).items()]
    if _is_list(value):
        return [(str(number), inner) for number, inner in enumerate(cast("Sequence[Any]", value))]
    names = _fields(value)
    return [(name, getattr(value, name)) for name in names] if names else None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _fields(value: Any) -> tuple[str, ...]:
    """Return the names of an object's fields: what it does is none of an output's business."""
    if isinstance(value, BaseModel):
        return tuple(type(value).model_fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value))
    return ()
