"""Places in outputs, and the texts of outputs."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel, ValidationError

from outlast.validation.answers import answer, spoken
from outlast.validation.checks.required import RequiredOptions
from outlast.validation.paths import found_at, looked_up


class Buyer(BaseModel):
    name: str


@dataclass
class Contract:
    buyer: Buyer
    dates: list[dict[str, str]]


CONTRACT = Contract(Buyer(name="Ann"), [{"day": "a"}, {}, {"day": "c"}])


def places(output, path):
    return [(found.path, found.value if found.there else None) for found in found_at(output, path)]


def test_objects_and_json_are_walked_alike():
    assert places(CONTRACT, "buyer.name") == [("buyer.name", "Ann")]
    assert places({"buyer": {"name": "Ann"}}, "buyer.name") == [("buyer.name", "Ann")]


def test_a_star_is_each_item_and_a_missing_field_is_named_where_it_is_missing():
    assert places(CONTRACT, "dates.*.day") == [("dates.0.day", "a"), ("dates.1.day", None), ("dates.2.day", "c")]
    assert places({}, "dates.*.day") == [("dates", None)]
    assert places({"dates": "soon"}, "dates.*.day") == [("dates", None)]


def test_items_are_counted_from_the_end_with_a_minus():
    assert places([1, 2, 3], "-1") == [("2", 3)]
    assert places([1, 2, 3], "-4") == [("-4", None)]


def test_what_an_object_does_is_no_field():
    assert places(CONTRACT, "buyer.model_dump") == [("buyer.model_dump", None)]
    assert places(CONTRACT, "__class__") == [("__class__", None)]


def test_a_dot_in_a_name_is_written_with_a_backslash():
    assert places({"a.b": 1}, r"a\.b") == [("a.b", 1)]


@pytest.mark.parametrize("path", ["", ".a", "a..b", "a."])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValidationError, match="is no path"):
        RequiredOptions(fields=(path,))


def test_json_in_a_text_is_read_fenced_or_not():
    assert looked_up({"text": '```json\n{"a": 1}\n```'}, "text") == {"a": 1}
    assert looked_up({"text": " [1] "}, "text") == [1]
    assert looked_up({"text": "{nothing"}, "text") == "{nothing"


@given(
    st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    st.lists(st.sampled_from(["a", "0", "-1", "*"]), min_size=1, max_size=4),
)
def test_any_path_into_any_json_yields_places_and_never_raises(output, parts):
    for found in found_at(output, ".".join(parts)):
        assert isinstance(found.path, str)


CHAT = {"messages": [HumanMessage("hi"), AIMessage("first"), HumanMessage("and?"), AIMessage("last")], "topic": "pets"}


def test_an_agent_says_its_last_message_and_what_stands_beside_the_conversation():
    assert [found.value for found in spoken(CHAT)] == ["last", "pets"]
    assert [(found.path, found.value) for found in answer(CHAT)] == [("messages.3.content", "last")]


def test_messages_as_json_and_in_blocks_are_read_like_objects():
    blocks = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "this"},
    ]
    chat = {"messages": [{"type": "ai", "content": blocks}]}
    assert [found.value for found in answer(chat)] == ["see\nthis"]


def test_without_a_conversation_every_text_is_said():
    assert [found.value for found in spoken({"a": ["x"], "b": CONTRACT})] == [
        "x",
        "buyer",
        "name",
        "Ann",
        "dates",
        "day",
        "a",
        "day",
        "c",
    ]
