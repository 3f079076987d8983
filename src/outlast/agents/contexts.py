"""The context of a run as a graph declares it.

Clients say the same in `context` and in `config.configurable`, so a context also holds keys that are meant for nodes
which read the configuration. A class that does not know them would refuse the whole; they stay readable there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, NamedTuple, cast

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo


class _Shape(NamedTuple):
    """What a class can be built of; no names: of anything."""

    names: frozenset[str] | None
    required: bool


def fitting(context: Any, declared: object) -> Any:
    """Return what the declared class takes of the context; the context itself when no class is declared.

    Without any such key it is {}, so that defaults are there, or None when the class cannot be built of nothing.
    """
    shape = _shape_of(declared)
    if shape is None or not isinstance(context or {}, Mapping):
        return context
    given = cast("Mapping[str, Any]", context or {})
    kept = {key: value for key, value in given.items() if shape.names is None or key in shape.names}
    return kept if kept or not shape.required else None


def _shape_of(declared: Any) -> _Shape | None:
    if not isinstance(declared, type):
        return None
    if issubclass(declared, BaseModel):
        names = None if declared.model_config.get("extra") == "allow" else frozenset(_names_in(declared))
        return _Shape(names, any(item.is_required() for item in declared.model_fields.values()))
    if is_dataclass(cast("type[Any]", declared)):
        given = [item for item in fields(cast("Any", declared)) if item.init]
        needed = (item.default is MISSING and item.default_factory is MISSING for item in given)
        return _Shape(frozenset(item.name for item in given), any(needed))
    return None


def _names_in(declared: type[BaseModel]) -> Iterator[str]:
    for name, item in declared.model_fields.items():
        yield name
        yield from _aliases_of(item)


def _aliases_of(item: FieldInfo) -> Iterator[str]:
    choices = item.validation_alias
    listed = choices.choices if isinstance(choices, AliasChoices) else (choices, item.alias)
    for alias in listed:
        if isinstance(alias, str):
            yield alias
