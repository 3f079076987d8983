"""Built-in validators of fields: required, allowed, ranges, dates."""

from datetime import UTC, datetime

import pytest
from checked import NOW, check, reasons

from outlast.validation.validator import Context

CONTRACT = {"buyer": {"name": "Ann"}, "price": "$1,250.00", "contingency": [{"date": "2026-12-01"}, {"date": ""}, {}]}


async def test_required_names_each_field_that_is_missing_or_empty():
    found = await check(CONTRACT, use="required", fields=["buyer.name", "seller.name", "contingency.*.date"])
    assert found == [("missing", "seller"), ("empty", "contingency.1.date"), ("missing", "contingency.2.date")]


async def test_required_without_fields_wants_an_output():
    assert await check({"messages": [{"type": "ai", "content": " "}]}, use="required") == [
        ("missing", "messages.0.content")
    ]
    assert await check(None, use="required") == [("missing", None)]
    assert await check({"messages": [{"type": "ai", "content": "yes"}]}, use="required") == []


async def test_zero_and_no_are_there():
    assert await check({"a": 0, "b": False}, use="required", fields=["a", "b"]) == []


async def test_at_looks_at_a_part_alone():
    state = {"noise": 1, "structured_response": {"status": "open"}}
    assert await check(state, use="required", at="structured_response", fields=["status"]) == []
    assert await check({"answer": '{"status": "x"}'}, use="allowed", at="answer", fields={"status": ["open"]}) == [
        ("not_allowed", "status")
    ]


async def test_allowed_tells_what_is_allowed():
    (reason,) = await reasons({"status": "Pending"}, use="allowed", fields={"status": ["open", "closed"]})
    assert reason.text == "status is 'Pending'; allowed: 'open', 'closed'"
    assert await check({"status": "OPEN "}, use="allowed", ignore_case=True, fields={"status": ["open"]}) == []


async def test_true_is_not_one():
    assert await check({"count": True}, use="allowed", fields={"count": [1]}) == [("not_allowed", "count")]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (10, None), ("$10.00", None), (99.5, None), (9, "out_of_range"), ("1,250", "out_of_range"),
        (100, "out_of_range"),
        ("ten", "not_a_number"), (True, "not_a_number"), (float("nan"), "not_a_number"), (None, None),
    ],
)  # fmt: skip
async def test_a_number_in_its_range(value, code):
    found = await check({"price": value}, use="ranges", fields={"price": {"min": 10, "below": 100}})
    assert found == ([] if code is None else [(code, "price")])


async def test_a_count_has_no_fraction():
    bounds = {"items.*.quantity": {"whole": True, "above": 0}}
    items = [{"quantity": 1}, {"quantity": 1.5}, {"quantity": 0}]
    assert await check({"items": items}, use="ranges", fields=bounds) == [
        ("out_of_range", "items.1.quantity"), ("out_of_range", "items.2.quantity"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("2026-11-22", None), ("2026-11-21", None), ("2026-11-20", "in_the_past"), ("December 1st, 2026", None),
        ("1 Oct 2026", "in_the_past"), ("20.11.2026", "in_the_past"), ("2026-11-21T12:00:01Z", None),
        ("2026-11-21T11:59:59Z", "in_the_past"), ("2026-11-21T12:30:00+02:00", "in_the_past"), ("soon", "not_a_date"),
        ("2026-02-30", "not_a_date"), ("03/04/2027", "not_a_date"), (20261201, "not_a_date"), ("9999-12-31", None),
        ("0001-01-01", "in_the_past"), (datetime(2026, 11, 22, tzinfo=UTC), None), (None, None),
    ],
)  # fmt: skip
async def test_a_date_in_the_future_is_not_over_at_the_contexts_now(value, code):
    found = await check({"closing": value}, use="dates", future=["closing"])
    assert found == ([] if code is None else [(code, "closing")])


async def test_today_is_that_of_the_zone():
    late = Context(now=datetime(2026, 11, 21, 23, 30, tzinfo=UTC))
    date = {"closing": "2026-11-21"}
    assert await check(date, known=late, use="dates", future=["closing"]) == []
    assert await check(date, known=late, use="dates", future=["closing"], zone="Europe/Berlin") == [
        ("in_the_past", "closing")
    ]


async def test_a_format_settles_a_day_that_can_be_read_in_two_ways():
    assert await check({"day": "03/04/2027"}, use="dates", future=["day"], formats=["%d/%m/%Y"]) == []


async def test_dates_are_in_order_item_by_item():
    rows = {"rows": [{"from": "2026-01-01", "to": "2026-01-01"}, {"from": "2026-05-02", "to": "2026-05-01"}]}
    assert await check(rows, use="dates", ordered=[["rows.*.from", "rows.*.to"]]) == [("out_of_order", "rows.1.to")]


async def test_a_chain_is_compared_link_by_link():
    days = {"offer": "2026-03-01", "signed": "2026-02-01", "closing": "2026-02-15T10:00"}
    assert await check(days, use="dates", ordered=[["offer", "signed", "closing"]]) == [("out_of_order", "signed")]


async def test_a_day_is_not_before_a_time_of_the_same_day():
    assert await check({"a": "2026-01-01T18:00", "b": "2026-01-01"}, use="dates", ordered=[["a", "b"]]) == []


async def test_past_not_too_old_and_not_too_far_away():
    days = {"born": "2027-01-01", "report": "2026-10-21", "due": "2026-12-22"}
    found = await check(days, use="dates", past=["born"], not_older_than={"report": 30}, within={"due": 30})
    assert found == [("in_the_future", "born"), ("too_old", "report"), ("too_late", "due")]


def test_the_tests_have_a_today():
    assert NOW.date().isoformat() == "2026-11-21"
