"""The wire format of stored state values: ext codes, packing options, depth limits.

A stored value is one msgpack object. Plain data is plain msgpack (so any msgpack tool can look at
it); everything else is an ext whose payload is again msgpack or raw bytes:

    code  payload
       1  integer beyond 64 bits: big-endian two's complement
       2  tuple: [item, ...]
       3  set: [item, ...]
       4  frozenset: [item, ...]
       5  deque: [maxlen, [item, ...]]
       6  dict with keys other than str: [key, value, ...]
       7  known dict subclass: [kind, [key, value, ...]]
       8  bytearray: the bytes
       9  datetime: [fields, tzinfo]
      10  date: fields
      11  time: [fields, tzinfo]
      12  timedelta: days, seconds, microseconds
      13  timezone: [offset, name]
      14  UUID: 16 bytes
      15  a type restored from its text (Decimal, ZoneInfo, paths, addresses, URLs): index, text
      16  re.Pattern: [pattern, flags]
      17  SecretStr, SecretBytes: [value]
      18  numpy array: [dtype, shape, order, bytes]
      19  numpy scalar: [dtype, bytes]
      32  pydantic model: [type, fields, fields set, extra, private], the end left out when empty
      33  dataclass, or an object made of slots: [type, fields, other attributes]
      34  namedtuple: [type, fields]
      35  enum member: [type, value]
      36  str subclass: [type, text]
      37  dict subclass: [type, items]

`type` is "module:qualname", or a number for the types of langchain_core and langgraph (see
`codec_types.BUILTIN`). Codes are never reused. The byte 0xC1, which msgpack never uses, is reserved
as the first byte of any later format.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import ormsgpack

BIG_INT: Final = 1
TUPLE: Final = 2
SET: Final = 3
FROZENSET: Final = 4
DEQUE: Final = 5
MAP: Final = 6
KNOWN_DICT: Final = 7
BYTEARRAY: Final = 8
DATETIME: Final = 9
DATE: Final = 10
TIME: Final = 11
TIMEDELTA: Final = 12
TIMEZONE: Final = 13
UUID_: Final = 14
TEXT: Final = 15
PATTERN: Final = 16
SECRET: Final = 17
NDARRAY: Final = 18
NUMPY_SCALAR: Final = 19
MODEL: Final = 32
DATACLASS: Final = 33
NAMEDTUPLE: Final = 34
ENUM: Final = 35
STR_SUBCLASS: Final = 36
DICT_SUBCLASS: Final = 37

LATER_FORMAT: Final = b"\xc1"

# OPT_NON_STR_KEYS is left out on purpose: it stores an enum, a UUID or a str subclass used as a key as a plain str.
PACK: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_REPLACE_SURROGATES
)

# Each ext inside an ext stacks another parser on the C stack, with up to 1,023 lists in it: 20 of them overflow
# 8 MiB and kill the process. Deeper values take the slow path, which keeps its depth on the Python stack.
FAST_DEPTH: Final = 4

# What the slow path nests, in all: about 500 Python frames of the default 1,000.
SLOW_DEPTH: Final = 100

# Splits a value into what its ext holds: a list to pack, or raw bytes. With code 0, what stands in for the value.
Explode: TypeAlias = Callable[[Any], Any]
Entry: TypeAlias = tuple[int, Explode]
EntryFor: TypeAlias = Callable[[type], Entry]


# `type` as the type checker can follow it.
type_of: Final[Callable[[object], type[Any]]] = type


class Refused(Exception):
    """A value or a stored type is not acceptable; the message is the second half of a sentence."""
