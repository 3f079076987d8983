"""What a handler's filter means: a jsonpath over metadata, and the metadata that something new has to have.

A field is a value: `{"owner": "ada"}` or `{"owner": {"$eq": "ada"}}`. A field is a list that holds a value, or each of
several: `{"members": {"$contains": "ada"}}`, `{"members": {"$contains": ["ada", "bob"]}}`. Each has to be met.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from outlast.errors import ConfigurationError

_OPERATORS: Final = ("$eq", "$contains")
# A predicate that nothing meets.
_NEVER: Final = "1 == 2"


def compiled(conditions: Mapping[str, Any]) -> str | None:
    """Return the jsonpath predicate, for `metadata @@ ...`; None for an empty filter.

    Strict: lax mode would look into lists by itself, and `{"owner": ["ada", "eve"]}` would be owned by both. A field
    that is missing makes the predicate unknown, which is not true. Raises ConfigurationError for a filter that has
    another form.
    """
    predicates = [predicate for key, condition in conditions.items() for predicate in _predicates(key, condition)]
    return "strict " + " && ".join(f"({predicate})" for predicate in predicates) if predicates else None


def stamped(conditions: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of something new so that the filter finds it again."""
    stamps = dict(metadata)
    for key, condition in conditions.items():
        for operator, wanted in _operations(key, condition):
            stamps[key] = wanted if operator == "$eq" else _with_each(stamps.get(key), _each(wanted))
    return stamps


def broken_by(conditions: Mapping[str, Any], changes: Mapping[str, Any]) -> str | None:
    """Return a key that a change of metadata takes out of the filter; None when everything still meets it."""
    for key in conditions.keys() & changes.keys():
        found = changes[key]
        for operator, wanted in _operations(key, conditions[key]):
            if stamped({key: {operator: wanted}}, {key: found})[key] != found:
                return key
    return None


def _with_each(found: Any, wanted: list[Any]) -> list[Any]:
    present = cast("list[Any]", found) if isinstance(found, list) else []
    return [*present, *(value for value in wanted if value not in present)]


def _predicates(key: str, condition: Any) -> Iterator[str]:
    place = f"$.{_literal(key)}"
    for operator, wanted in _operations(key, condition):
        if "\0" in key or any(isinstance(value, str) and "\0" in value for value in _each(wanted)):
            # jsonb holds no NUL, so nothing can match, and jsonpath refuses to read one.
            yield _NEVER
        elif operator == "$eq":
            yield f"{place} == {_literal(wanted)}"
        else:
            yield from (f"exists({place}[*] ? (@ == {_literal(value)}))" for value in _each(wanted))


def _operations(key: str, condition: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(condition, Mapping):
        condition = {"$eq": condition}
    operations = cast("Mapping[str, Any]", condition)
    for operator, wanted in operations.items():
        scalars = _each(wanted) if operator == "$contains" else [wanted]
        if operator not in _OPERATORS or not all(_is_scalar(value) for value in scalars):
            raise ConfigurationError(
                f"an auth handler returned a filter on {key!r} that cannot be applied: {dict(operations)!r}. "
                'Use a text, number, true, false or null, or {"$eq": ...} with one, or {"$contains": ...} with some.'
            )
        yield operator, wanted
    if not operations:
        raise ConfigurationError(f"an auth handler returned an empty condition on {key!r}")


def _each(wanted: Any) -> list[Any]:
    return cast("list[Any]", wanted) if isinstance(wanted, list) else [wanted]


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _literal(value: Any) -> str:
    # ASCII only: jsonpath reads JSON's escapes, and nothing a text holds can end its quotes.
    return json.dumps(value, allow_nan=False)
