"""What may start, and what is refused with the name of the field."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.admission import payload
from outlast.admission.agents import known_agent
from outlast.admission.idempotency import Idempotency
from outlast.admission.names import check_name
from outlast.admission.payload import PayloadLimits, check_value, storable_payload
from outlast.admission.request import RunRequest
from outlast.admission.threads import usable_thread
from outlast.errors import InvalidInput

readable = st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffd")
LIMITS = PayloadLimits(max_bytes=10_000, max_depth=8)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


class TestAgents:
    def test_the_only_agent_may_be_left_out(self):
        assert known_agent(("one",))(RunRequest(input=1)).agent == "one"

    @pytest.mark.parametrize(
        ("names", "wanted", "told"),
        [
            (("one", "two"), None, "this project has 'one', 'two'"),
            ((), None, "this project has none"),
            (("documents", "support"), "document", "did you mean 'documents'?"),
            (("one",), "x" * 100_000, "there is no agent"),
            (("one",), "", "there is no agent ''"),
        ],
    )
    def test_a_wrong_one_is_told_what_there_is(self, names, wanted, told):
        with pytest.raises(InvalidInput) as refused:
            known_agent(names)(RunRequest(input=1, agent=wanted))
        assert refused.value.field == "agent"
        assert told in str(refused.value)
        assert len(str(refused.value)) < 300


class TestThreads:
    def test_an_id_is_made_when_there_is_none(self):
        first, second = usable_thread(RunRequest(input=1)), usable_thread(RunRequest(input=1))
        assert first.thread_id
        assert first.thread_id < (second.thread_id or ""), "UUIDv7: in the order of their making"

    @given(
        st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffd"), min_size=1, max_size=255)
    )
    def test_any_readable_text_is_a_name(self, name):
        assert check_name(name, field="thread_id") == name

    @pytest.mark.parametrize("name", ["", "x" * 256, "a\0", "\n", "\x7f", "\x85", "\ud800", "half \ufffd"])
    def test_what_is_no_name(self, name):
        with pytest.raises(InvalidInput) as refused:
            usable_thread(RunRequest(input=1, thread_id=name))
        assert refused.value.field == "thread_id"
        assert str(refused.value).isprintable()


class TestPayload:
    @given(
        st.recursive(
            st.text() | st.sampled_from(['"', "[", "]", "\\", '\\"[', "{"]) | st.integers(-5, 5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=40,
        )
    )
    def test_it_is_refused_exactly_when_it_is_too_deep(self, value):
        limits = PayloadLimits(max_bytes=10_000_000, max_depth=3)
        if depth_of(value) <= 3:
            check_value(value, limits, field="input")
        else:
            with pytest.raises(InvalidInput, match=r"(?s)^input.* is nested deeper than 3 levels$"):
                check_value(value, limits, field="input")

    def test_the_place_is_named(self):
        with pytest.raises(InvalidInput, match=r"^input\.a\[1\]\.b\[0\]") as refused:
            check_value({"a": [0, {"b": nested(9)}]}, LIMITS, field="input")
        assert refused.value.field == "input"

    @pytest.mark.parametrize("depth", [9, 254, 300, 5000])
    def test_no_depth_is_too_much_to_refuse(self, depth):
        value: Any = []
        for _ in range(depth):
            value = [value]
        with pytest.raises(InvalidInput, match="deeper than 8"):
            check_value(value, LIMITS, field="input")

    def test_a_million_containers_cost_no_loop_over_them(self, monkeypatch):
        monkeypatch.delattr(payload, "_containers")
        limits = PayloadLimits(max_bytes=8_000_000, max_depth=64)
        check_value([[]] * 1_000_000, limits, field="input")

    def test_a_long_path_is_cut(self):
        with pytest.raises(InvalidInput) as refused:
            check_value({"k" * 5000: nested(9)}, LIMITS, field="input")
        assert len(str(refused.value)) < 300

    @pytest.mark.parametrize("value", ["x" * 10_000, ["x"] * 4000])
    def test_too_large(self, value):
        with pytest.raises(InvalidInput, match="at most 10,000"):
            check_value(value, LIMITS, field="input")

    @pytest.mark.parametrize("value", ["\ud800", {"a": object()}, {1: 2}, 2**70])
    def test_what_is_not_json_is_refused_wherever_it_comes_from(self, value):
        with pytest.raises(InvalidInput, match="input is not JSON"):
            check_value(value, LIMITS, field="input")

    @pytest.mark.parametrize("field", ["input", "config", "metadata"])
    def test_every_value_of_a_request_is_checked(self, field):
        request = RunRequest(**{"input": 1, field: {"a": nested(9)}})
        with pytest.raises(InvalidInput) as refused:
            storable_payload(LIMITS)(request)
        assert refused.value.field == field


class TestIdempotency:
    def test_the_body_is_what_it_was(self):
        one, same, other = (Idempotency.of("/r", "k", body) for body in (b"1", b"1", b"2"))
        assert one == same
        assert one != other

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\0b"])
    def test_a_key_is_a_name(self, key):
        with pytest.raises(InvalidInput) as refused:
            Idempotency.of("/r", key, b"")
        assert refused.value.field == "Idempotency-Key"
