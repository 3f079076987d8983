"""The slow paths: what runs when packing or parsing in one call did not work out.

They walk the value in Python, so they know where they are: they name the offending path, store what
the packer cannot (keys other than str, bytearrays), and keep their depth on the Python stack.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import ormsgpack

from outlast.agents import codec_format as fmt
from outlast.agents import codec_values as values
from outlast.agents.codec_format import Entry, EntryFor, Refused, type_of
from outlast.errors import StateNotSerializable

_PLAIN: Final = frozenset({type(None), bool, float, str, bytes})
_LEAVES: Final = frozenset({type(None), bool, int, float, str, bytes})
_SEQUENCES: Final = frozenset({list, tuple, set, frozenset, deque})
_BUFFERS: Final = frozenset({bytearray, memoryview})
_ITEMS: Final = frozenset({fmt.TUPLE, fmt.SET, fmt.FROZENSET})
_SETS: Final = frozenset({fmt.SET, fmt.FROZENSET})
_INT_MIN: Final = -(2**63)
_INT_END: Final = 2**64
_SHOWN_PATH: Final = 200


class SlowEncoder:
    """Rewrites a value into one the packer takes as it is, or says what cannot be stored, and where."""

    def __init__(self, entry_for: EntryFor) -> None:
        self._entry_for = entry_for

    def encode(self, value: object, path: str) -> bytes:
        """Return what the fast path returns where that one works; raises StateNotSerializable."""
        return _pack(self._rewrite(value, path, 0))

    def _rewrite(self, value: Any, path: str, depth: int) -> Any:
        if depth > fmt.SLOW_DEPTH:
            raise _refusal(path, f"is nested more than {fmt.SLOW_DEPTH} levels deep or contains itself; flatten it")
        cls = type_of(value)
        if cls in _PLAIN or (cls is int and _INT_MIN <= value < _INT_END):
            return value
        if cls is list:
            return [self._rewrite(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        if cls is dict:
            return self._dict(value, path, depth)
        return self._ext(cls, value, path, depth)

    def _dict(self, value: dict[Any, Any], path: str, depth: int) -> Any:
        if any(type(key) is not str for key in value):
            return ormsgpack.Ext(fmt.MAP, _pack(self._pairs(values.flat(value), path, depth)))
        rewritten = {_clean(key): self._rewrite(item, _below(path, key), depth + 1) for key, item in value.items()}
        if len(rewritten) != len(value):
            raise _refusal(path, "has keys that differ only in characters which cannot be stored; rename them")
        return rewritten

    def _pairs(self, items: list[Any], path: str, depth: int) -> list[Any]:
        where = (_below(path, items[index - index % 2]) for index in range(len(items)))
        return [self._rewrite(item, below, depth + 1) for item, below in zip(items, where, strict=True)]

    def _ext(self, cls: type, value: Any, path: str, depth: int) -> Any:
        try:
            code, explode = self._entry_for(cls)
            parts = explode(value)
        # The value's own methods are user code.
        except Exception as error:
            reason = str(error) if isinstance(error, Refused) else f"cannot be taken apart ({error!r:.200})"
            raise _refusal(path, reason) from error
        if type(parts) is list:
            return ormsgpack.Ext(code, _pack(self._parts(code, cast("list[Any]", parts), path, depth)))
        return ormsgpack.Ext(code, parts) if code else parts

    def _parts(self, code: int, parts: list[Any], path: str, depth: int) -> list[Any]:
        if code in _ITEMS:
            items = self._rewrite(parts, path, depth)
            # Equal sets may iterate differently; their stored form must not.
            return [ormsgpack.Fragment(item) for item in sorted(map(_pack, items))] if code in _SETS else items
        if code == fmt.KNOWN_DICT:
            return [parts[0], self._pairs(parts[1], path, depth)]
        return [self._rewrite(part, path, depth + 1) for part in parts]


class _Pending:
    """An ext that is not restored yet."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code = code
        self.data = data


class SlowDecoder:
    """Restores level by level, so that no depth of hostile data reaches the C stack; says what went wrong."""

    def __init__(self, build: Callable[[int, Any], Any]) -> None:
        self._build = build

    def decode(self, data: bytes) -> Any:
        """Return the value; raises Refused with the reason, or whatever damaged data provokes."""
        if data[:1] == fmt.LATER_FORMAT:
            raise Refused("it was written by a later version of Outlast; upgrade this process")
        return self._resolve(unpack_all(data, _Pending))

    def _resolve(self, value: Any) -> Any:
        cls = type_of(value)
        if cls is list:
            return [self._resolve(item) for item in value]
        if cls is dict:
            return {key: self._resolve(item) for key, item in value.items()}
        return self._restore(value) if cls is _Pending else value

    def _restore(self, pending: _Pending) -> Any:
        restore = values.RAW.get(pending.code)
        if restore is not None:
            return restore(pending.data)
        if pending.code not in values.PACKED and not fmt.MODEL <= pending.code <= fmt.DICT_SUBCLASS:
            raise Refused(f"its ext code {pending.code} is unknown; a later version of Outlast may have written it")
        parts = self._resolve(ormsgpack.unpackb(pending.data, ext_hook=_Pending))
        return self._build(pending.code, parts)


def unpack_all(data: bytes, hook: Callable[[int, bytes], Any] | None) -> Any:
    """Parse exactly one value; ValueError when bytes are left over, which the parser would ignore."""
    # As the first of two items: if the second is not ours, something else stood between.
    value, end = ormsgpack.unpackb(b"".join((b"\x92", data, b"\xa3end")), ext_hook=hook)
    if end != "end":
        raise ValueError("more than one value")
    return value


def holds_buffer(value: object, known: Mapping[type, Entry], entry_for: EntryFor) -> bool:
    """Whether a bytearray or memoryview is in there, which the packer stores as bytes without asking."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        cls = type_of(item)
        if cls is dict:
            waiting += [each for each in item.values() if type(each) not in _LEAVES]
        elif cls in _SEQUENCES:
            waiting += [each for each in item if type(each) not in _LEAVES]
        elif cls in _BUFFERS:
            return True
        elif cls not in _LEAVES:
            parts = (known.get(cls) or entry_for(cls))[1](item)
            waiting += parts if type(parts) is list else ()
    return False


def _pack(value: Any) -> bytes:
    return ormsgpack.packb(value, None, fmt.PACK)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{key!r:.50}]"


def _refusal(path: str, reason: str) -> StateNotSerializable:
    shown = path if len(path) <= _SHOWN_PATH else f"{path[: _SHOWN_PATH // 2]}...{path[-_SHOWN_PATH // 2 :]}"
    return StateNotSerializable(f"state {_clean(shown)} {reason}", path=shown)
