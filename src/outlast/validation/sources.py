"""What an output has to rest upon: the texts that a run was given, and those that its tools have found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from outlast.policies.walking import texts
from outlast.validation.answers import kind_of, text_of
from outlast.validation.paths import found_at

# Names that inputs and states give to what was read.
_USUAL: Final = ("sources", "source", "documents", "document", "contract", "context")
#: A run may have read more; what is compared with has to have an end.
_MOST_CHARACTERS: Final = 1_000_000


def sources_of(
    where: Mapping[str, str],
    *,
    input: Any = None,  # noqa: A002 - as the context says it
    output: Any = None,
    messages: Sequence[Any] = (),
) -> Mapping[str, str]:
    """Return texts by name.

    `where` says for each name where its text is: a path that begins with `input` or `output`. Without, it is looked
    for in the fields of both that are called as such things are (`documents`, `sources`, `context`...), and in what
    tools have answered, which is called `tool:NAME`. Of several texts in one place each has its number or key behind
    the name.
    """
    if where:
        given = {"input": input, "output": output}
        found = [pair for name, path in where.items() for pair in _named(name, given, path)]
    else:
        usual = [pair for state in (input, output) for name in _USUAL for pair in _named(name, state, name)]
        found = [*usual, *_of_tools(messages)]
    return _bounded(found)


def _named(name: str, given: Any, path: str) -> Iterator[tuple[str, str]]:
    for place in found_at(given, path):
        if place.there:
            yield from _texts(".".join((name, *place.stars)), place.value)


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping) and _document(cast("Mapping[str, Any]", value)):
        document = cast("Mapping[str, Any]", value)
        own = document.get("id") or document.get("name") or document.get("source") or document.get("url")
        yield str(own) if isinstance(own, str | int) else name, _document(document)
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[Any, Any]", value).items():
            yield from _texts(str(key), inner)
    elif isinstance(value, Sequence):
        for number, inner in enumerate(cast("Sequence[Any]", value)):
            yield from _texts(f"{name}.{number}", inner)
    else:
        fields = {place.path: place.value for place in found_at(value, "*") if place.path}
        if fields:
            yield from _texts(name, fields)


def _document(value: Mapping[str, Any]) -> str:
    """Return the text of what retrievers return; empty when it is something else."""
    found = value.get("page_content") or value.get("text") or value.get("content")
    return found if isinstance(found, str) else ""


def _of_tools(messages: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for message in messages:
        if kind_of(message) == "tool":
            name = next((found.value for found in found_at(message, "name") if found.there), "tool")
            yield f"tool:{name}", text_of(message) or " ".join(texts(message))


def _bounded(found: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    kept: dict[str, str] = {}
    left = _MOST_CHARACTERS
    for name, text in found:
        if left > 0 and text not in kept.values():
            kept[_free(name, kept)] = text[:left]
            left -= len(text)
    return kept


def _free(name: str, kept: Mapping[str, str]) -> str:
    """Return a name that no other text has: `tool:search` is followed by `tool:search.2`."""
    names = (name, *(f"{name}.{number}" for number in range(2, len(kept) + 3)))
    return next(free for free in names if free not in kept)
