"""The built-in validator that reads JSON Schema and pydantic models."""

from datetime import date
from typing import Any

import pytest
from checked import check, reasons
from pydantic import BaseModel

from outlast.errors import ConfigurationError

CONTRACT = {
    "type": "object",
    "properties": {"price": {"type": "number", "minimum": 1}, "day": {"type": "string", "format": "date"}},
    "required": ["price"],
    "additionalProperties": False,
}


class Party(BaseModel):
    name: str
    born: date


async def test_each_reason_has_its_place():
    found = await reasons({"price": 0, "day": "soon", "more": 1}, use="schema", schema=CONTRACT)
    assert {(reason.field, reason.code) for reason in found} == {
        ("price", "schema"),
        ("day", "schema"),
        (None, "schema"),
    }


async def test_what_fits_is_valid():
    assert await check({"price": 1, "day": "2026-11-21"}, use="schema", schema=CONTRACT) == []


async def test_an_object_with_fields_is_read_as_its_fields():
    party = Party(name="Ann", born=date(2000, 1, 1))
    assert await check({"party": party}, use="schema", at="party", model=Party) == []
    schema = {"properties": {"name": {"const": "Bob"}}}
    assert await check({"party": party}, use="schema", at="party", schema=schema) == [("schema", "party.name")]


async def test_a_model_takes_json_and_names_the_place():
    parties = [{"name": "Ann", "born": "2000-01-01"}, {"name": "Bob", "born": "soon"}, {"born": "2000-01-01"}]
    assert await check(parties, use="schema", model=list[Party]) == [("schema", "1.born"), ("schema", "2.name")]


async def test_a_strict_model_takes_nothing_for_something_else():
    class Count(BaseModel):
        n: int

    assert await check({"n": "1"}, use="schema", model=Count) == []
    assert await check({"n": "1"}, use="schema", model=Count, strict=True) == [("schema", "n")]


async def test_a_part_that_is_missing_is_told():
    assert await check({}, use="schema", at="structured_response", schema={}) == [("missing", "structured_response")]


async def test_an_answer_that_is_json_in_a_text_is_read():
    chat = {"messages": [{"type": "ai", "content": '```json\n{"price": "x"}\n```'}]}
    assert await check(chat, use="schema", at="messages.-1.content", schema=CONTRACT) == [
        ("schema", "messages.-1.content.price")
    ]


async def test_an_address_in_a_schema_is_never_fetched():
    schema: dict[str, Any] = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    with pytest.raises(ConfigurationError, match=r"\$ref: 'http://127.0.0.1:9/schema.json' would have to be fetched"):
        await check({"a": 1}, use="schema", schema=schema)


async def test_a_schema_may_refer_to_itself():
    for schema in (
        {"properties": {"a": {"$ref": "#/$defs/word"}}, "$defs": {"word": {"type": "string"}}},
        {"properties": {"a": {"$ref": "https://x.example/word"}},
        "$defs": {"w": {"$id": "https://x.example/word", "type": "string"}}},
    ):  # fmt: skip
        assert await check({"a": 1}, use="schema", schema=schema) == [("schema", "a")]


async def test_a_pattern_that_takes_for_ever_ends_in_bounded_time():
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert await check("a" * 10, use="schema", schema=schema) == []
    assert await check("a" * 60 + "!", use="schema", schema=schema) == [("too_slow", None)]


async def test_reasons_have_an_end():
    many = {"type": "array", "items": {"type": "string"}}
    assert len(await check(list(range(1000)), use="schema", schema=many)) == 21
