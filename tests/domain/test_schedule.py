"""When a schedule is due, above all where the clock is changed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from outlast.domain.cron import Timing, run_id_of_tick
from outlast.domain.schedule import next_tick, zone
from outlast.errors import InvalidInput

NEW_YORK, BERLIN, LORD_HOWE, KOLKATA = "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"


def ticks(schedule: str, timezone: str | None, after: str, count: int) -> list[str]:
    """The next ticks, as the clock on the wall shows them."""
    found: list[str] = []
    moment = datetime.fromisoformat(after).replace(tzinfo=zone(timezone))
    for _ in range(count):
        tick = next_tick(schedule, timezone, moment)
        assert tick is not None
        found.append(tick.astimezone(zone(timezone)).isoformat())
        moment = tick
    return found


# A time that is skipped comes right after the gap; a time that comes twice counts the first time; what is more frequent
# than a change of the clock follows real time.
CLOCK_CHANGES = [
    ("30 2 * * *", NEW_YORK, "2026-03-07T12:00", ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]),
    ("0 2 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
    ("15,45 2 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00"]),
    ("30 1 * * *", NEW_YORK, "2026-10-31T12:00", ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]),
    ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
    ("45 1 * * *", LORD_HOWE, "2026-04-04T12:00", ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]),
    ("10 2 * * *", LORD_HOWE, "2026-10-03T12:00", ["2026-10-04T02:30:00+11:00", "2026-10-05T02:10:00+11:00"]),
    ("0 * * * *", NEW_YORK, "2026-03-08T00:30",
     ["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"]),
    ("*/30 * * * *", NEW_YORK, "2026-11-01T00:45",
     ["2026-11-01T01:00:00-04:00", "2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-05:00",
      "2026-11-01T01:30:00-05:00", "2026-11-01T02:00:00-05:00"]),
    ("30 9 * * 1-5", KOLKATA, "2026-07-03T10:00", ["2026-07-06T09:30:00+05:30", "2026-07-07T09:30:00+05:30"]),
    ("0 0 29 2 *", None, "2026-01-01T00:00", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]),
    ("0 0 1 1 *", NEW_YORK, "2026-06-01T00:00", ["2027-01-01T00:00:00-05:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "timezone", "after", "expected"), CLOCK_CHANGES)
def test_a_change_of_the_clock_neither_loses_nor_doubles_a_tick(
    schedule: str, timezone: str | None, after: str, expected: list[str]
) -> None:
    assert ticks(schedule, timezone, after, len(expected)) == expected


def test_in_the_second_pass_of_an_hour_its_job_is_not_due_again() -> None:
    second_pass = datetime(2026, 11, 1, 1, 15, tzinfo=ZoneInfo(NEW_YORK), fold=1)

    assert next_tick("30 1 * * *", NEW_YORK, second_pass) == datetime(2026, 11, 2, 6, 30, tzinfo=UTC)


def test_without_a_zone_it_is_utc_wherever_the_caller_lives() -> None:
    noon_in_berlin = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo(BERLIN))

    assert next_tick("0 12 * * *", None, noon_in_berlin) == datetime(2026, 7, 1, 12, tzinfo=UTC)


SCHEDULES = st.tuples(
    st.sampled_from(["*", "*/7", "0", "30", "5,35", "10-20/5"]),
    st.sampled_from(["*", "*/6", "0", "2", "1-3", "23"]),
    st.sampled_from(["*", "1", "15", "L", "28-31"]),
    st.sampled_from(["*", "3", "10,11", "*/5"]),
    st.sampled_from(["*", "0", "7", "MON-FRI", "SUN#1", "5L"]),
).map(" ".join)
ZONES = st.sampled_from([None, NEW_YORK, BERLIN, LORD_HOWE, KOLKATA, "UTC", "Pacific/Apia", "Africa/Casablanca"])
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(schedule=SCHEDULES, timezone=ZONES, after=MOMENTS)
def test_a_tick_is_later_than_what_it_follows_and_nothing_lies_between(
    schedule: str, timezone: str | None, after: datetime
) -> None:
    tick = next_tick(schedule, timezone, after)

    assume(tick is not None)
    assert tick is not None
    assert tick > after
    assert (tick.second, tick.microsecond) == (0, 0)
    # Asked a moment before it, the answer is the same: no tick was passed over.
    assert next_tick(schedule, timezone, tick - timedelta(microseconds=1)) == tick
    following = next_tick(schedule, timezone, tick)
    assert following is None or following > tick


@given(schedule=st.text(max_size=30) | st.text("0123456789*/,-#LWMONSUN ", max_size=40))
@example("1-99999999999999999999 * * * *")
@example("*/0 * * * *")
@example("1#2/3 * * * 1#2/3")
@example("* * * * * *")
@example("@daily")
@example("0 0 30 2 *")
@example("\x00 * * * *")
def test_whatever_is_no_schedule_is_an_error_that_names_the_field(schedule: str) -> None:
    fields: set[str | None] = set()
    try:
        next_tick(schedule, NEW_YORK, datetime(2026, 1, 1, tzinfo=UTC))
    except InvalidInput as error:
        fields.add(error.field)
    assert fields <= {"schedule"}


def test_a_schedule_of_endless_length_is_not_read() -> None:
    with pytest.raises(InvalidInput, match="five fields"):
        next_tick(f"{','.join(['1'] * 100_000)} * * * *", None, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "America", "..", "/etc/passwd", "UTC+02:00", "a\0b", "x" * 5000])
def test_whatever_is_no_time_zone_is_an_error_that_names_the_field(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        zone(name)

    assert refused.value.field == "timezone"


def test_a_cron_has_no_tick_after_its_end_nor_while_it_is_switched_off() -> None:
    after = datetime(2026, 1, 1, 12, tzinfo=UTC)
    until = Timing(schedule="0 13 * * *", end_at=datetime(2026, 1, 1, 13, tzinfo=UTC))
    off = Timing(schedule="0 13 * * *", enabled=False)

    assert until.next_after(after) == datetime(2026, 1, 1, 13, tzinfo=UTC)
    assert until.next_after(datetime(2026, 1, 1, 13, tzinfo=UTC)) is None
    assert off.next_after(after) is None


def test_a_tick_has_one_run_whatever_the_zone_of_the_one_who_computes_it() -> None:
    cron_id, other_id = UUID(int=1), UUID(int=2)
    due = datetime(2026, 1, 1, 12, tzinfo=UTC)
    run_id = run_id_of_tick(cron_id, due)

    assert run_id_of_tick(cron_id, due.astimezone(ZoneInfo(NEW_YORK))) == run_id
    assert run_id_of_tick(cron_id, due + timedelta(minutes=1)) != run_id
    assert run_id_of_tick(other_id, due) != run_id
