"""A search's filter, as LangGraph writes it, as conditions of the database.

    {"kind": "note", "size": {"$gt": 3}, "owner": {"name": "ada"}, "tags": ["a"], "gone": None}

A value is met when it is equal; a mapping when each of its keys is; a mapping of operators when each of them is; None
when the key holds null or is missing, as in LangGraph's own stores.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from outlast.errors import InvalidInput
from outlast.storage.postgres.items import Condition

OPERATORS: Final = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")


class Filter(NamedTuple):
    """What a value has to contain, which an index can answer, and what else it has to meet."""

    contains: dict[str, Any]
    conditions: list[Condition]


def read_filter(given: Mapping[str, Any] | None) -> Filter:
    """Return the filter in two parts; raises InvalidInput for an operator that does not exist."""
    contains, conditions = _read(given or {}, ())
    return Filter(contains, conditions)


def _read(given: Mapping[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any], list[Condition]]:
    contains: dict[str, Any] = {}
    conditions: list[Condition] = []
    for key, wanted in given.items():
        place = (*path, key)
        if not isinstance(wanted, Mapping):
            if wanted is None or isinstance(wanted, list | tuple):
                conditions.append(Condition(place, "$eq", wanted))
            else:
                contains[key] = wanted
            continue
        inner = cast("Mapping[str, Any]", wanted)
        if any(name.startswith("$") for name in inner):
            conditions += _compared(inner, place)
        else:
            contains[key], below = _read(inner, place)
            conditions += below
    return contains, conditions


def _compared(operators: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[Condition]:
    for operator, operand in operators.items():
        if operator not in OPERATORS:
            msg = f"{'.'.join(place)}: there is no operator {operator!r}; there are {', '.join(OPERATORS)}"
            raise InvalidInput(msg, field="filter")
        yield Condition(place, operator, operand)
