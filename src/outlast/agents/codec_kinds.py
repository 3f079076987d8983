"""How instances of each kind of class are taken apart and restored.

Restoring sets the stored fields on a bare instance: nothing of the class runs, so what comes back
is exactly what was stored. Only when the class has other fields than the stored ones is it built by
its own rules - a model by validation, a dataclass by its constructor - so new fields get defaults.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum, Flag
from functools import cached_property
from typing import Any, ClassVar, Final, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from outlast.agents import codec_format as fmt
from outlast.agents.codec_format import Refused

_new: Callable[[Any], Any] = object.__new__
_new_tuple: Callable[[Any, list[Any]], Any] = vars(tuple)["__new__"]
_update: Callable[[dict[Any, Any], dict[Any, Any]], None] = vars(dict)["update"]
_set = object.__setattr__
# The slots themselves, which are quicker to write than through __setattr__.
_set_names = vars(BaseModel)["__pydantic_fields_set__"].__set__
_set_extra = vars(BaseModel)["__pydantic_extra__"].__set__
_set_private = vars(BaseModel)["__pydantic_private__"].__set__
# A model with n optional fields has up to 2**n sets of fields; hostile bytes must not fill memory with them.
_MASKS_KEPT: Final = 256


class Kind(ABC):
    """One class and how its instances are stored; immutable but for caches."""

    code: ClassVar[int]

    def __init__(self, cls: type, ref: int | str, *, still_there: Callable[[], bool] | None) -> None:
        self.cls: Any = cls
        self.ref = ref
        # Whether the class is still what its name leads to, for modules can be reloaded; None where it always is.
        self.still_there = still_there

    @abstractmethod
    def explode(self, value: Any) -> list[Any]:
        """Return what the ext holds: the type's stored name first, then its parts."""

    def content(self, value: Any) -> list[Any]:
        """Return what `explode` does, without what equality does not compare."""
        return self.explode(value)

    @abstractmethod
    def restore(self, parts: list[Any]) -> Any:
        """Return an instance equal to the one taken apart; raises when the parts do not fit the class."""

    @property
    def name(self) -> str:
        """Return the class as messages show it."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"


class ModelKind(Kind):
    """Pydantic models: the four slots pydantic itself pickles."""

    code = fmt.MODEL

    def __init__(self, cls: Any, ref: int | str, *, still_there: Callable[[], bool] | None) -> None:
        super().__init__(cls, ref, still_there=still_there)
        self._names = tuple(cls.model_fields)
        self._bits = {name: 1 << index for index, name in enumerate(self._names)}
        self._sets: dict[int, frozenset[str]] = {}
        self._privates = cls.__private_attributes__
        self._keeps_extra = cls.model_config.get("extra") == "allow"

    def explode(self, value: BaseModel) -> list[Any]:
        """Return the type, fields, which of them were set, and extra and private attributes if any."""
        parts = self.content(value)
        names = value.__pydantic_fields_set__
        try:
            # Bit i stands for the i-th stored field.
            parts[2] = sum(map(self._bits.__getitem__, names))
        except KeyError:
            parts[2] = sorted(names)
        return parts

    def content(self, value: BaseModel) -> list[Any]:
        """Return the same without the set of fields that were set."""
        fields = value.__dict__
        if tuple(fields) != self._names:
            fields = self._only_fields(fields)
        extra = value.__pydantic_extra__
        private = value.__pydantic_private__
        if extra or private:
            return [self.ref, fields, 0, extra, private and _defined(private)]
        return [self.ref, fields, 0]

    def restore(self, parts: list[Any]) -> BaseModel:
        """Return the fields as they were; validates only for a changed class."""
        fields, names, more = parts[1], parts[2], parts[3:]
        if tuple(fields) != self._names:
            return self._restore_changed(fields, names, more)
        known = self._sets.get(names) if type(names) is int else None
        model = _new(self.cls)
        _set(model, "__dict__", fields)
        _set_names(model, set(known) if known is not None else self._fields_set(names))
        _set_extra(model, (_dict(more[0]) if more else None) or ({} if self._keeps_extra else None))
        _set_private(model, self._private(more) if self._privates or more else None)
        return model

    def _only_fields(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        # A cached_property leaves its value among the fields; model_construct and `del` can leave fields out.
        missing = [name for name in self._names if name not in attributes]
        if missing:
            raise Refused(f"is a {self.name} without its field {missing[0]!r}; set it or give it a default")
        return {name: attributes[name] for name in self._names}

    def _fields_set(self, names: Any) -> set[str]:
        if not isinstance(names, int):
            return set(cast("list[str]", names))
        chosen = _chosen(self._names, names)
        if len(self._sets) < _MASKS_KEPT:
            self._sets[names] = chosen
        return set(chosen)

    def _private(self, more: list[Any]) -> dict[str, Any] | None:
        private = dict((_dict(more[1]) if more else None) or {})
        for name, attribute in self._privates.items():
            if name not in private and (default := attribute.get_default()) is not PydanticUndefined:
                private[name] = default
        return private if private or self._privates else None

    def _restore_changed(self, fields: dict[str, Any], names: Any, more: list[Any]) -> BaseModel:
        stored = _chosen(tuple(fields), names) if isinstance(names, int) else frozenset(cast("list[str]", names))
        extra: dict[str, Any] = (_dict(more[0]) if more else None) or {}
        try:
            model = self.cls.model_validate({**fields, **extra}, by_name=True, by_alias=True)
        except ValidationError as error:
            # Without the input: state may hold secrets, and this text reaches logs.
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise Refused(
                f"{self.name} has changed and rejects the stored fields ({where}: {first['msg']}); "
                "give new fields defaults, or accept the old fields in a validator"
            ) from None
        known: set[str] = self._bits.keys() | (model.__pydantic_extra__ or {}).keys()
        _set_names(model, set(stored & known))
        if more and more[1] and self._privates:
            model.__pydantic_private__.update({k: v for k, v in _dict(more[1]).items() if k in self._privates})
        return model


class DataclassKind(Kind):
    """Dataclasses; attributes beside the fields are kept too, as no __post_init__ will set them again."""

    code = fmt.DATACLASS

    def __init__(self, cls: type, ref: int | str, *, still_there: Callable[[], bool] | None) -> None:
        super().__init__(cls, ref, still_there=still_there)
        self._fields = self._fields_of()
        self._names = self._fields.keys()
        computed = {name for name in dir(cls) if isinstance(getattr(cls, name, None), cached_property)}
        # What generic classes note on an instance, and what can be computed again.
        self._skipped = computed | {"__orig_class__"} | self._names
        self._has_dict = "__dict__" in dir(cls)

    def _fields_of(self) -> Mapping[str, bool]:
        return {field.name: field.init for field in dataclasses.fields(self.cls)}

    def explode(self, value: Any) -> list[Any]:
        """Return the type, the fields and what else the instance carries."""
        try:
            parts = [self.ref, {name: getattr(value, name) for name in self._names}]
        except AttributeError as error:
            raise Refused(f"is a {self.name} without its field {error.name!r}; set it") from error
        if self._has_dict and (more := {k: v for k, v in value.__dict__.items() if k not in self._skipped}):
            parts.append(more)
        return parts

    def restore(self, parts: list[Any]) -> Any:
        """Return an instance no __init__ ran for, unless the class has changed."""
        _, fields, *more = parts
        if fields.keys() != self._names:
            instance = self._restore_changed(fields)
        else:
            instance = _new(self.cls)
            for name, value in fields.items():
                _set(instance, name, value)
        if more:
            instance.__dict__.update({name: value for name, value in more[0].items() if name not in self._skipped})
        return instance

    def _restore_changed(self, fields: dict[str, Any]) -> Any:
        later = {name for name, init in self._fields.items() if not init}
        try:
            instance = self.cls(**{name: value for name, value in fields.items() if name not in later})
        # The constructor is user code.
        except Exception as error:
            raise Refused(
                f"{self.name} has changed and cannot be built from the stored fields {', '.join(map(str, fields))} "
                f"({type(error).__name__}); give new fields defaults and keep the old ones"
            ) from error
        for name in later & fields.keys():
            _set(instance, name, fields[name])
        return instance


class SlotsKind(DataclassKind):
    """Send, Item and the like: plain objects whose state is their slots."""

    def _fields_of(self) -> Mapping[str, bool]:
        return {name: True for base in reversed(self.cls.__mro__) for name in base.__dict__.get("__slots__", ())}


class NamedTupleKind(Kind):
    """Namedtuples, by field name so that fields may be added."""

    code = fmt.NAMEDTUPLE

    def explode(self, value: Any) -> list[Any]:
        """Return the type and the fields by name."""
        return [self.ref, dict(zip(self.cls._fields, value, strict=True))]

    def restore(self, parts: list[Any]) -> Any:
        """Return the tuple; new fields get their defaults."""
        fields: dict[str, Any] = {**self.cls._field_defaults, **parts[1]}
        if fields.keys() != set(self.cls._fields):
            differing = ", ".join(sorted(fields.keys() ^ set(self.cls._fields)))
            raise Refused(f"{self.name} has changed ({differing}); give new fields defaults and keep the old ones")
        return _new_tuple(self.cls, [fields[name] for name in self.cls._fields])


class EnumKind(Kind):
    """Enum members, by value; a class's own `_missing_` never runs."""

    code = fmt.ENUM

    def explode(self, value: Enum) -> list[Any]:
        """Return the type and the member's value."""
        if self._member(value._value_) is not value:
            raise Refused(f"is {value!r}, whose value does not lead back to it; give every member its own value")
        return [self.ref, value._value_]

    def restore(self, parts: list[Any]) -> Enum:
        """Return the member of that value."""
        member = self._member(parts[1])
        if member is None:
            raise Refused(f"{self.name} has no member of the stored value any more; restore the member")
        return member

    def _member(self, value: Any) -> Enum | None:
        try:
            member = self.cls._value2member_map_.get(value)
        except TypeError:  # an unhashable value is in no map
            member = next((each for each in self.cls.__members__.values() if each._value_ == value), None)
        if member is None and issubclass(self.cls, Flag) and isinstance(value, int):
            member = _combined(self.cls, value)
        return member


class StrKind(Kind):
    """A str subclass without state of its own."""

    code = fmt.STR_SUBCLASS

    def explode(self, value: str) -> list[Any]:
        """Return the type and the text."""
        return [self.ref, str.__str__(value)]

    def restore(self, parts: list[Any]) -> str:
        """Return the text as its type."""
        return str.__new__(self.cls, parts[1])


class DictKind(Kind):
    """A dict subclass without state of its own."""

    code = fmt.DICT_SUBCLASS

    def explode(self, value: dict[Any, Any]) -> list[Any]:
        """Return the type and a plain dict."""
        return [self.ref, dict(value)]

    def restore(self, parts: list[Any]) -> dict[Any, Any]:
        """Return the dict as its type."""
        restored = dict.__new__(self.cls)
        _update(restored, parts[1])
        return restored


def _combined(cls: type[Flag], value: int) -> Enum | None:
    # The standard library's own way to a combination of flags, whatever `_missing_` the class defines.
    missing = cast("Callable[[type[Flag], int], object]", vars(Flag)["_missing_"].__func__)
    member = missing(cls, value)
    return member if isinstance(member, cls) and member._value_ == value else None


def _chosen(names: tuple[str, ...], mask: int) -> frozenset[str]:
    if not 0 <= mask < 1 << len(names):
        raise Refused("its set of fields is damaged")
    return frozenset(name for index, name in enumerate(names) if mask >> index & 1)


def _defined(private: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in private.items() if value is not PydanticUndefined}


def _dict(value: Any) -> Any:
    if value is None or type(value) is dict:
        return cast("Any", value)
    raise Refused("its attributes are damaged")
