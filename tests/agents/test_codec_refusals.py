"""What the codec refuses: values it could not read back, types that are not allowed, bytes that are damaged."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import types
from collections import OrderedDict, defaultdict, deque
from dataclasses import make_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from codec_samples import (
    Colour,
    Eager,
    Fancy,
    FancyDict,
    Holder,
    Inner,
    Outer,
    Plain,
    Point,
    Right,
    Strict,
    codec,
    ext,
    round_trip,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core import messages as lc
from langchain_core.documents import Document
from langgraph.types import Command, Send
from pydantic import BaseModel, SecretStr

from outlast.agents import codec_format as fmt
from outlast.agents.codec import Codec
from outlast.agents.codec_types import BUILTIN, find
from outlast.errors import StateNotSerializable, StateTooLarge, StateUnreadable


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
        assert "codec_samples.Plain" in str(caught.value)

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
            codec.decode(ext(fmt.DATACLASS, ["codec_samples:Document", {"page_content": "x"}]), path="state")

    def test_a_type_stored_as_another_kind_is_refused(self):
        with pytest.raises(StateUnreadable, match="kind"):
            codec.decode(ext(fmt.MODEL, ["codec_samples:Plain", {"a": 1, "b": []}, 0]), path="state")

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
            codec.decode(ext(fmt.ENUM, ["codec_samples:Eager", 2]), path="state")

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
        with contextlib.suppress(StateUnreadable):
            codec.decode(bytes(stored), path="state")

    @given(st.binary(max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_random_bytes_are_read_or_refused(self, data):
        with contextlib.suppress(StateUnreadable):
            codec.decode(data, path="state")

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
        data = ext(fmt.MODEL, ["codec_samples:Inner", {"n": "hunter2", "gone": 1}, 0])
        with pytest.raises(StateUnreadable) as caught:
            codec.decode(data, path="state")
        assert "hunter2" not in str(caught.value)
