"""What the codec promises of values: they come back exactly, and a fingerprint sees their content."""

import ipaddress
import math
import os
import re
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from codec_samples import (
    Colour,
    Holder,
    Inner,
    Level,
    Mood,
    Outer,
    Pair,
    Plain,
    Point,
    Remembering,
    Right,
    Strict,
    Validated,
    codec,
    plain,
    round_trip,
)
from hypothesis import given, settings
from langchain_core import messages as lc
from langchain_core.documents import Document
from langchain_core.runnables.utils import AddableDict
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.store.base import Item
from langgraph.types import Command, Interrupt, Overwrite, Send, TimeoutPolicy
from pydantic import HttpUrl, SecretBytes, SecretStr

from outlast.agents.codec import Codec
from outlast.errors import StateNotSerializable


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
            {"plain": {1: {2: {3: bytearray(b"deep")}}}},
            datetime(2024, 2, 29, 23, 59, 59, 999999),  # noqa: DTZ001 - naive ones must round trip too
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
