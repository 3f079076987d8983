"""Which classes a state may be made of, and how their instances are taken apart and restored.

Restorable are a closed set of langchain_core and langgraph types, the classes a caller allows, and,
unless the caller gave a list, data classes found in modules the program has already imported.
A stored name is only ever looked up; it never imports a module (the closed set apart), and only a
pydantic model, dataclass, enum or namedtuple of exactly that name is accepted.
"""

import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import MappingProxyType, ModuleType
from typing import Any, Final, TypeAlias, cast

from pydantic import BaseModel

from outlast.agents import codec_values as values
from outlast.agents.codec_format import Entry, Refused
from outlast.agents.codec_kinds import (
    DataclassKind,
    DictKind,
    EnumKind,
    Kind,
    ModelKind,
    NamedTupleKind,
    SlotsKind,
    StrKind,
)

# A type's stored name: "module:qualname", or its number in BUILTIN.
Ref: TypeAlias = int | str

# Public addresses, so that a class may move inside its library. The index is stored: append only.
BUILTIN: Final = (
    "langchain_core.messages:HumanMessage",
    "langchain_core.messages:AIMessage",
    "langchain_core.messages:SystemMessage",
    "langchain_core.messages:ToolMessage",
    "langchain_core.messages:FunctionMessage",
    "langchain_core.messages:ChatMessage",
    "langchain_core.messages:RemoveMessage",
    "langchain_core.messages:HumanMessageChunk",
    "langchain_core.messages:AIMessageChunk",
    "langchain_core.messages:SystemMessageChunk",
    "langchain_core.messages:ToolMessageChunk",
    "langchain_core.messages:FunctionMessageChunk",
    "langchain_core.messages:ChatMessageChunk",
    "langchain_core.messages:BaseMessage",
    "langchain_core.messages:BaseMessageChunk",
    # What `message.text` returns.
    "langchain_core.messages.base:TextAccessor",
    "langchain_core.documents:Document",
    "langchain_core.documents.base:Blob",
    "langchain_core.prompt_values:StringPromptValue",
    "langchain_core.prompt_values:ChatPromptValue",
    "langchain_core.agents:AgentAction",
    "langchain_core.agents:AgentActionMessageLog",
    "langchain_core.agents:AgentStep",
    "langchain_core.agents:AgentFinish",
    "langchain_core.outputs:Generation",
    "langchain_core.outputs:GenerationChunk",
    "langchain_core.outputs:ChatGeneration",
    "langchain_core.outputs:ChatGenerationChunk",
    "langchain_core.outputs:ChatResult",
    "langchain_core.outputs:LLMResult",
    # What streaming a runnable sequence adds up to.
    "langchain_core.runnables.utils:AddableDict",
    "langgraph.types:Send",
    "langgraph.types:Command",
    "langgraph.types:Interrupt",
    "langgraph.types:Overwrite",
    "langgraph.types:TimeoutPolicy",
    "langgraph.types:StateSnapshot",
    "langgraph.types:PregelTask",
    "langgraph.checkpoint.serde.types:_DeltaSnapshot",
    "langgraph.store.base:Item",
    "langgraph.store.base:SearchItem",
    "langgraph.store.base:GetOp",
)
_BUILTIN_NUMBERS: Final[Mapping[str, int]] = {ref.rpartition(":")[2]: number for number, ref in enumerate(BUILTIN)}
_CONTAINERS: Final = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float)


class Registry:
    """The types one codec accepts, and how each is stored.

    Safe to share between threads: the caches only ever gain entries, and two threads learning one
    type learn the same.
    """

    def __init__(self, *, allowed: Mapping[str, type], any_data_class: bool) -> None:
        self.allowed: Mapping[str, type] = MappingProxyType(dict(allowed))
        self.any_data_class = any_data_class
        self.entries: dict[type, Entry] = dict(values.ENTRIES)
        self.contents: dict[type, Entry] = dict(values.ENTRIES)
        self._kinds: dict[Ref, Kind] = {}

    def allowing(self, more: Mapping[str, type]) -> "Registry":
        """Return a registry that allows these too."""
        return Registry(allowed={**self.allowed, **more}, any_data_class=self.any_data_class)

    def entry_for(self, cls: type[Any]) -> Entry:
        """Return how instances of `cls` are stored; raises Refused when reading would refuse them."""
        entry = self.entries.get(cls)
        if entry is not None:
            return entry
        if issubclass(cls, BaseException):
            # As LangGraph stores the errors of failed tasks.
            return 0, repr
        entry = content = values.numpy_entry(cls)
        if entry is None:
            kind = self._kind_of(cls)
            self._kinds[kind.ref] = kind
            entry, content = (kind.code, kind.explode), (kind.code, kind.content)
        self.entries[cls] = entry
        self.contents[cls] = content or entry
        return entry

    def content_for(self, cls: type[Any]) -> Entry:
        """Return the same as `entry_for`, without what makes no difference to a value's content."""
        entry = self.entry_for(cls)
        return self.contents.get(cls, entry)

    def restore(self, code: int, parts: list[Any]) -> Any:
        """Put together what a kind took apart; raises Refused for a type that is not allowed."""
        ref = parts[0]
        kind = self._kinds.get(ref)
        if kind is None or (kind.still_there is not None and not kind.still_there()):
            kind = self._kind_named(ref)
            self._kinds[ref] = kind
        if kind.code != code:
            raise Refused(f"{_shown(ref)} is not of the kind it was stored as; restore the earlier definition")
        return kind.restore(parts)

    def _kind_of(self, cls: type) -> Kind:
        number = _BUILTIN_NUMBERS.get(cls.__qualname__)
        if number is not None and _builtin(number) is cls:
            return _kind(cls, number)
        ref = f"{cls.__module__}:{cls.__qualname__}"
        if not _is_data_class(cls):
            raise Refused(_why_not_data(cls))
        if self.allowed.get(ref) is cls:
            return _kind(cls, ref)
        if not self.any_data_class:
            raise Refused(f"is of type {_shown(ref)}, which is not in allowed_types; add it there")
        if "<locals>" in ref:
            raise Refused(
                f"is of type {_shown(ref)}, which is defined inside a function and so cannot be found "
                "after a restart; move the class to module level"
            )
        if find(ref) is not cls:
            raise Refused(
                f"is of type {_shown(ref)}, but that name leads to something else, so it could not be read back; "
                "give the class a module-level name that matches its definition, or pass allowed_types=[...]"
            )
        return _kind(cls, ref, watched=True)

    def _kind_named(self, ref: object) -> Kind:
        if type(ref) is int and 0 <= ref < len(BUILTIN):
            return _kind(_builtin(ref), ref)
        if not isinstance(ref, str):
            raise Refused(f"the stored type {ref!r} is unknown; it may have been written by a later version of Outlast")
        cls = self.allowed.get(ref)
        if cls is not None:
            return _kind(cls, ref)
        if not self.any_data_class:
            raise Refused(f"its type {_shown(ref)} is not in allowed_types; add it there to read it")
        cls = find(ref)
        if cls is None or not _is_data_class(cls):
            raise Refused(
                f"its type {_shown(ref)} is not a data class of any imported module; "
                "import the module that defines it before reading, or pass allowed_types=[...]"
            )
        return _kind(cls, ref, watched=True)


def named(types: Iterable[type]) -> dict[str, type]:
    """Return the data classes among `types` by stored name; others need no allowing or cannot be stored."""
    # What LangGraph derives from a state schema holds more than classes, against the annotation.
    found = (cls for cls in cast("Iterable[object]", types) if isinstance(cls, type) and _is_data_class(cls))
    return {f"{cls.__module__}:{cls.__qualname__}": cls for cls in found}


def find(ref: str) -> type | None:
    """Return the class of that name in a module already imported; runs no code of the module or the class."""
    module_name, _, qualname = ref.partition(":")
    module = sys.modules.get(module_name)
    if not isinstance(module, ModuleType):
        return None
    # Read the namespaces directly: a module's __getattr__ may import, a lazy module's attribute access loads it.
    namespace: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
    cls: object = namespace.get(qualname)
    if cls is None:
        cls = _nested(namespace, qualname.split("."))
    if isinstance(cls, type) and cls.__module__ == module_name and cls.__qualname__ == qualname:
        return cls
    return None


def _nested(namespace: Mapping[str, Any], names: list[str]) -> object:
    found: object = None
    for name in names:
        found = namespace.get(name)
        if not isinstance(found, type):
            return None
        namespace = cast("Mapping[str, Any]", type.__getattribute__(found, "__dict__"))
    return found


def _builtin(number: int) -> type:
    module, _, name = BUILTIN[number].partition(":")
    return getattr(importlib.import_module(module), name)


def _is_data_class(cls: type[Any]) -> bool:
    if issubclass(cls, BaseException):
        return False
    if issubclass(cls, (Enum, BaseModel)):
        return True
    if issubclass(cls, _CONTAINERS):
        return _is_namedtuple(cls)
    return is_dataclass(cls)


def _is_namedtuple(cls: Any) -> bool:
    # Any other tuple with `_fields` may keep more than its items.
    names: Any = getattr(cls, "_fields", None)
    return issubclass(cls, tuple) and isinstance(names, tuple) and "_make" in dir(cast("Any", cls))


def _kind(cls: type[Any], ref: Ref, *, watched: bool = False) -> Kind:
    # The first that fits: an enum may be a str, a message's text is one.
    kinds: tuple[tuple[bool, type[Kind]], ...] = (
        (issubclass(cls, Enum), EnumKind),
        (issubclass(cls, BaseModel), ModelKind),
        (issubclass(cls, tuple), NamedTupleKind),
        (issubclass(cls, str), StrKind),
        (issubclass(cls, dict), DictKind),
        (is_dataclass(cls), DataclassKind),
    )
    kind = next((kind for fits, kind in kinds if fits), SlotsKind)
    return kind(cls, ref, still_there=(lambda: find(str(ref)) is cls) if watched else None)


def _why_not_data(cls: type) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    base = next((base for base in _CONTAINERS if issubclass(cls, base)), None)
    if base is not None:
        return f"is of type {name}, a subclass of {base.__name__} that would come back without its type; convert it"
    if any(parent.__module__.startswith("pydantic.v1") for parent in cls.__mro__):
        return f"is of type {name}, a pydantic v1 model; use a pydantic v2 model"
    return (
        f"is of type {name}, which cannot be stored; keep what it is built from in the state "
        "(an address, an id, a dict) and build it where it is used"
    )


def _shown(ref: object) -> str:
    return BUILTIN[ref].replace(":", ".") if isinstance(ref, int) else str(ref).replace(":", ".", 1)
