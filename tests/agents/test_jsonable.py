import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.types import Command, Interrupt
from pydantic import BaseModel

from outlast.agents.jsonable import encoded, jsonable


class Rude:
    """Every method that could be asked raises."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class RudeKey(Rude):
    def __hash__(self) -> int:
        return 1


class RudeModel:
    def model_dump(self) -> Any:
        raise RuntimeError


class RudeProperty:
    @property
    def model_dump(self) -> Any:
        raise RuntimeError


class RudeMapping(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError


class Model(BaseModel):
    at: datetime
    inner: dict[str, Any]


@dataclass
class Plain:
    number: int


class Text(str):
    __slots__ = ()


class Real(float):
    pass


def in_itself() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [Rude(), {RudeKey(): 1}, RudeModel(), RudeProperty(), RudeMapping(a=1), Model, Rude, in_itself(), deep(5000),
     10**5000, -(2**70), float("inf"), "\ud800", {"\ud800": 1}, b"\xff", {1, "a"}, object(), (i for i in "ab"),
     [Rude(), "\ud800"], {"a": [2**64, Rude()]}, Text("\udc00"), Real(1.5), [Real(2), "\ud800"], memoryview(b"x")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_any_value_becomes_plain_json(value: Any) -> None:
    encoded = json.dumps(jsonable(value), allow_nan=False)

    encoded.encode("utf-8")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_plain_json_stays_what_it_is(value: Any) -> None:
    assert jsonable(value) == value


@given(JSON)
def test_one_bad_value_changes_nothing_beside_it(value: Any) -> None:
    beside = jsonable({"bad": "\ud800", "good": value})["good"]

    assert beside == value


def test_known_types_have_the_form_that_a_reader_expects() -> None:
    at, key = datetime(2026, 1, 2, tzinfo=UTC), uuid4()
    value = {
        "at": at, "key": key, "for": timedelta(seconds=90), "plain": Plain(1), "model": Model(at=at, inner={"a": 1}),
        "message": AIMessage("hi", id="1"), "bytes": b"abc", "set": {1}, 5: "number",
    }  # fmt: skip

    told = jsonable(value)

    assert told["at"] == "2026-01-02T00:00:00+00:00"
    assert told["key"] == str(key)
    assert told["for"] == 90.0
    assert told["plain"] == {"number": 1}
    assert told["model"]["inner"] == {"a": 1}
    assert (told["message"]["type"], told["message"]["content"]) == ("ai", "hi")
    assert (told["bytes"], told["set"], told["5"]) == ("abc", [1], "number")


def test_a_command_says_what_it_is_and_a_question_only_what_it_asks() -> None:
    told = json.loads(encoded({"command": Command(update={"a": 1}, goto="next"), "asked": Interrupt("?", id="q")}))

    assert told["command"] == {"lg_name": "Command", "graph": None, "update": {"a": 1}, "resume": None, "goto": "next"}
    assert (told["asked"]["id"], told["asked"]["value"]) == ("q", "?")


def test_a_data_class_beside_a_bad_value_keeps_its_fields() -> None:
    assert jsonable({"bad": "\ud800", "plain": Plain(1)})["plain"] == {"number": 1}
