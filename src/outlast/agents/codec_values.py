"""The standard library's values (and numpy's): how each is split for its ext and put together again."""

import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import chain
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from struct import Struct
from typing import Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import SecretBytes, SecretStr, networks

from outlast.agents import codec_format as fmt
from outlast.agents.codec_format import Entry, Refused

_DATETIME = Struct(">HBBBBBIB")
_DATE = Struct(">HBB")
_TIME = Struct(">BBBIB")
_TIMEDELTA = Struct(">iII")

# The index is stored: append only.
_TEXT_TYPES: Final[tuple[type, ...]] = (
    Decimal,
    ZoneInfo,
    PosixPath,
    PurePosixPath,
    WindowsPath,
    PureWindowsPath,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    networks.AnyUrl,
    networks.AnyHttpUrl,
    networks.HttpUrl,
    networks.AnyWebsocketUrl,
    networks.WebsocketUrl,
    networks.FileUrl,
    networks.FtpUrl,
    networks.PostgresDsn,
    networks.CockroachDsn,
    networks.AmqpDsn,
    networks.RedisDsn,
    networks.MongoDsn,
    networks.KafkaDsn,
    networks.NatsDsn,
    networks.MySQLDsn,
    networks.MariaDBDsn,
    networks.ClickHouseDsn,
    networks.SnowflakeDsn,
)

# The index is stored: append only. Any other default factory could be any callable, so it is refused.
_FACTORIES: Final[tuple[Callable[[], Any] | None, ...]] = (None, list, dict, set, int, str, float, bool, tuple)
_ORDERED = "ordered"
_COUNTER = "counter"

# ZoneInfo looks a key up as a file below its directories and as a module below tzdata; nothing else may be named.
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+\-]+(?:/[A-Za-z0-9_+\-]+)*")
# Numbers, times and fixed-size text only: an object array would be a list of addresses.
_DTYPE = re.compile(r"[<>|=](?:[biufcSU]\d+|[mM]8(?:\[[0-9a-zA-Z]+\])?)")


def flat(mapping: Mapping[Any, Any]) -> list[Any]:
    """Keys and values in turn."""
    return list(chain.from_iterable(mapping.items()))


def pairs(items: list[Any]) -> dict[Any, Any]:
    """Undo `flat`."""
    return dict(zip(items[::2], items[1::2], strict=True))


def _big_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _datetime(value: datetime) -> list[Any]:
    fields = _DATETIME.pack(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold
    )
    return [fields, value.tzinfo]


def _restore_datetime(parts: list[Any]) -> datetime:
    *fields, fold = _DATETIME.unpack(parts[0])
    return datetime(*fields, tzinfo=parts[1], fold=fold)


def _time(value: time) -> list[Any]:
    return [_TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold), value.tzinfo]


def _restore_time(parts: list[Any]) -> time:
    *fields, fold = _TIME.unpack(parts[0])
    return time(*fields, tzinfo=parts[1], fold=fold)


def _restore_timedelta(data: bytes) -> timedelta:
    days, seconds, microseconds = _TIMEDELTA.unpack(data)
    return timedelta(days, seconds, microseconds)


def _timezone(value: timezone) -> list[Any]:
    offset = value.utcoffset(None)
    name = value.tzname(None)
    return [offset, None if name == timezone(offset).tzname(None) else name]


def _restore_timezone(parts: list[Any]) -> timezone:
    return timezone(parts[0]) if parts[1] is None else timezone(parts[0], parts[1])


def _text_of(index: int) -> fmt.Explode:
    # A path may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
    return lambda value: bytes((index,)) + str(value).encode("utf-8", "surrogatepass")


def _zone(value: ZoneInfo) -> bytes:
    if not _ZONE_KEY.fullmatch(value.key or ""):  # pyright: ignore[reportUnnecessaryComparison]
        raise Refused("is a time zone without a name; use ZoneInfo(name)")
    return _text_of(_TEXT_TYPES.index(ZoneInfo))(value.key)


def _restore_text(data: bytes) -> Any:
    cls = _TEXT_TYPES[data[0]]
    text = data[1:].decode("utf-8", "surrogatepass")
    if cls is ZoneInfo and not _ZONE_KEY.fullmatch(text):
        raise Refused("is not the name of a time zone")
    return cls(text)


def _restore_pattern(parts: list[Any]) -> re.Pattern[Any]:
    pattern, flags = parts
    # Compiling with DEBUG prints.
    return re.compile(pattern, flags & ~re.DEBUG)


def _known_dict(value: dict[Any, Any]) -> list[Any]:
    if isinstance(value, defaultdict):
        factory = value.default_factory
        if factory not in _FACTORIES:
            raise Refused(
                f"is a defaultdict with the factory {factory!r}, which cannot be stored; convert it to a dict"
            )
        return [_FACTORIES.index(factory), flat(value)]
    return [_COUNTER if isinstance(value, Counter) else _ORDERED, flat(value)]


def _restore_known_dict(parts: list[Any]) -> dict[Any, Any]:
    kind, items = parts
    if kind == _ORDERED:
        return OrderedDict(pairs(items))
    if kind == _COUNTER:
        return Counter(pairs(items))
    factory = cast("Callable[[], Any] | None", _FACTORIES[kind])
    return defaultdict(factory, pairs(items))


def _restore_secret(parts: list[Any]) -> SecretStr | SecretBytes:
    return SecretStr(parts[0]) if isinstance(parts[0], str) else SecretBytes(parts[0])


def _refuse_memoryview(_: memoryview) -> Any:
    raise Refused("is a memoryview of memory it does not own; convert it to bytes")


def _checked_dtype(dtype: str) -> str:
    if not _DTYPE.fullmatch(dtype):
        raise Refused(f"is a numpy value of dtype {dtype}; only numbers, times and fixed-size text can be stored")
    return dtype


def _ndarray(value: Any) -> list[Any]:
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    order = "F" if fortran else "C"
    return [_checked_dtype(value.dtype.str), list(value.shape), order, value.tobytes(order)]


def _numpy() -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        raise Refused("is a numpy value; import numpy before reading it")
    return numpy


def _restore_ndarray(parts: list[Any]) -> Any:
    dtype, shape, order, data = parts
    # A bytearray, because an array over bytes would be read-only.
    array = _numpy().frombuffer(bytearray(data), dtype=_checked_dtype(dtype))
    return array.reshape(shape, order=order)


def _restore_numpy_scalar(parts: list[Any]) -> Any:
    return _numpy().frombuffer(parts[1], dtype=_checked_dtype(parts[0]))[0]


def numpy_entry(cls: type[Any]) -> Entry | None:
    """Return the entry of a numpy type, or None; numpy is never imported here."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if cls is numpy.ndarray:
        return fmt.NDARRAY, _ndarray
    if issubclass(cls, numpy.generic):
        return fmt.NUMPY_SCALAR, lambda value: [_checked_dtype(value.dtype.str), value.tobytes()]
    return None


def _secret(value: SecretStr | SecretBytes) -> list[Any]:
    return [value.get_secret_value()]


ENTRIES: Final[Mapping[type, Entry]] = {
    int: (fmt.BIG_INT, _big_int),
    tuple: (fmt.TUPLE, list),
    set: (fmt.SET, list),
    frozenset: (fmt.FROZENSET, list),
    deque: (fmt.DEQUE, lambda value: [value.maxlen, list(value)]),
    OrderedDict: (fmt.KNOWN_DICT, _known_dict),
    Counter: (fmt.KNOWN_DICT, _known_dict),
    defaultdict: (fmt.KNOWN_DICT, _known_dict),
    bytearray: (fmt.BYTEARRAY, bytes),
    memoryview: (0, _refuse_memoryview),
    datetime: (fmt.DATETIME, _datetime),
    date: (fmt.DATE, lambda value: _DATE.pack(value.year, value.month, value.day)),
    time: (fmt.TIME, _time),
    timedelta: (fmt.TIMEDELTA, lambda value: _TIMEDELTA.pack(value.days, value.seconds, value.microseconds)),
    timezone: (fmt.TIMEZONE, _timezone),
    UUID: (fmt.UUID_, lambda value: value.bytes),
    re.Pattern: (fmt.PATTERN, lambda value: [value.pattern, value.flags]),
    SecretStr: (fmt.SECRET, _secret),
    SecretBytes: (fmt.SECRET, _secret),
    **{cls: (fmt.TEXT, _text_of(index)) for index, cls in enumerate(_TEXT_TYPES)},
    ZoneInfo: (fmt.TEXT, _zone),
}

RAW: Final[Mapping[int, Callable[[bytes], Any]]] = {
    fmt.BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    fmt.BYTEARRAY: bytearray,
    fmt.DATE: lambda data: date(*_DATE.unpack(data)),
    fmt.TIMEDELTA: _restore_timedelta,
    fmt.UUID_: lambda data: UUID(bytes=data),
    fmt.TEXT: _restore_text,
}

PACKED: Final[Mapping[int, Callable[[Any], Any]]] = {
    fmt.TUPLE: tuple,
    fmt.SET: set,
    fmt.FROZENSET: frozenset,
    fmt.DEQUE: lambda parts: deque(cast("Iterable[Any]", parts[1]), parts[0]),
    fmt.MAP: pairs,
    fmt.KNOWN_DICT: _restore_known_dict,
    fmt.DATETIME: _restore_datetime,
    fmt.TIME: _restore_time,
    fmt.TIMEZONE: _restore_timezone,
    fmt.PATTERN: _restore_pattern,
    fmt.SECRET: _restore_secret,
    fmt.NDARRAY: _restore_ndarray,
    fmt.NUMPY_SCALAR: _restore_numpy_scalar,
}
