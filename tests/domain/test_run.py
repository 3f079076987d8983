import re
from datetime import timedelta
from random import Random
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import outlast.domain.run as run_module
from outlast.domain.backoff import full_jitter
from outlast.domain.outcome import Cancelled, Drained, Failed, Outcome, Succeeded, Waiting, settle
from outlast.domain.run import ENDED, FRONT, TRANSITIONS, RunStatus, may_become
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool

OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Succeeded, output=st.integers()),
    st.builds(Waiting, interrupts=st.just([{"id": "1"}]), checkpoint_id=st.just(uuid4()), output=st.none()),
    st.builds(Failed, code=st.text(), message=st.text(), retryable=st.booleans()),
    st.just(Cancelled()),
    st.just(Drained()),
)


def test_the_table_knows_every_status() -> None:
    assert set(TRANSITIONS) == set(RunStatus)


def test_what_has_ended_only_comes_back_by_a_replay_of_a_failure() -> None:
    assert {status for status in ENDED if TRANSITIONS[status]} == {RunStatus.FAILED}
    assert TRANSITIONS[RunStatus.FAILED] == {RunStatus.QUEUED, RunStatus.BLOCKED}


def test_every_status_but_the_ended_ones_can_be_cancelled() -> None:
    assert {status for status in RunStatus if may_become(status, RunStatus.CANCELLED)} == set(RunStatus) - ENDED


def test_the_front_the_ended_and_the_blocked_are_all_there_is() -> None:
    assert set(RunStatus) == FRONT | ENDED | {RunStatus.BLOCKED}
    assert not FRONT & ENDED


def _drawn() -> set[tuple[str, str]]:
    """The arrows of the docstring's diagram, line by line."""
    names = "|".join(RunStatus)
    doc = run_module.__doc__ or ""
    forward = rf"(?=\b({names})\b\s*-+>\s*({names})\b)"
    return {pair for line in doc.splitlines() for pair in re.findall(forward, line)}


def test_each_arrow_that_the_diagram_draws_is_in_the_table() -> None:
    drawn = _drawn()

    assert len(drawn) >= 5, "the diagram is read"
    assert all(may_become(RunStatus(before), RunStatus(after)) for before, after in drawn)


def test_the_diagram_draws_every_kind_of_end_and_the_way_back() -> None:
    doc = run_module.__doc__ or ""

    for status in TRANSITIONS[RunStatus.RUNNING]:
        assert re.search(rf"\b{status}\b", doc), f"{status} is not drawn"
    for words in ("retry later, lease lost, drained", "a person answered", "a person replayed it", "--> cancelled"):
        assert words in doc


async def test_the_database_allows_exactly_the_statuses_of_the_table(database: DatabaseSettings) -> None:
    pool = Pool(database, application_name="test")
    await pool.open()
    try:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conrelid = 'runs'::regclass AND contype = 'c'"
            )
            checks = [row[0] for row in await cursor.fetchall()]
    finally:
        await pool.close()

    listed = [set(re.findall(r"'(\w+)'::text", check)) for check in checks]
    assert set(RunStatus) in listed, "the CHECK on status"
    assert set(ENDED) in listed, "the CHECK that what has ended has a time"
    assert {RunStatus.RUNNING} in listed, "the CHECK that what runs has a worker"


@given(OUTCOMES, st.integers(0, 200), st.integers(1, 100), st.floats(0, 1e6))
def test_every_outcome_settles_into_a_legal_status(
    outcome: Outcome, errors: int, max_attempts: int, seconds: float
) -> None:
    settled = settle(outcome, errors=errors, max_attempts=max_attempts, backoff=timedelta(seconds=seconds))

    assert may_become(RunStatus.RUNNING, settled.status)
    assert settled.errors == int(isinstance(outcome, Failed)), "an error counts, nothing else does"
    assert (settled.error_code is not None) == isinstance(outcome, Failed)
    assert (settled.interrupts is not None) == (settled.status is RunStatus.WAITING)
    if settled.status is not RunStatus.QUEUED:
        assert not settled.delay


@given(st.integers(0, 50), st.integers(1, 50), st.booleans())
def test_a_failure_is_tried_again_only_while_attempts_are_left(errors: int, max_attempts: int, retryable: bool) -> None:
    outcome = Failed(code="x", message="x", retryable=retryable)

    settled = settle(outcome, errors=errors, max_attempts=max_attempts, backoff=timedelta(seconds=1))

    assert (settled.status is RunStatus.QUEUED) == (retryable and errors + 1 < max_attempts)


@given(st.integers(1, 10_000), st.floats(0.001, 3600), st.floats(0.001, 100_000), st.integers())
def test_backoff_stays_under_its_doubling_ceiling_and_its_cap(attempt: int, base: float, cap: float, seed: int) -> None:
    waited = full_jitter(attempt, base=timedelta(seconds=base), cap=timedelta(seconds=cap), rng=Random(seed))

    assert timedelta(0) <= waited <= timedelta(seconds=cap)
    if attempt < 30:
        assert waited <= timedelta(seconds=base) * 2.0 ** (attempt - 1)


@pytest.mark.parametrize("attempt", [1, 4, 9])
def test_backoff_uses_the_whole_range_down_to_nothing(attempt: int) -> None:
    """Full jitter: half of a crowd that failed together comes back in the first half of the time."""
    rng = Random(1)
    ceiling = timedelta(seconds=2) * 2.0 ** (attempt - 1)
    drawn = [full_jitter(attempt, base=timedelta(seconds=2), cap=timedelta(days=1), rng=rng) for _ in range(2000)]

    assert min(drawn) < ceiling * 0.01
    assert max(drawn) > ceiling * 0.99
    assert 0.45 < sum(waited < ceiling / 2 for waited in drawn) / len(drawn) < 0.55
