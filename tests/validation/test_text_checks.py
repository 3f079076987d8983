"""Built-in validators of texts: patterns, language, length, leaks."""

import pytest
from checked import NOW, check, reasons
from language_samples import TEXTS

from outlast.validation.languages import language_of
from outlast.validation.validator import Context


def chat(text):
    return {"messages": [{"type": "human", "content": "Project X, ann@example.com"}, {"type": "ai", "content": text}]}


async def test_a_forbidden_pattern_is_named_and_not_repeated():
    (reason,) = await reasons(chat("About project  x."), use="patterns", forbid={"codename": r"project\s{1,3}x"})
    assert (reason.code, reason.field) == ("forbidden", "messages.1.content")
    assert reason.text == "messages.1.content holds codename, which is forbidden"


async def test_what_a_person_said_before_is_not_the_agents():
    assert await check(chat("Fine."), use="patterns", forbid={"codename": "project x"}) == []


async def test_case_counts_where_the_table_says_so():
    assert await check("SECRET", use="patterns", forbid={"s": "secret"}, ignore_case=False) == []


async def test_a_pattern_that_takes_for_ever_ends_in_bounded_time():
    assert await check("a" * 60 + "!", use="patterns", forbid={"evil": r"(a+)+$"}) == [("too_slow", None)]


@pytest.mark.parametrize("language", TEXTS)
async def test_a_language_is_told_and_another_one_is_not_acceptable(language):
    assert language_of(TEXTS[language]) == language
    assert await check(TEXTS[language], use="language", language=language) == []
    other = "fr" if language != "fr" else "de"
    assert await check(TEXTS[language], use="language", language=other) == [("language", None)]


@pytest.mark.parametrize(
    "text", ["", "OK", "4711", "OK, done.", "```python\nfor the in of and to is\n```", "https://the.of/and/to/is/in"]
)
async def test_a_text_that_does_not_tell_is_let_pass(text):
    assert language_of(text) is None
    assert await check(text, use="language", language="fr") == []


async def test_an_answer_is_in_the_language_of_the_question():
    asked = Context(now=NOW, messages=[{"type": "human", "content": TEXTS["de"]}])
    assert await check(chat(TEXTS["de"]), known=asked, use="language", language="input") == []
    assert await check(chat(TEXTS["en"]), known=asked, use="language", language="input") == [
        ("language", "messages.1.content")
    ]


@pytest.mark.parametrize(("unit", "count"), [("characters", 30), ("words", 7), ("sentences", 2), ("lines", 2)])
async def test_length_is_counted_in_its_unit(unit, count):
    text = "Don't do it today.\n\nI said no.\n"
    assert await check(text, use="length", unit=unit, min=count, max=count) == []
    assert await check(text, use="length", unit=unit, min=count + 1) == [("too_short", None)]
    assert await check(text, use="length", unit=unit, max=count - 1) == [("too_long", None)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to ann@example.com", "email"), ("Card 4111 1111 1111 1111", "credit card"),
        ("The key is sk-proj-abcdefghijklmnopqrstuvwx", "secret"), ("gsk_abcdefghijklmnopqrstuvwx", "secret"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
    ],
)  # fmt: skip
async def test_a_leak_is_named_by_its_kind_and_never_repeated(text, kind):
    (reason,) = await reasons(chat(text), use="leaks")
    assert reason.text == f"messages.1.content gives away: {kind}; leave it out"


async def test_what_is_allowed_or_was_given_is_no_leak():
    text = "We wrote to ann@example.com from help@shop.example"
    given = Context(now=NOW, input={"task": "I am ann@example.com"})
    assert await check(text, known=given, use="leaks", allow=["*@shop.example"]) == [("leak", None)]
    assert await check(text, known=given, use="leaks", allow=["*@shop.example"], given=True) == []
    key = "sk-proj-abcdefghijklmnopqrstuvwx"
    assert await check(key, known=Context(input=key), use="leaks", given=True) == [("leak", None)]


async def test_a_field_that_is_called_like_a_secret_is_one():
    assert await check({"db": {"password": "tr0ub4dor"}, "max_tokens": "9"}, use="leaks") == [("leak", "db.password")]
