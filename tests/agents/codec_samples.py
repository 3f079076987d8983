"""The state classes and values the tests of the codec share; at module level, where stored types are found."""

import enum
from collections import deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from typing import Any, NamedTuple

import ormsgpack
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr
from pydantic import dataclasses as pydantic_dataclasses

from outlast.agents.codec import Codec

codec = Codec()


def round_trip(value, using=codec):
    return using.decode(using.encode(value, path="state"), path="state")


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("blue", 2)
    LISTED = ["unhashable"]  # noqa: RUF012 - it is a member


class Level(enum.IntEnum):
    LOW = 1


class Mood(enum.StrEnum):
    CALM = "calm"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Eager(enum.Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value):
        raise AssertionError("a class's _missing_ ran")


class Point(NamedTuple):
    x: int
    y: int = 0


Pair = namedtuple("Pair", ["left", "right"])  # noqa: PYI024 - the untyped kind is in use too


@dataclass
class Plain:
    a: int
    b: list = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strict:
    a: int
    derived: int = field(init=False, default=0)

    def __post_init__(self):
        object.__setattr__(self, "derived", self.a * 2)


@dataclass
class Remembering:
    a: int

    def __post_init__(self):
        self.seen = [self.a]

    @cached_property
    def costly(self):
        return object()


@pydantic_dataclasses.dataclass
class Validated:
    a: int


class Inner(BaseModel):
    n: int = 0


class Outer(BaseModel):
    model_config = ConfigDict(extra="allow")

    inner: Inner
    many: list[Inner] = Field(default_factory=list)
    secret: SecretStr | None = None
    aliased: int = Field(default=1, alias="theAlias")
    _count: int = PrivateAttr(default=7)
    _unset: int = PrivateAttr()

    @cached_property
    def costly(self):
        return object()


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    value: Any = None
    _client: Any = PrivateAttr(default=None)


class Fancy(str):
    __slots__ = ()


class FancyDict(dict):
    pass


def ext(code, payload):
    return ormsgpack.packb(ormsgpack.Ext(code, payload if isinstance(payload, bytes) else ormsgpack.packb(payload)))


keys = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.binary(max_size=3), st.dates())
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1, 2**70, -(2**70)]),
    st.floats(),
    st.text(max_size=20),
    st.just("nul \x00 inside"),
    st.binary(max_size=20),
    st.binary(max_size=20).map(bytearray),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
)
plain = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(deque),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=12,
)
