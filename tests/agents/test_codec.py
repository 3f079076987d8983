"""What the codec promises: exact round trips, refusals that name their place, and bytes that can do no harm."""

import enum
import ipaddress
import math
import os
import re
import subprocess
import sys
import threading
import types
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core import messages as lc
from langchain_core.documents import Document
from langchain_core.runnables.utils import AddableDict
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.store.base import Item
from langgraph.types import Command, Interrupt, Overwrite, Send, TimeoutPolicy
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, PrivateAttr, SecretBytes, SecretStr, create_model
from pydantic import dataclasses as pydantic_dataclasses

from outlast.agents import codec_format as fmt
from outlast.agents.codec import Codec
from outlast.agents.codec_types import BUILTIN, find
from outlast.errors import StateNotSerializable, StateTooLarge, StateUnreadable

codec = Codec()


def round_trip(value, using=codec):
    return using.decode(using.encode(value, path="state"), path="state")


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("blue", 2)
    LISTED = ["unhashable"]


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


Pair = namedtuple("Pair", ["left", "right"])


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
    many: list[Inner] = []
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


def exactly_equal(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and str(one) == str(other))
    if isinstance(one, dict):
        return list(map(str, one)) == list(map(str, other)) and all(
            exactly_equal(a, b) for a, b in zip(flattened(one), flattened(other), strict=True)
        )
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(exactly_equal(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def flattened(mapping):
    return [part for item in mapping.items() for part in item]


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


class TestRoundTrips:
    @given(plain)
    @settings(max_examples=200, deadline=None)
    def test_plain_data_comes_back_with_its_exact_types(self, value):
        assert exactly_equal(round_trip(value), value)

    @pytest.mark.parametrize(
        "value",
        [
            set(),
            {1, "a", (2, 3)},
            frozenset({1, frozenset({2})}),
            deque([1, 2], maxlen=5),
            OrderedDict(b=1, a=2),
            Counter("abca"),
            {Level.LOW: 1, Mood.CALM: 2, UUID(int=1): 3, (1, (2,)): 4, "s": 5},
            {Fancy and "plain": {1: {2: {3: bytearray(b"deep")}}}},
            datetime(2024, 2, 29, 23, 59, 59, 999999),
            datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Prague"), fold=1),
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-3), "X")),
            date(9999, 12, 31),
            time(1, 2, 3, 4, tzinfo=UTC, fold=1),
            timedelta(days=-999999999),
            timedelta.max,
            UTC,
            timezone(timedelta(minutes=90)),
            ZoneInfo("America/Argentina/Buenos_Aires"),
            UUID(int=2**127),
            Decimal("-1.500"),
            Decimal("1E+400"),
            PosixPath("/a/b"),
            PosixPath(os.fsdecode(b"/a/\xff")),
            PurePosixPath("a"),
            PureWindowsPath("C:/x"),
            re.compile(r"a+", re.IGNORECASE | re.MULTILINE),
            re.compile(rb"\x00"),
            ipaddress.ip_address("1.2.3.4"),
            ipaddress.ip_interface("1.2.3.4/24"),
            ipaddress.ip_network("1.2.3.0/24"),
            ipaddress.ip_address("fe80::1%eth0"),
            ipaddress.ip_interface("::1/64"),
            ipaddress.ip_network("::/8"),
            Colour.RED,
            Colour.BLUE,
            Colour.LISTED,
            Level.LOW,
            Mood.CALM,
            Right.READ,
            Right.READ | Right.WRITE,
            Right(0),
            re.IGNORECASE | re.DOTALL,
            Point(1, y=2),
            Pair([1], None),
            Plain(1, [2]),
            Strict(a=3),
            Validated(a=1),
            SecretStr("s"),
            SecretBytes(b"s"),
            HttpUrl("https://example.org/a?b=c"),
            lc.HumanMessage("hi", id="1", name="n"),
            lc.AIMessage(
                "",
                tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1", "type": "tool_call"}],
                usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            ),
            lc.SystemMessage("s"),
            lc.ToolMessage("t", tool_call_id="1", artifact={"raw": b"\x00"}),
            lc.FunctionMessage("f", name="f"),
            lc.ChatMessage("c", role="critic"),
            lc.RemoveMessage(id="1"),
            lc.HumanMessageChunk("c"),
            lc.AIMessageChunk("c"),
            lc.SystemMessageChunk("c"),
            lc.ToolMessageChunk("c", tool_call_id="1"),
            lc.FunctionMessageChunk("c", name="f"),
            lc.ChatMessageChunk("c", role="r"),
            Document("text", id="1", metadata={"page": 1}),
            lc.HumanMessage("x").text,
            AddableDict(a=1),
            Send("node", {"a": (1,)}),
            Send("node", 1, timeout=3),
            Command(update={"a": 1}, goto=[Send("n", None)], resume={"i": 1}, graph=Command.PARENT),
            Command(goto="there"),
            Interrupt(value={"ask": 1}, id="abc"),
            Overwrite(value=[1]),
            TimeoutPolicy(run_timeout=1.0),
            _DeltaSnapshot([lc.HumanMessage("x")]),
            Item(
                value={"a": 1},
                key="k",
                namespace=("a", "b"),
                created_at=datetime.now(UTC),
                updated_at=datetime.now(UTC),
            ),
        ],
        ids=lambda value: f"{type(value).__name__}",
    )
    def test_every_supported_type_comes_back_equal_and_of_its_type(self, value):
        for restored in (round_trip(value), round_trip([{"k": value}])[0]["k"]):
            assert type(restored) is type(value)
            assert restored == value
            assert repr(restored) == repr(value) or isinstance(value, set | frozenset)

    def test_a_defaultdict_keeps_its_factory(self):
        restored = round_trip(defaultdict(list, {1: [2]}))
        assert restored == {1: [2]}
        assert restored["new"] == []

    def test_a_deque_keeps_its_maxlen(self):
        assert round_trip(deque([1], maxlen=3)).maxlen == 3

    def test_lone_surrogates_become_question_marks(self):
        assert round_trip(["a\ud800", {"k\udfff": "\ud800"}, {1: "\ud800"}]) == ["a?", {"k?": "?"}, {1: "?"}]

    def test_an_exception_becomes_its_repr(self):
        assert round_trip({"e": ValueError("no")}) == {"e": "ValueError('no')"}

    def test_a_model_keeps_extra_fields_private_attributes_and_the_fields_that_were_set(self):
        model = Outer(inner=Inner(n=1), many=[Inner()], secret=SecretStr("x"), theAlias=5, beside=[1])
        model._count = 8
        restored = round_trip(model)
        assert restored == model
        assert restored.model_fields_set == model.model_fields_set
        assert restored.inner.model_fields_set == {"n"}
        assert restored.many[0].model_fields_set == set()
        assert restored.model_extra == {"beside": [1]}
        assert restored._count == 8
        restored.later = 1
        assert restored.model_extra == {"beside": [1], "later": 1}

    def test_a_model_keeps_what_its_validation_would_change(self):
        model = Inner(n=1)
        model.__dict__["n"] = "not a number"
        assert round_trip(model).n == "not a number"

    def test_a_cached_property_is_not_stored(self):
        model, instance = Outer(inner=Inner()), Remembering(1)
        assert model.costly is model.costly
        assert instance.costly is instance.costly
        assert "costly" not in vars(round_trip(model))
        assert "costly" not in vars(round_trip(instance))

    def test_a_dataclass_keeps_attributes_set_beside_its_fields(self):
        instance = Remembering(1)
        instance.seen.append(2)
        assert round_trip(instance).seen == [1, 2]

    def test_a_restored_model_shares_nothing_with_another(self):
        data = codec.encode(Inner(n=1), path="state")
        one, other = codec.decode(data, path="state"), codec.decode(data, path="state")
        one.n = 2
        one.__pydantic_fields_set__.add("x")
        assert other.n == 1
        assert other.model_fields_set == {"n"}

    def test_numpy_values_round_trip_when_the_program_uses_numpy(self):
        numpy = pytest.importorskip("numpy")
        for array in (numpy.arange(6).reshape(2, 3), numpy.asfortranarray(numpy.ones((2, 3))), numpy.zeros((0, 2))):
            restored = round_trip(array)
            assert restored.dtype == array.dtype
            assert restored.flags.f_contiguous == array.flags.f_contiguous
            assert (restored == array).all()
            restored += 1
        assert type(round_trip(numpy.float32(1.5))) is numpy.float32
        with pytest.raises(StateNotSerializable, match="dtype"):
            codec.encode(numpy.array([object()]), path="state")

    def test_many_threads_share_one_codec(self):
        fresh, failures = Codec(), []
        values = [lc.HumanMessage("x"), Plain(1), Point(1), Colour.RED, Outer(inner=Inner())]

        def work():
            failures.extend(value for _ in range(50) for value in values if round_trip(value, fresh) != value)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


class TestRefusedWhenWritten:
    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ({"a": [1, {"b": object()}]}, "state.a[1].b"),
            (
                [0, 1, 2, lc.HumanMessage("x", additional_kwargs={"client": object()})],
                "state[3].additional_kwargs.client",
            ),
            ((1, (2, threading.Lock())), "state[1][1]"),
            ({"a b": {7: object()}}, "state['a b'][7]"),
            (Plain(1, [object()]), "state.b[0]"),
            (Point(1, object()), "state.y"),
            (deque([object()]), "state[0]"),
            (OrderedDict(a=object()), "state.a"),
            (Send("n", {"x": object()}), "state.arg.x"),
            (Outer(inner=Inner(), beside=object()), "state.beside"),
        ],
    )
    def test_the_error_names_the_exact_place(self, value, path):
        with pytest.raises(StateNotSerializable) as caught:
            codec.encode(value, path="state")
        assert caught.value.path == path
        assert path in str(caught.value)

    def test_the_error_names_a_private_attribute(self):
        holder = Holder()
        holder._client = object()
        with pytest.raises(StateNotSerializable) as caught:
            codec.encode([holder], path="state")
        assert caught.value.path == "state[0]._client"

    @pytest.mark.parametrize("value", [Fancy("x"), FancyDict(a=1), type("L", (list,), {})(), type("I", (int,), {})(3)])
    def test_an_unknown_subclass_of_a_basic_type_is_refused(self, value):
        for nested in (value, [value]):
            with pytest.raises(StateNotSerializable, match="subclass of"):
                codec.encode(nested, path="state")

    @pytest.mark.parametrize("value", [print, int, object(), memoryview(b"x"), {"f": lambda: 1}, os, iter([]), 1j])
    def test_what_is_no_data_is_refused(self, value):
        with pytest.raises(StateNotSerializable):
            codec.encode([value], path="state")

    def test_a_local_class_is_refused_with_the_remedy(self):
        class Local(BaseModel):
            a: int = 1

        with pytest.raises(StateNotSerializable, match="move the class to module level"):
            codec.encode(Local(), path="state")

    def test_a_class_its_name_does_not_lead_to_is_refused(self):
        nameless = make_dataclass("Nameless", ["a"])
        nameless.__module__ = __name__
        with pytest.raises(StateNotSerializable, match="leads to something else"):
            codec.encode(nameless(1), path="state")

    def test_a_model_without_one_of_its_fields_is_refused(self):
        with pytest.raises(StateNotSerializable, match="without its field 'inner'"):
            codec.encode(Outer.model_construct(), path="state")

    def test_a_defaultdict_with_any_other_factory_is_refused(self):
        with pytest.raises(StateNotSerializable, match="factory"):
            codec.encode(defaultdict(lambda: 1), path="state")

    def test_keys_that_would_collide_are_refused(self):
        with pytest.raises(StateNotSerializable, match="rename"):
            codec.encode({"\ud800": 1, "?": 2}, path="state")

    @pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), lambda v: {1: v}, Holder])
    def test_too_deep_nesting_is_refused_with_a_path(self, wrap):
        value = None
        for _ in range(10**4):
            value = wrap(value) if wrap is not Holder else Holder.model_construct(value=value)
        with pytest.raises(StateNotSerializable, match="levels deep") as caught:
            codec.encode({"deep": value}, path="state")
        assert caught.value.path.startswith("state.deep")
        assert len(caught.value.path) < 300

    def test_values_that_contain_themselves_are_refused(self):
        looped: list[Any] = []
        looped.append(looped)
        knot: dict[str, Any] = {}
        knot["t"] = (knot, [knot])
        holder = Holder()
        holder.value = holder
        for value in (looped, knot, holder):
            with pytest.raises(StateNotSerializable, match="contains itself"):
                codec.encode(value, path="state")
            with pytest.raises(StateNotSerializable, match="contains itself"):
                codec.fingerprint(value)

    def test_what_was_written_deep_can_be_read(self):
        for wrap in (lambda v: (v,), lambda v: Plain(1, v), lambda v: {1: v}):
            value = "end"
            for _ in range(45):
                value = wrap(value)
            assert round_trip(value) == value

    def test_a_value_over_the_cap_is_refused(self):
        small = Codec(max_value_bytes=100)
        assert small.encode("x" * 98, path="state")
        with pytest.raises(StateTooLarge) as caught:
            small.encode("x" * 99, path="state.big")
        assert (caught.value.path, caught.value.size_bytes, caught.value.limit_bytes) == ("state.big", 101, 100)


def ext(code, payload):
    return ormsgpack.packb(ormsgpack.Ext(code, payload if isinstance(payload, bytes) else ormsgpack.packb(payload)))


class TestAllowList:
    def test_given_types_turn_the_default_off(self):
        data = codec.encode(Plain(1), path="state")
        strict = Codec(allowed_types=[Inner])
        assert round_trip(Inner(n=1), strict) == Inner(n=1)
        assert round_trip(lc.HumanMessage("x"), strict) == lc.HumanMessage("x")
        with pytest.raises(StateNotSerializable, match="allowed_types"):
            strict.encode(Plain(1), path="state")
        with pytest.raises(StateUnreadable, match="allowed_types") as caught:
            strict.decode(data, path="state.plan")
        assert caught.value.path == "state.plan"
        assert f"{__name__}.Plain" in str(caught.value)

    def test_allowing_adds_types_and_leaves_the_codec_as_it_was(self):
        strict = Codec(allowed_types=[], max_value_bytes=50)
        wider = strict.allowing([Point, dict[str, int], str])
        assert round_trip(Point(1), wider) == Point(1)
        with pytest.raises(StateNotSerializable):
            strict.encode(Point(1), path="state")
        with pytest.raises(StateTooLarge):
            wider.encode("x" * 60, path="state")
        assert round_trip(Plain(1), codec.allowing([])) == Plain(1)

    def test_a_local_class_can_be_allowed_by_hand(self):
        class Local(BaseModel):
            a: int = 1

        assert round_trip(Local(a=2), codec.allowing([Local])) == Local(a=2)

    @pytest.mark.parametrize(
        "name",
        ["subprocess:getoutput", "os:system", "builtins:eval", "subprocess:Popen", "builtins:dict", "io:BytesIO"],
    )
    @pytest.mark.parametrize("code", [fmt.MODEL, fmt.DATACLASS, fmt.NAMEDTUPLE, fmt.ENUM, fmt.STR_SUBCLASS, 0, 99])
    def test_bytes_that_name_a_callable_call_nothing(self, name, code, tmp_path, monkeypatch):
        called = []
        monkeypatch.setattr(subprocess, "getoutput", called.append)
        monkeypatch.setattr(os, "system", called.append)
        target = tmp_path / "touched"
        for payload in (
            [name, f"touch {target}"],
            [name, {"command": f"touch {target}"}, 0],
            [name, [f"touch {target}"]],
        ):
            with pytest.raises(StateUnreadable):
                codec.decode(ext(code, payload), path="state")
        assert called == []
        assert not target.exists()

    def test_reading_never_imports_a_module(self):
        assert "this" not in sys.modules
        with pytest.raises(StateUnreadable, match="import the module"):
            codec.decode(ext(fmt.DATACLASS, ["this:Zen", {}]), path="state")
        assert "this" not in sys.modules

    def test_looking_a_name_up_runs_no_module_code(self, monkeypatch):
        module = types.ModuleType("lazy_module")

        def explode(name):
            raise AssertionError(f"__getattr__({name!r}) ran")

        module.__getattr__ = explode
        monkeypatch.setitem(sys.modules, "lazy_module", module)
        assert find("lazy_module:Thing") is None

    def test_a_name_that_leads_to_a_class_of_another_module_is_refused(self):
        with pytest.raises(StateUnreadable):
            codec.decode(ext(fmt.DATACLASS, [f"{__name__}:Document", {"page_content": "x"}]), path="state")

    def test_a_type_stored_as_another_kind_is_refused(self):
        with pytest.raises(StateUnreadable, match="kind"):
            codec.decode(ext(fmt.MODEL, [f"{__name__}:Plain", {"a": 1, "b": []}, 0]), path="state")

    def test_a_builtin_type_is_imported_when_needed(self):
        script = (
            "import sys\n"
            "from outlast.agents.codec import Codec\n"
            "assert 'langchain_core.documents' not in sys.modules\n"
            f"document = Codec().decode({codec.encode(Document('text'), path='state')!r}, path='state')\n"
            "print(type(document).__name__, document.page_content, 'numpy' in sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == ("Document text False", "")

    def test_every_builtin_type_exists(self):
        for ref in BUILTIN:
            module, _, name = ref.partition(":")
            assert isinstance(getattr(__import__(module, fromlist=[name]), name), type)

    def test_an_enum_of_an_unknown_value_runs_no_missing_hook(self):
        assert round_trip(Eager.ONE) is Eager.ONE
        with pytest.raises(StateUnreadable, match="no member"):
            codec.decode(ext(fmt.ENUM, [f"{__name__}:Eager", 2]), path="state")

    def test_a_time_zone_may_not_name_a_file(self):
        for name in (b"../../etc/passwd", b"/etc/passwd", b"a.b"):
            with pytest.raises(StateUnreadable):
                codec.decode(ext(fmt.TEXT, b"\x01" + name), path="state")


SAMPLES = [
    lc.AIMessage("text", tool_calls=[{"name": "f", "args": {"x": (1,)}, "id": "1", "type": "tool_call"}]),
    [Plain(1, [2.5]), Strict(a=1), Point(1), Colour.BLUE, Right.READ | Right.WRITE, Outer(inner=Inner(), more=1)],
    {"when": datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")), "t": time(1), "d": date(2024, 1, 1), "s": {1, (2,)}},
    {1: 2**80, "p": re.compile("a"), "u": UUID(int=1), "dec": Decimal("1.5"), "b": bytearray(b"x"), "q": deque([1], 2)},
    Command(update={"a": [Send("n", SecretStr("x"))]}),
]


class TestDamagedBytes:
    @given(st.data())
    @settings(max_examples=400, deadline=None)
    def test_changed_bytes_are_read_or_refused_but_never_crash(self, data):
        stored = bytearray(codec.encode(data.draw(st.sampled_from(SAMPLES)), path="state"))
        for _ in range(data.draw(st.integers(1, 3))):
            stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
        try:
            codec.decode(bytes(stored), path="state")
        except StateUnreadable as error:
            assert error.path == "state"

    @given(st.binary(max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_random_bytes_are_read_or_refused(self, data):
        try:
            codec.decode(data, path="state")
        except StateUnreadable:
            pass

    @pytest.mark.parametrize("sample", SAMPLES)
    def test_a_part_of_a_value_is_refused(self, sample):
        stored = codec.encode(sample, path="state")
        for length in range(len(stored)):
            with pytest.raises(StateUnreadable):
                codec.decode(stored[:length], path="state")

    def test_a_second_value_after_the_first_is_refused(self):
        with pytest.raises(StateUnreadable):
            codec.decode(codec.encode([1], path="state") + b"\x01", path="state")

    def test_a_later_format_says_to_upgrade(self):
        with pytest.raises(StateUnreadable, match="upgrade"):
            codec.decode(b"\xc1\x02abc", path="state")
        with pytest.raises(StateUnreadable, match="later version"):
            codec.decode(ext(100, b""), path="state")

    @pytest.mark.parametrize("head", [b"\x91", b"\x81\xa1k"])
    def test_hostile_nesting_does_not_overflow_the_stack(self, head):
        data = b"\x90"
        for _ in range(200):
            data = ext(fmt.TUPLE, head * 1000 + data)
        script = (
            "import sys\nfrom outlast.agents.codec import Codec\nfrom outlast.errors import StateUnreadable\n"
            "try: Codec().decode(sys.stdin.buffer.read(), path='state')\n"
            "except StateUnreadable: print('refused')\n"
        )
        done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=False)
        assert (done.stdout, done.returncode) == (b"refused\n", 0)

    def test_a_secret_in_a_rejected_model_is_not_in_the_message(self):
        data = ext(fmt.MODEL, [f"{__name__}:Inner", {"n": "hunter2", "gone": 1}, 0])
        with pytest.raises(StateUnreadable) as caught:
            codec.decode(data, path="state")
        assert "hunter2" not in str(caught.value)


@pytest.fixture
def module(monkeypatch):
    """A module whose classes a test defines, and defines again as a later release would."""
    made = types.ModuleType("changing_module")
    monkeypatch.setitem(sys.modules, "changing_module", made)

    def define(cls):
        cls.__module__, cls.__qualname__ = "changing_module", cls.__name__
        setattr(made, cls.__name__, cls)
        return cls

    return define


class TestChangedClasses:
    def stored(self, value):
        return codec.encode(value, path="state")

    def read(self, data):
        return codec.decode(data, path="state")

    def test_a_new_model_field_gets_its_default_and_the_rest_is_kept(self, module):
        data = self.stored(module(create_model("Plan", a=(int, 1), b=(int, 2)))(a=5))
        later = module(create_model("Plan", a=(int, 1), c=(str, "new"), b=(int, 2)))
        plan = self.read(data)
        assert type(plan) is later
        assert (plan.a, plan.b, plan.c) == (5, 2, "new")
        assert plan.model_fields_set == {"a"}

    def test_a_new_required_model_field_is_unreadable(self, module):
        data = self.stored(module(create_model("Plan", a=(int, 1)))())
        module(create_model("Plan", a=(int, 1), b=(int, ...)))
        with pytest.raises(StateUnreadable, match="changing_module.Plan has changed"):
            self.read(data)

    def test_a_removed_model_field_follows_the_policy_of_the_class(self, module):
        data = self.stored(module(create_model("Plan", a=(int, 1), b=(int, 2)))())
        module(create_model("Plan", a=(int, 1)))
        assert self.read(data).model_dump() == {"a": 1}
        module(create_model("Plan", __config__=ConfigDict(extra="forbid"), a=(int, 1)))
        with pytest.raises(StateUnreadable):
            self.read(data)

    def test_a_changed_model_with_aliases_is_read_by_field_name(self, module):
        data = self.stored(module(create_model("Plan", a=(int, Field(alias="theA"))))(theA=5))
        module(create_model("Plan", a=(int, Field(alias="theA")), b=(int, 2)))
        assert self.read(data).a == 5

    def test_a_new_dataclass_field_gets_its_default(self, module):
        data = self.stored(module(make_dataclass("Plan", [("a", int)]))(5))
        later = module(make_dataclass("Plan", [("a", int), ("b", int, 2)]))
        assert self.read(data) == later(5, 2)

    def test_a_removed_dataclass_field_is_unreadable(self, module):
        data = self.stored(module(make_dataclass("Plan", ["a", "b"]))(1, 2))
        module(make_dataclass("Plan", ["a"]))
        with pytest.raises(StateUnreadable, match="changing_module.Plan has changed"):
            self.read(data)

    def test_a_namedtuple_may_gain_fields_but_not_lose_them(self, module):
        data = self.stored(module(namedtuple("Plan", "a b"))(1, 2))
        module(namedtuple("Plan", "a b c", defaults=[3]))
        assert self.read(data) == (1, 2, 3)
        module(namedtuple("Plan", "a"))
        with pytest.raises(StateUnreadable, match="changing_module.Plan has changed"):
            self.read(data)

    def test_a_removed_enum_member_is_unreadable(self, module):
        data = self.stored(module(enum.Enum("Mode", {"ON": 1, "OFF": 2})).OFF)
        module(enum.Enum("Mode", {"ON": 1}))
        with pytest.raises(StateUnreadable, match="no member"):
            self.read(data)

    def test_a_renamed_class_is_unreadable_and_says_which(self, module):
        data = self.stored(module(make_dataclass("Plan", ["a"]))(1))
        del sys.modules["changing_module"].Plan
        with pytest.raises(StateUnreadable, match=re.escape("changing_module.Plan")) as caught:
            self.read(data)
        assert "import the module" in str(caught.value)

    def test_a_reloaded_class_is_the_one_restored(self, module):
        data = self.stored(module(make_dataclass("Plan", ["a"]))(1))
        assert self.read(data).a == 1
        later = module(make_dataclass("Plan", ["a"]))
        assert type(self.read(data)) is later


class TestFingerprint:
    def test_it_is_sixteen_bytes(self):
        assert len(codec.fingerprint(None)) == 16

    def test_equal_content_has_an_equal_fingerprint(self):
        for make in (
            lambda: lc.AIMessage("x", id="1", additional_kwargs={"a": [1]}),
            lambda: {"a": [Plain(1), Point(2), Outer(inner=Inner(n=1), more=2)], 1: {2: lc.HumanMessage("x")}},
            lambda: ((datetime(2024, 1, 1, tzinfo=UTC), Decimal(1)), [Colour.RED], bytearray(b"x")),
        ):
            assert codec.fingerprint(make()) == codec.fingerprint(make()) == codec.fingerprint(round_trip(make()))

    def test_the_order_in_which_a_set_was_filled_does_not_matter(self):
        one, other = {0, 8, 16, "a"}, {"a", 16, 8, 0}
        for wrap in (lambda s: s, lambda s: {1: s}, lambda s: [frozenset({frozenset(s)})]):
            assert codec.fingerprint(wrap(one)) == codec.fingerprint(wrap(other))

    def test_which_fields_were_set_explicitly_does_not_matter(self):
        for wrap in (lambda m: m, lambda m: {1: m}):
            assert codec.fingerprint(wrap(Inner())) == codec.fingerprint(wrap(Inner(n=0)))

    def test_a_computed_property_does_not_matter(self):
        model = Outer(inner=Inner())
        before = codec.fingerprint(model)
        assert model.costly is not None
        assert codec.fingerprint(model) == before

    def test_a_change_deep_inside_is_seen(self):
        holder = Holder(value=[{"k": (Plain(1, [lc.HumanMessage("x")]),)}])
        seen = {codec.fingerprint(holder)}
        message = holder.value[0]["k"][0].b[0]
        for change in (
            lambda: message.additional_kwargs.update(a=1),
            lambda: setattr(message, "content", "y"),
            lambda: message.response_metadata.setdefault("l", []).append(1),
            lambda: setattr(holder, "_client", {"private": 1}),
            lambda: setattr(message, "beside", "extra"),
            lambda: holder.value[0]["k"][0].b.append(None),
        ):
            change()
            seen.add(codec.fingerprint(holder))
        assert len(seen) == 7

    def test_values_of_different_types_differ(self):
        values = [
            None, False, True, 0, 1, 1.0, "1", b"1", bytearray(b"1"), [1], (1,), {1}, frozenset({1}), deque([1]),
            {"a": 1}, OrderedDict(a=1), Counter(a=1), AddableDict(a=1), {1: 1}, {"1": 1}, {True: 1}, 2**70, Decimal(1),
            Level.LOW, Point(1, 0), Pair(1, 0), Plain(1, []), Inner(), Holder(), lc.HumanMessage("1"),
            lc.HumanMessageChunk("1"), lc.SystemMessage("1"), [], (), set(), {}, "", b"", bytearray(),
            PosixPath("1"), PurePosixPath("1"), SecretStr("1"), lc.HumanMessage("1").text, [[1]], [(1,)],
        ]  # fmt: skip
        assert len({codec.fingerprint(value) for value in values}) == len(values)

    @given(plain, plain)
    @settings(max_examples=150, deadline=None)
    def test_fingerprints_are_equal_exactly_when_the_stored_bytes_are(self, one, other):
        same = codec.encode(one, path="a") == codec.encode(other, path="a")
        assert (codec.fingerprint(one) == codec.fingerprint(other)) == same

    def test_what_cannot_be_stored_has_none(self):
        with pytest.raises(StateNotSerializable):
            codec.fingerprint([object()])
