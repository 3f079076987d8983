"""No text that is logged can forge a line, drive a terminal or tell a secret, in JSON and for people."""

import json
import logging
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.monitoring.logs.line import Line
from outlast.monitoring.logs.rendering import as_json, for_people

RUN = UUID("018f0000-0000-7000-8000-000000000001")
WHERE = {"run_id": RUN, "thread_id": "t-1", "agent": "support", "user_id": "ada", "traceparent": "00-x"}
SECRET = "sk-proj-Zk3vQ9xWb7LmT2pRy8NcJ5dHs6FgA1eU"
FORGED = 'done\n{"level":"info","event":"approved by ada"}\r\x1b[2K\x1b]0;title\x07\x9b31m\u202e\u2028'
#: What may not leave us in any form that something acts on.
ACTIVE = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} | set("\u2028\u2029\u202e\u200f\ufeff")


def json_of(line: Line) -> dict[str, Any]:
    rendered = as_json(line)
    assert rendered.endswith(b"\n")
    assert rendered.count(b"\n") == 1
    return json.loads(rendered)


def text_of(line: Line) -> str:
    return for_people(colors=False)(line).decode()


def test_a_line_says_where_it_happened() -> None:
    shown = json_of(Line(logging.INFO, "node ended", {"outcome": "success", "duration_ms": 1.5}, WHERE, at=0.25))

    assert shown == {
        "timestamp": "1970-01-01T00:00:00.250Z", "level": "info", "event": "node ended", "thread_id": "t-1",
        "run_id": str(RUN), "user": "ada", "agent": "support", "outcome": "success", "duration_ms": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize("place", ["event", "field", "name", "where", "nested", "object"])
def test_an_injected_line_stays_a_part_of_the_one_that_it_was_put_into(place: str) -> None:
    class Shown:
        def __str__(self) -> str:
            return FORGED

    line = Line(
        logging.WARNING,
        FORGED if place == "event" else "event",
        {
            FORGED if place == "name" else "name": FORGED if place == "field" else 1,
            "nested": {"a": [FORGED]} if place == "nested" else {},
            "object": Shown() if place == "object" else None,
        },
        {**WHERE, "thread_id": FORGED} if place == "where" else WHERE,
    )

    shown, text = as_json(line).decode(), text_of(line)

    assert not ACTIVE & set(shown.removesuffix("\n"))
    assert not ACTIVE & set(text.removesuffix("\n"))
    assert "approved by ada" in text, "it is shown, and does nothing"
    assert not ACTIVE & set("".join(_texts(json.loads(shown)))) - {"\n"}, "nor does it when somebody decodes it"


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *_texts(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def test_no_line_of_a_traceback_can_pass_for_a_line_of_the_log() -> None:
    line = Line(
        logging.ERROR, "failed", {}, WHERE, exception="Traceback:\nValueError: x\n12:00:00 [info] approved\x1b[0m"
    )

    assert json_of(line)["exception"].splitlines()[-1] == "12:00:00 [info] approved\\x1b[0m"
    _, *rest = text_of(line).splitlines()
    assert all(part.startswith("    ") for part in rest)
    assert "\x1b" not in text_of(line)


def test_secrets_are_masked_by_name_and_by_form_however_deep() -> None:
    fields = {"api_key": "hunter2x", "count": {"password": "hunter2x", "max_tokens": 7}, "said": [f"with {SECRET}"]}
    line = Line(logging.INFO, f"told {SECRET}", fields, WHERE, exception=f"ValueError: {SECRET}")

    for rendered in (as_json(line).decode(), text_of(line)):
        assert "hunter2x" not in rendered
        assert "Zk3vQ9x" not in rendered
    shown = json_of(line)
    assert (shown["event"], shown["api_key"], shown["count"]) == (
        "told ***",
        "***",
        {"password": "***", "max_tokens": 7},
    )


@given(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner:
       st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8))  # fmt: skip
def test_whatever_is_logged_becomes_one_line_of_json_and_one_for_people(event: str, value: Any) -> None:
    line = Line(logging.INFO, event, {"value": value}, WHERE)

    assert json_of(line)["thread_id"] == "t-1"
    assert text_of(line).count("\n") == 1


def test_halves_of_characters_and_numbers_without_end_are_written_all_the_same() -> None:
    shown = json_of(Line(logging.INFO, "\ud800", {"number": 2**80}, {}))

    assert shown["number"] == 2**80
    assert text_of(Line(logging.INFO, "\ud800", {"text": "\udfff"}, {})).count("\n") == 1
