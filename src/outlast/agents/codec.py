"""Strict bytes for the values of a graph's state.

What is written can be read back with its exact type and value, or it is refused when written; what
cannot be restored is an error, never a stand-in. Four things are normalised: lone surrogates in a
str become "?", an exception becomes its repr (as LangGraph stores the errors of tasks), a
cached_property is computed again, and the order of a set is its own affair.

A class that was defined in `__main__` is found again only by the same script. The byte layout is
described in `codec_format`, what may be stored in `codec_types`.
"""

from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import Any, Final, TypeAlias

import ormsgpack
import xxhash

from outlast.agents import codec_format as fmt
from outlast.agents import codec_values as values
from outlast.agents.codec_format import EntryFor, type_of
from outlast.agents.codec_types import Registry, named
from outlast.agents.codec_walk import SlowDecoder, SlowEncoder, holds_buffer, unpack_all
from outlast.errors import StateNotSerializable, StateTooLarge, StateUnreadable

_PackHook: TypeAlias = Callable[[Any], Any]
_UnpackHook: TypeAlias = Callable[[int, bytes], Any]

# A fingerprint needs no ext payloads: a marked list is packed in one go, and no value can hold such a mark.
_MARKS: Final = {code: ormsgpack.Ext(code, b"") for code in range(1, fmt.DICT_SUBCLASS + 1)}
_SETS: Final = frozenset({fmt.SET, fmt.FROZENSET})

packb = ormsgpack.packb
unpackb = ormsgpack.unpackb


class Codec:
    """Encodes, decodes and fingerprints state values; immutable and safe to share between threads."""

    def __init__(self, *, allowed_types: Iterable[type] | None = None, max_value_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_value_bytes = max_value_bytes
        self._use(Registry(allowed=named(allowed_types or ()), any_data_class=allowed_types is None))

    def allowing(self, types: Iterable[type]) -> "Codec":
        """Return a codec that allows these data classes too, wherever they are defined."""
        codec = copy(self)
        codec._use(self._registry.allowing(named(types)))  # noqa: SLF001 - of its own class
        return codec

    def encode(self, value: object, *, path: str) -> bytes:
        """Return the stored form of `value`.

        Raises StateNotSerializable, naming the nested path of what cannot be stored or could not be
        read back, and StateTooLarge.
        """
        data = self._pack(value, self._pack_hook, self._registry.entry_for, path)
        if len(data) > self._max_value_bytes:
            raise StateTooLarge(path=path, size_bytes=len(data), limit_bytes=self._max_value_bytes)
        return data

    def decode(self, data: bytes, *, path: str) -> Any:
        """Return the value `encode` was given; raises StateUnreadable and nothing else.

        Runs no code of the stored types, unless a class has changed: then its own validation or
        constructor decides.
        """
        try:
            return unpack_all(data, self._unpack_hook)
        # The parser hides what a hook raised: any error may be one that the slow way decodes, or can name.
        except Exception:  # noqa: BLE001 - see above
            return self._decode_slowly(data, path)

    def fingerprint(self, value: object) -> bytes:
        """Return 16 bytes that are equal exactly when the content is.

        Content is types, values and the order of dicts; which fields of a model were set explicitly
        is not. Raises StateNotSerializable.
        """
        return xxhash.xxh3_128_digest(self._pack(value, self._print_hook, self._registry.content_for, "value"))

    def _use(self, registry: Registry) -> None:
        self._registry = registry
        self._pack_hook = _pack_hook(registry, fmt.FAST_DEPTH)
        self._print_hook = _print_hook(registry)
        self._unpack_hook = _unpack_hook(registry, fmt.FAST_DEPTH)

    def _pack(self, value: object, hook: _PackHook | None, entry_for: EntryFor, path: str) -> bytes:
        try:
            data = packb(value, hook, fmt.PACK)
            if not _may_hold_bytes(data) or not holds_buffer(value, self._registry.contents, entry_for):
                return data
        # The packer tells nothing of what it refuses, nor where; the slow way packs it, or says so.
        except Exception:  # noqa: BLE001, S110 - see above
            pass
        return _pack_slowly(SlowEncoder(entry_for), value, path)

    def _decode_slowly(self, data: bytes, path: str) -> Any:
        decoder = SlowDecoder(partial(_build, self._registry))
        try:
            return decoder.decode(data)
        except fmt.Refused as error:
            raise StateUnreadable(f"state {path} cannot be restored: {error}", path=path) from error
        # Hostile bytes may raise anything.
        except Exception as error:
            raise StateUnreadable(
                f"state {path} cannot be restored: its bytes are damaged ({type(error).__name__}); "
                "restore the row from a backup",
                path=path,
            ) from error


def _pack_slowly(encoder: SlowEncoder, value: object, path: str) -> bytes:
    try:
        return encoder.encode(value, path)
    except StateNotSerializable:
        raise
    # What another thread changes meanwhile may raise anything.
    except Exception as error:
        raise StateNotSerializable(
            f"state {path} could not be walked ({error!r:.200}); it may have changed meanwhile", path=path
        ) from error


def _may_hold_bytes(data: bytes) -> bool:
    # How msgpack marks bytes, which a bytearray in plain data is packed as. Text and floats may hold them by chance.
    return b"\xc4" in data or b"\xc5" in data or b"\xc6" in data


def _pack_hook(registry: Registry, depth: int) -> _PackHook | None:
    # One hook per depth: each knows how deep it is at no cost. The last refuses, which leads to the slow path.
    if depth == 0:
        return None
    deeper = _pack_hook(registry, depth - 1)
    known = registry.entries.get
    learn = registry.entry_for
    ext = ormsgpack.Ext

    def hook(value: Any) -> Any:
        cls = type_of(value)
        code, explode = known(cls) or learn(cls)
        parts = explode(value)
        if type(parts) is list:
            return ext(code, packb(parts, deeper, fmt.PACK))
        return ext(code, parts) if code else parts

    return hook


def _unpack_hook(registry: Registry, depth: int) -> _UnpackHook | None:
    if depth == 0:
        return None
    deeper = _unpack_hook(registry, depth - 1)
    raw = values.RAW.get

    def hook(code: int, data: bytes) -> Any:
        restore = raw(code)
        return _build(registry, code, unpackb(data, ext_hook=deeper)) if restore is None else restore(data)

    return hook


def _build(registry: Registry, code: int, parts: Any) -> Any:
    restore = values.PACKED.get(code)
    return registry.restore(code, parts) if restore is None else restore(parts)


def _print_hook(registry: Registry) -> _PackHook:
    known = registry.contents.get
    learn = registry.content_for

    def hook(value: Any) -> Any:
        cls = type_of(value)
        code, explode = known(cls) or learn(cls)
        if code in _SETS:
            # Equal sets may iterate differently.
            return [_MARKS[code], sorted(packb(item, hook, fmt.PACK) for item in value)]
        parts = explode(value)
        return [_MARKS[code], parts] if code else parts

    return hook
