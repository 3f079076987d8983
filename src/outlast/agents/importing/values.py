"""Values as LangGraph's serializer stored them, read strictly.

LangGraph's own reader hands out the parts of an object that it cannot build, or None, and goes on. Here that is an
error: an import that changes a value nobody looks at would be found out much later. Nothing is imported and no code is
called for a name that is only stored: types are LangGraph's own safe ones, and data classes (a pydantic model, a
dataclass, an enum, a named tuple) of modules that the program has imported. Pickle is refused: to read it is to run it.
"""

import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, Final, cast

import ormsgpack
from langchain_core.load.load import Reviver
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_METHODS, SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.types import _DeltaSnapshot as DeltaSnapshot  # pyright: ignore[reportPrivateUsage]
from langgraph.types import Send
from pydantic import BaseModel

from outlast.agents.codec_types import BUILTIN
from outlast.errors import StateUnreadable
from outlast.storage.postgres.langgraph_source import Blob

# LangGraph's extension codes.
_ONE, _POSITIONAL, _KEYWORDS, _METHOD, _PYDANTIC_1, _PYDANTIC_2, _NUMPY, _DELTA = range(8)
_LANGCHAIN: Any = Reviver(allowed_objects="core")
_ENCRYPTED: Final = "+"


class _Refused(Exception):
    """A value that cannot be restored as it was; the text says why."""


def read_value(blob: Blob, *, path: str) -> Any:
    """Return the value; raises StateUnreadable, naming `path`, when it cannot be restored exactly."""
    try:
        return _READERS.get(blob.kind, _unreadable(blob.kind))(blob.data)
    except _Refused as refusal:
        raise StateUnreadable(f"{path}: {refusal}", path=path) from refusal
    # Damaged bytes may raise anything.
    except Exception as error:
        raise StateUnreadable(f"{path}: its bytes are damaged ({type(error).__name__}: {error})", path=path) from error


def _unreadable(kind: str) -> Callable[[bytes], Any]:
    if kind == "pickle":
        why = "it was stored with pickle, which runs code when it is read, so it is not read"
    elif _ENCRYPTED in kind:
        why = f"it is encrypted ({kind}); decrypt the database with the application that has the key, then import"
    else:
        why = f"it is of the unknown kind {kind!r}"

    def refuse(_data: bytes) -> Any:
        raise _Refused(why)

    return refuse


def _read_msgpack(data: bytes) -> Any:
    reviver = _Reviver()
    value = ormsgpack.unpackb(data, ext_hook=reviver.revive, option=ormsgpack.OPT_NON_STR_KEYS)
    if reviver.refusal is not None:
        raise reviver.refusal
    return value


class _Reviver:
    """Builds the objects of one value; the parser hides what its hook raises, so the first refusal is kept here."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None

    def revive(self, code: int, data: bytes) -> Any:
        try:
            parts = ormsgpack.unpackb(data, ext_hook=self.revive, option=ormsgpack.OPT_NON_STR_KEYS)
            if self.refusal is None:
                return _revived(code, parts)
        # Whatever was stored may refuse to be built, and what is raised here nobody would see.
        except Exception as error:  # noqa: BLE001 - see above
            self.refusal = self.refusal or error
        return None


def _revived(code: int, parts: Any) -> Any:
    if code == _DELTA:
        return DeltaSnapshot(parts)
    if code == _NUMPY:
        return _array(*parts)
    build = _BUILDERS.get(code)
    if build is None:
        raise _Refused(f"extension {code} of LangGraph's format is not known here")
    module, name, payload, *more = parts
    if code == _METHOD:
        return _by_method(module, name, payload, more[0])
    found = _found(module, name)
    try:
        return build(found, payload)
    # The constructor is user code.
    except Exception as error:
        raise _Refused(f"{module}.{name} cannot be built from what was stored: {error!r:.200}") from error


def _by_method(module: str, name: str, payload: Any, method: str) -> Any:
    if (module, name, method) not in SAFE_MSGPACK_METHODS:
        raise _Refused(f"the method {module}.{name}.{method} is not called for a stored value")
    return getattr(_found(module, name), method)(payload)


def _found(module: str, name: str) -> Any:
    """Return what a stored name means; raises _Refused unless it may be built."""
    if (module, name) in SAFE_MSGPACK_TYPES or f"{module}:{name}" in BUILTIN:
        return getattr(importlib.import_module(module), name)
    where = sys.modules.get(module)
    if where is None:
        raise _Refused(
            f"{module}.{name} cannot be found: no agent of this project imports the module {module!r}. Run the import "
            "in the project whose agents wrote the threads, with its modules under the names they had"
        )
    found: object = getattr(where, name, None)
    if found is None:
        raise _Refused(f"the module {module} has no {name} any more; restore the definition, then import again")
    if not _is_data_class(found):
        raise _Refused(f"{module}.{name} is no data class (a pydantic model, dataclass, enum or named tuple)")
    return found


def _is_data_class(found: object) -> bool:
    if not isinstance(found, type):
        return False
    cls = cast("type[Any]", found)
    return is_dataclass(cls) or issubclass(cls, BaseModel | Enum) or hasattr(cls, "_fields")


def _positional(found: Any, arguments: Sequence[Any]) -> Any:
    if found is Send and len(arguments) > 2:  # noqa: PLR2004 - node and input
        return Send(arguments[0], arguments[1], timeout=arguments[2])
    return found(*arguments)


def _keywords(found: Any, fields: Mapping[str, Any]) -> Any:
    try:
        return found(**fields)
    except TypeError:
        if not is_dataclass(found):
            raise
    # A field that is no argument of the constructor.
    instance: Any = object.__new__(cast("type[Any]", found))
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
    return instance


def _model(found: Any, fields: Mapping[str, Any]) -> Any:
    try:
        return found(**fields)
    except ValueError:
        # As LangGraph does: what was valid when it was stored, and is not any more.
        return found.model_construct(**fields)


def _array(dtype: str, shape: Sequence[int], order: Any, buffer: bytes) -> Any:
    numpy: Any = importlib.import_module("numpy")
    return numpy.frombuffer(buffer, dtype=numpy.dtype(dtype)).reshape(shape, order=order)


_BUILDERS: Final[Mapping[int, Callable[[Any, Any], Any]]] = {
    _ONE: lambda found, payload: found(payload),
    _POSITIONAL: _positional,
    _KEYWORDS: _keywords,
    _METHOD: _positional,
    _PYDANTIC_2: _model,
}


def _read_json(data: bytes) -> Any:
    """Read the kind that LangGraph wrote before 2025."""
    return json.loads(data, object_hook=_object)


def _object(value: dict[str, Any]) -> Any:
    if value.get("lc") != 2 or value.get("type") != "constructor" or not value.get("id"):  # noqa: PLR2004 - a version
        return _LANGCHAIN(value)
    *module, name = cast("list[str]", value["id"])
    found = _found(".".join(module), name)
    try:
        return found(*(value.get("args") or ()), **(value.get("kwargs") or {}))
    # As above.
    except Exception as error:
        raise _Refused(f"{'.'.join(module)}.{name} cannot be built from what was stored: {error!r:.200}") from error


_READERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "null": lambda _data: None,
    "bytes": bytes,
    "bytearray": bytearray,
    "msgpack": _read_msgpack,
    "json": _read_json,
}
