"""The names of settings: all of them with their meaning, and what is told about one that is not among them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from types import NoneType
from typing import Any, Final, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from outlast.secret import Secret

#: Stands in a name for whatever the project calls the thing: a provider, a model, an agent.
ANY_NAME: Final = "NAME"
_DURATION_ERRORS: Final = frozenset({"time_delta_parsing", "time_delta_type"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key in `outlast.toml`, what it may be, and what it is for."""

    path: tuple[str, ...]
    field: FieldInfo
    #: Of the table that it is in.
    table: type[BaseModel]

    @property
    def key(self) -> str:
        """As in `worker.lease`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str | None:
        """As in OUTLAST_WORKER__LEASE; None where the name is not one that a shell would take."""
        return None if ANY_NAME in self.path else f"OUTLAST_{'__'.join(self.path)}".upper()


def settings_of(tree: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield the settings of a tree of models, in its order."""
    for name, field in tree.model_fields.items():
        below, named = _branch(field.annotation)
        here = (*path, name, ANY_NAME) if named else (*path, name)
        if below is None:
            yield Setting((*path, name), field, tree)
        else:
            yield from settings_of(below, here)


def explained(tree: type[BaseModel], error: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors about the tree as a person reads it."""
    path = tuple(map(str, error["loc"]))
    return f"{'.'.join(path)}: {_reason(tree, path, error)}"


def unknown_variables(tree: type[BaseModel], names: Iterable[str]) -> list[str]:
    """Return a sentence for each variable that looks like a setting and names no table of the tree.

    pydantic-settings reads the variables that it knows; a misspelt one would be passed over without a word. Names
    without two underscores are left alone: others may begin with OUTLAST_ as well.
    """
    wrong = [name for name in names if name.upper().startswith("OUTLAST_") and "__" in name]
    tables = [name for name, field in tree.model_fields.items() if _branch(field.annotation)[0] is not None]
    known = [variable for setting in settings_of(tree) if (variable := setting.variable) is not None]
    return [
        f"{name}: there is no such setting{_nearest(name.upper(), known)}"
        for name in wrong
        if name[len("OUTLAST_") :].lower().partition("__")[0] not in tables
    ]


def named_secrets(tree: type[BaseModel], names: Iterable[str]) -> list[str]:
    """Return each variable X that holds a secret of a named thing, and is given by a file: X_FILE is among `names`."""
    secrets = [setting.path for setting in settings_of(tree) if ANY_NAME in setting.path and _is_secret(setting.field)]
    forms = ["__".join(r"\w+" if part == ANY_NAME else part.upper() for part in path) for path in secrets]
    pattern = re.compile(rf"(OUTLAST_(?:{'|'.join(forms)}))_FILE", re.IGNORECASE)
    return [match[1].upper() for name in names if forms and (match := pattern.fullmatch(name))]


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is Secret or Secret in get_args(field.annotation)


def unknown_tables(tree: type[BaseModel], given: Iterable[str]) -> list[str]:
    """Return a sentence for each table or key of a project file that is none of the tree's."""
    return [
        f"{name}: there is no such setting{_nearest(name, tree.model_fields)}"
        for name in given
        if name not in tree.model_fields
    ]


def _branch(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model below a field, and whether any number of them stand there by name."""
    if get_origin(annotation) is dict:
        return _model(get_args(annotation)[1]), True
    return _model(annotation), False


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [part for part in get_args(annotation) if part is not NoneType]
    return _model(inner[0]) if len(inner) == 1 else None


def _reason(tree: type[BaseModel], path: Sequence[str], error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return f"there is no such setting{_did_you_mean(tree, path)}"
    if error["type"] in _DURATION_ERRORS:
        return f"{error['input']!r} is no duration; write seconds, as 15 or 0.5, or ISO 8601, as PT15S or PT5M"
    return str(error["msg"]).removeprefix("Value error, ")


def _did_you_mean(tree: type[BaseModel], path: Sequence[str]) -> str:
    """Look for the same name in another table, then for one like it in this one."""
    table: type[BaseModel] | None = tree
    for name in path[:-1]:
        field = table.model_fields.get(name) if table is not None else None
        # The name of a thing, between the table of all and the table of one.
        table = _branch(field.annotation)[0] if field is not None else table
    elsewhere = [setting.key for setting in settings_of(tree) if setting.path[-1] == path[-1]]
    if len(elsewhere) == 1:
        return _named(elsewhere)
    beside = get_close_matches(path[-1], list(table.model_fields) if table is not None else [], n=1)
    return _named([".".join((*path[:-1], name)) for name in beside] or elsewhere)


def _nearest(name: str, known: Iterable[str]) -> str:
    return _named(get_close_matches(name, list(known), n=1))


def _named(found: Sequence[str]) -> str:
    return f" (did you mean {found[0]}?)" if found else ""


def seconds_of_text(tree: type[BaseModel], given: object) -> object:
    """Return what was given to a table with durations that are written as a number of seconds in a text.

    An environment variable is always a text, and pydantic takes numbers alone for seconds.
    """
    if not isinstance(given, dict):
        return given
    values = cast("dict[str, Any]", given)
    texts = {name: text for name, text in values.items() if isinstance(text, str) and _is_duration(tree, name)}
    return {**values, **{name: float(text) for name, text in texts.items() if _is_number(text)}}


def _is_duration(tree: type[BaseModel], name: str) -> bool:
    field = tree.model_fields.get(name)
    return field is not None and timedelta in {field.annotation, *get_args(field.annotation)}


def _is_number(text: str) -> bool:
    return text.strip().removeprefix("-").replace(".", "", 1).isdecimal()
