"""`schema`: an output that is what a JSON Schema, or a pydantic model, says.

Addresses in a schema (`$ref`) are not fetched. Patterns that could take for ever are looked for by a process of their
own, which is killed when its time is over.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path as FilePath
from typing import Any, ClassVar, Final, Self, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator, model_validator

from outlast.policies.matching import TooSlow, ways
from outlast.validation.answers import plain
from outlast.validation.checks.check import MOST_REASONS, Check, CheckOptions, shown
from outlast.validation.searching import search
from outlast.validation.validator import Load, Reason, ValidationContext, Verdict

# They bring no types along.
_exceptions: Any = import_module("jsonschema.exceptions")
_validators: Any = import_module("jsonschema.validators")
_referencing: Any = import_module("referencing")
Errors = Callable[[Any], Iterator[Reason]]
_ENDLESS: Final = 1_000


class SchemaOptions(CheckOptions):
    """The table; one of the three says what an output is."""

    json_schema: dict[str, Any] | None = Field(default=None, alias="schema", description="JSON Schema, written here")
    file: Any = Field(default=None, description="a file of the project with JSON Schema, as `schemas/contract.json`")
    model: Any = Field(default=None, description="a pydantic model, dataclass or TypedDict, as `./models.py:Contract`")
    strict: bool = Field(default=False, description='a model takes nothing for something else, as "1" for 1')

    @field_validator("file")
    @classmethod
    def _read(cls, file: Any, info: ValidationInfo) -> Any:
        if not isinstance(file, str):
            return file
        load = _load_of(info)
        place = FilePath(file) if load is None else load(file)
        try:
            return json.loads(FilePath(cast("str", place)).read_text())
        except (OSError, ValueError, TypeError) as error:
            msg = f"{file}: {error}; it is a file with a JSON Schema, relative to the project"
            raise ValueError(msg) from error

    @field_validator("model")
    @classmethod
    def _load(cls, model: Any, info: ValidationInfo) -> Any:
        load = _load_of(info)
        if not isinstance(model, str):
            return model
        if load is None or ":" not in model:
            msg = f"{model!r} is no place of the project, as './models.py:Contract'"
            raise ValueError(msg)
        return load(model)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(given is not None for given in (self.json_schema, self.file, self.model)) != 1:
            msg = "give one of schema, file and model"
            raise ValueError(msg)
        if self.model is None:
            _checked(self.json_schema if self.json_schema is not None else self.file)
        else:
            _adapter(self.model)
        return self


class Schema(Check[SchemaOptions]):
    """Finds what is not as the schema says; without `at`, in the output itself."""

    takes: ClassVar[type[CheckOptions]] = SchemaOptions

    def __init__(self, options: SchemaOptions) -> None:
        super().__init__(options)
        schema = options.json_schema if options.json_schema is not None else options.file
        self._errors = _of_model(options.model, strict=options.strict) if schema is None else _of_schema(schema)

    def validate(self, output: Any, context: ValidationContext) -> Verdict:  # noqa: ARG002 - looks at the output alone
        """Look at all of it; each reason has its place."""
        part = self.part(output)
        if part is None and self.options.at is not None:
            return self.verdict([Reason("missing", f"{self.options.at} is missing", self.options.at)])
        try:
            return self.verdict(self._placed(reason) for reason in self._errors(plain(part)))
        except TooSlow:
            return self.verdict([Reason("too_slow", "looking for a pattern of the schema took too long; say less")])

    def _placed(self, reason: Reason) -> Reason:
        where = [part for part in (self.options.at, reason.field) if part is not None]
        return replace(reason, field=".".join(where) or None)


def _load_of(info: ValidationInfo) -> Load | None:
    context = cast("Mapping[str, Any]", info.context or {})
    return context.get("load")


def _checked(schema: Any) -> None:
    try:
        _validators.validator_for(schema, default=_validators.Draft202012Validator).check_schema(schema)
        endless = next((p for p in _property_patterns(schema) if not ways(re.compile(p)).quick(_ENDLESS)), None)
    except (_exceptions.SchemaError, re.error) as error:
        msg = f"it is no JSON Schema: {getattr(error, 'message', error)}"
        raise ValueError(msg) from error
    if outside := next((address for address in _addresses(schema) if "://" in address), None):
        msg = f"$ref: {outside!r} would have to be fetched; write what it says under $defs"
        raise ValueError(msg)
    if endless is not None:
        msg = f"patternProperties: {endless!r} may take for ever; write it without nested repetitions"
        raise ValueError(msg)


def _addresses(schema: Any) -> Iterator[str]:
    """Yield the addresses that a schema refers to and does not have itself."""
    named = {found["$id"] for found in _tables(schema) if isinstance(found.get("$id"), str)}
    for found in _tables(schema):
        address = found.get("$ref")
        if isinstance(address, str) and address.partition("#")[0] not in named:
            yield address


def _property_patterns(schema: Any) -> Iterator[str]:
    for found in _tables(schema):
        patterns = found.get("patternProperties")
        yield from cast("Mapping[str, Any]", patterns) if isinstance(patterns, Mapping) else ()


def _tables(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, Mapping):
        given = cast("Mapping[str, Any]", schema)
        yield given
        for inner in given.values():
            yield from _tables(inner)
    elif isinstance(schema, list):
        for inner in cast("list[Any]", schema):
            yield from _tables(inner)


def _of_schema(schema: Any) -> Errors:
    known: Any = _validators.validator_for(schema, default=_validators.Draft202012Validator)

    def pattern(checker: Any, wanted: str, instance: Any, _schema: Any) -> Iterator[Any]:
        if checker.is_type(instance, "string") and not search(wanted, instance):
            yield _exceptions.ValidationError(f"{shown(instance)} does not match {wanted!r}")

    # Without a registry of its own it would fetch what a `$ref` names.
    checker: Any = _validators.extend(known, {"pattern": pattern})(
        schema, registry=_referencing.Registry(), format_checker=known.FORMAT_CHECKER
    )

    def errors(value: Any) -> Iterator[Reason]:
        for number, error in enumerate(checker.iter_errors(value)):
            if number > MOST_REASONS:
                return
            where = ".".join(map(str, error.absolute_path))
            said = " ".join(str(error.message).split())
            yield Reason("schema", f"{where or 'the output'}: {said[:300]}", where or None)

    return errors


def _of_model(model: Any, *, strict: bool) -> Errors:
    adapter = _adapter(model)

    def errors(value: Any) -> Iterator[Reason]:
        try:
            # As JSON, so that a date may be a text.
            adapter.validate_json(json.dumps(value, default=str), strict=strict or None)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False):
                where = ".".join(map(str, item["loc"]))
                yield Reason("schema", f"{where or 'the output'}: {item['msg']}", where or None)

    return errors


def _adapter(model: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(model)
    # pydantic raises what it likes about what is no type.
    except Exception as error:
        kind = "a model" if isinstance(model, BaseModel) else repr(model)
        msg = f"{kind} is no type that pydantic knows: {type(error).__name__}"
        raise ValueError(msg) from error
