"""The validators that settings name: built-in ones with their options, and the project's own."""

import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Final, cast

from pydantic import ValidationError

from outlast.errors import ConfigurationError
from outlast.settings_validation import Named
from outlast.validation.checks.check import Check, CheckOptions
from outlast.validation.validator import Load, Validator

#: By name, where they are: each is imported when somebody names it.
BUILT_IN: Final[Mapping[str, str]] = {
    "required": "outlast.validation.checks.required:Required",
    "schema": "outlast.validation.checks.schema:Schema",
    "dates": "outlast.validation.checks.dates:Dates",
    "ranges": "outlast.validation.checks.ranges:Ranges",
    "source": "outlast.validation.checks.source:Source",
    "allowed": "outlast.validation.checks.allowed:Allowed",
    "patterns": "outlast.validation.checks.patterns:Patterns",
    "citations": "outlast.validation.checks.citations:Citations",
    "language": "outlast.validation.checks.language:Language",
    "length": "outlast.validation.checks.length:Length",
    "leaks": "outlast.validation.checks.leaks:Leaks",
    "judge": "outlast.validation.checks.judge:Judge",
    "detectors": "outlast.validation.detectors.validator:Detectors",
}


def build(named: Iterable[Validator | Named], *, where: str, load: Load) -> tuple[Validator, ...]:
    """Return the validators in their order; raises ConfigurationError that names the setting."""
    return tuple(one(item, where=f"{where}[{number}]", load=load) for number, item in enumerate(named))


def one(given: Validator | Named, *, where: str, load: Load | None = None) -> Validator:
    """Return one validator; raises ConfigurationError. Without `load`, places of the project are not known."""
    if isinstance(given, Validator):
        return given
    if isinstance(given, str):
        return _built_in(given, {}, where, load) if given in BUILT_IN else _own(given, {}, where, load)
    if isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - code gives what it likes
        options = dict(given)
        name = options.pop("use", None)
        if isinstance(name, str):
            return _built_in(name, options, where, load) if name in BUILT_IN else _own(name, options, where, load)
    msg = f"{where}: {given!r} is no validator; give a name, an outlast.Validator, or a table with `use`"
    raise ConfigurationError(msg)


def _built_in(name: str, options: Mapping[str, Any], where: str, load: Load | None) -> Validator:
    module, _, attribute = BUILT_IN[name].partition(":")
    check = cast("type[Check[CheckOptions]]", getattr(import_module(module), attribute))
    try:
        table = check.takes.model_validate({"name": name, **options}, context={"load": load})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the table'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        msg = f"{where}, {name}: {problems}"
        raise ConfigurationError(msg) from error
    return check(table)


def _own(place: str, options: Mapping[str, Any], where: str, load: Load | None) -> Validator:
    if ":" not in place or load is None:
        known = ", ".join(BUILT_IN)
        msg = f"{where}: {place!r} is no built-in validator ({known}), and no place as './validators.py:Refund'"
        raise ConfigurationError(msg)
    found = load(place)
    if isinstance(found, Validator) and not options:
        return found
    if not (inspect.isclass(found) and issubclass(found, Validator)):
        told = "takes no options: it is made already" if isinstance(found, Validator) else "is no outlast.Validator"
        msg = f"{where}: {place!r} {told}; write `class Refund(outlast.Validator)` with a method `validate`"
        raise ConfigurationError(msg)
    try:
        return found(**options)
    # Whatever a constructor of the user's raises.
    except Exception as error:
        msg = f"{where}: {place!r} cannot be made of {sorted(options) or 'nothing'}: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error
