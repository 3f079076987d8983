"""Built-in validators of what an output rests upon: source, citations."""

from decimal import Decimal

import pytest
from checked import check, reasons, sources
from hypothesis import given
from hypothesis import strategies as st

from outlast.validation.numbers import number_of, numbers_in
from outlast.validation.sources import sources_of

CONTRACT = """Purchase Agreement between Ann  O'Brien-Müller and Bob Smith.
The purchase price is USD 1,250,000.00 (one million two hundred fifty thousand), earnest money $25k.
Closing: December 1st, 2026. The property at 12 Maple Street, Springfield. Fee 2.5%."""


@pytest.mark.parametrize(
    ("value", "how", "there"),
    [
        (1250000, "number", True), ("$1.25 million", "number", True), ("1.250.000,00 USD", "number", True),
        ("€1,250,000", "number", False), (25000, "number", True), (1250, "number", False), (2.5, "number", True),
        ("a lot", "number", False), ("2026-12-01", "date", True), ("1 December 2026", "date", True),
        ("2026-12-02", "date", False), ("ann o\u2019brien muller", "text", True), ("Ann", "text", True),
        ("An", "text", False),
        ("12 Maple Street", "exact", True), ("12 maple street", "exact", False),
        ("12 Mapel Street, Springfeld", "fuzzy", True),
        ("99 Oak Avenue, Shelbyville", "fuzzy", False), ("", "text", False),
    ],
)  # fmt: skip
async def test_a_field_is_in_the_source_or_not(value, how, there):
    found = await check({"it": value}, known=sources(contract=CONTRACT), use="source", fields={"it": how})
    assert found == ([] if there else [("not_in_source", "it")])


async def test_a_currency_that_differs_is_told():
    (reason,) = await reasons(
        {"price": "€1,250,000"}, known=sources(c=CONTRACT), use="source", fields={"price": "number"}
    )
    assert reason.text == "price is '€1,250,000', which is not in c; as an amount in USD it is"


async def test_a_list_of_fields_is_compared_as_text_and_what_is_missing_is_not():
    assert await check({"a": "Bob Smith"}, known=sources(c=CONTRACT), use="source", fields=["a", "b"]) == []


async def test_without_a_source_nothing_is_believed():
    assert await check({"a": 1}, use="source", fields=["a"]) == [("no_source", None)]
    other = sources(notes="1")
    assert await check({"a": 1}, known=other, use="source", fields=["a"], sources=["contract"]) == [("no_source", None)]


async def test_a_number_may_differ_by_the_tolerance():
    table = {"use": "source", "fields": {"price": "number"}, "tolerance": 0.01}
    assert await check({"price": 1_245_000}, known=sources(c=CONTRACT), **table) == []
    assert await check({"price": 1_200_000}, known=sources(c=CONTRACT), **table) == [("not_in_source", "price")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1250", "1250"), ("1,250", "1250"), ("1.250", "1250"), ("1,250.5", "1250.5"), ("1.250,50", "1250.50"),
        ("1 250 000", "1250000"), ("1'250.00", "1250.00"), ("12,5", "12.5"), ("-3", "-3"), ("($500)", "-500"),
        ("2 bn", "2000000000"), ("€ 99", "99"), ("99 EUR", "99"), ("1e6", "1000000"), ("7 %", "7"),
    ],
)  # fmt: skip
def test_a_number_as_people_write_it(text, value):
    found = number_of(text)
    assert found is not None
    assert found.value == Decimal(value)


@pytest.mark.parametrize("text", ["", "ten", "1.2.3", "a1", "12 apples", "1,25,000 x", "NaN", "inf"])
def test_what_is_no_number_is_none(text):
    assert number_of(text) is None


@given(st.integers(-(10**12), 10**12))
def test_each_way_of_writing_a_number_is_that_number(value):
    for text in (
        f"{value}",
        f"{value:,}",
        f"{value:,}".replace(",", "."),
        f"{value:,}".replace(",", " "),
        f"{value:,}.00",
    ):
        assert Decimal(value) in {found.value for found in numbers_in(f"It is {text} altogether.")}


@given(st.text("0123456789,. $€()-km", max_size=200))
def test_any_text_has_numbers_or_none(text):
    assert all(found.value.is_finite() for found in numbers_in(text))


async def test_a_citation_names_a_source_by_its_name_or_its_number():
    known = sources(contract=CONTRACT, annex="Nothing else.")
    text = "It closes in December [1], see [annex] and [2]; [3] and [appendix] say more, [here](http://x.y)."
    assert [reason.text for reason in await reasons(text, known=known, use="citations")] == [
        "the output cites '3', and there is no such source", "the output cites 'appendix', and there is no such source",
    ]  # fmt: skip


async def test_fields_may_cite_and_quote():
    known = sources(contract=CONTRACT)
    output = {
        "claims": [{"source": "contract", "quote": "Closing: December 1st"}, {"source": "deed", "quote": "It burns"}]
    }
    table = {"use": "citations", "ids": ["claims.*.source"], "quotes": ["claims.*.quote"]}
    assert await check(output, known=known, **table) == [
        ("unknown_source", "claims.1.source"), ("not_in_source", "claims.1.quote"),
    ]  # fmt: skip


async def test_an_address_that_no_source_names_is_invented():
    known = sources(**{"https://a.example/terms": "see https://b.example/x/ for more"})
    text = "Read https://a.example/terms#two, https://b.example/x and https://c.example/refunds."
    (reason,) = await reasons(text, known=known, use="citations", urls=True)
    assert "https://c.example/refunds" in reason.text


async def test_there_have_to_be_so_many_citations():
    assert await check("It closes.", known=sources(c="x"), use="citations", least=1) == [("too_few_citations", None)]


def test_sources_are_found_in_input_state_and_tools():
    messages = [
        {"type": "tool", "name": "search", "content": "found"}, {"type": "tool", "name": "search", "content": "more"},
        {"type": "ai", "content": "so"},
    ]  # fmt: skip
    documents = [{"page_content": "text one", "id": "doc-1"}, "text two"]
    found = sources_of({}, input={"contract": "c", "task": "t"}, output={"documents": documents}, messages=messages)
    assert found == {
        "contract": "c", "doc-1": "text one", "documents.1": "text two", "tool:search": "found",
        "tool:search.2": "more",
    }  # fmt: skip


def test_sources_are_where_the_settings_say():
    given = {"files": [{"text": "a"}, {"text": "b"}], "contract": "not asked for"}
    assert sources_of({"file": "input.files.*.text"}, input=given) == {"file.0": "a", "file.1": "b"}
