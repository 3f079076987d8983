"""What a new run does to those that stand in its thread: every strategy, every combination."""

from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.intake import Asked, Plan, Resume, Standing, check_resume, decide
from outlast.domain.options import Multitask
from outlast.domain.run import RunStatus
from outlast.domain.thread import ThreadState
from outlast.errors import AlreadyAnswered, InvalidInput, NothingToResume, ThreadBusy

S = RunStatus
FIRST, SECOND = "a" * 32, "b" * 32
STRATEGIES = st.sampled_from(get_args(Multitask))


def standing(status: RunStatus, **given_: Any) -> Standing:
    return Standing(id=uuid4(), status=status, **{"epoch": int(status not in {S.BLOCKED, S.QUEUED}), **given_})


@st.composite
def threads(draw: st.DrawFn) -> list[Standing]:
    """A thread as it can be: one run in front or none, blocked ones only behind it."""
    front = draw(st.none() | st.sampled_from([S.QUEUED, S.RUNNING, S.WAITING]))
    if front is None:
        return []
    first = standing(front, later=front is S.QUEUED and draw(st.booleans()))
    return [first, *(standing(S.BLOCKED, later=draw(st.booleans())) for _ in range(draw(st.integers(0, 3))))]


def after(runs: list[Standing], plan: Plan) -> dict[UUID, RunStatus]:
    """Carry the plan out as storage does; what ends is left out."""
    gone = {*plan.supersede, *(run.id for run in runs if run.id in {*plan.cancel, *plan.discard})}
    stays = {run.id: run.status for run in runs if run.id not in gone or run.status is S.RUNNING}
    return {run_id: S.BLOCKED if run_id in plan.demote else status for run_id, status in stays.items()}


@given(threads(), STRATEGIES, st.booleans(), st.booleans())
def test_there_are_never_two_fronts_and_what_the_plan_does_not_name_stays(
    runs: list[Standing], multitask: Multitask, later: bool, plain: bool
) -> None:
    try:
        plan = decide(runs, multitask=multitask, later=later, plain=plain)
    except ThreadBusy:
        assert multitask == "reject"
        return
    left = after(runs, plan)

    assert sum(status is not S.BLOCKED for status in left.values()) <= 1
    named = {*plan.supersede, *plan.cancel, *plan.discard, *plan.demote}
    assert all(left[run.id] is run.status for run in runs if run.id not in named)
    assert not set(plan.cancel) & set(plan.discard)
    if plain:
        assert plan == Plan(), "a plain run waits its turn"
    else:
        assert S.WAITING not in left.values(), "an open question makes way"


@given(threads(), st.booleans())
def test_reject_refuses_as_soon_as_anything_is_to_run_and_names_the_nearest(runs: list[Standing], later: bool) -> None:
    busy = [run for run in runs if run.status is not S.WAITING]
    if not busy:
        assert decide(runs, multitask="reject", later=later).cancel == ()
        return
    with pytest.raises(ThreadBusy) as refused:
        decide(runs, multitask="reject", later=later)

    assert refused.value.details["run_id"] == str(busy[0].id)
    assert refused.value.details["run_status"] == busy[0].status


@pytest.mark.parametrize("multitask", ["interrupt", "rollback"])
@given(runs=threads())
def test_those_strategies_leave_nothing_but_what_is_being_stopped(runs: list[Standing], multitask: Multitask) -> None:
    plan = decide(runs, multitask=multitask)

    assert set(after(runs, plan).values()) <= {S.RUNNING}
    if multitask == "interrupt":
        assert plan.discard == (), "what was written stays"
    else:
        assert set(plan.discard) == {run.id for run in runs}


def test_a_run_that_is_due_later_makes_way_for_one_that_is_due() -> None:
    later = standing(S.QUEUED, later=True)

    assert decide([later], multitask="enqueue").demote == (later.id,)
    assert decide([later], multitask="enqueue", later=True).demote == ()


INTERRUPTED = Asked(state=ThreadState.INTERRUPTED, questions=(FIRST,))


@pytest.mark.parametrize("value", ["yes", {"any": "thing"}, {}, [1], 0, False, {FIRST: "yes"}])
def test_the_one_open_question_takes_any_answer(value: Any) -> None:
    check_resume(Resume(value), INTERRUPTED, [])


def test_a_breakpoint_takes_any_answer() -> None:
    check_resume(Resume({SECOND: 1}), Asked(state=ThreadState.INTERRUPTED), [])


def test_several_questions_want_a_mapping_of_their_ids() -> None:
    asked = Asked(state=ThreadState.INTERRUPTED, questions=(FIRST, SECOND))

    check_resume(Resume({FIRST: 1}), asked, [])
    check_resume(Resume({FIRST: 1, SECOND: 2}), asked, [])
    for value in ("yes", {"first": 1}, {FIRST: 1, "second": 2}):
        with pytest.raises(InvalidInput, match=FIRST):
            check_resume(Resume(value), asked, [])


def test_a_question_that_is_not_open_is_a_conflict_that_says_which_are() -> None:
    with pytest.raises(NothingToResume, match=SECOND) as refused:
        check_resume(Resume({SECOND: 1}), INTERRUPTED, [])

    assert refused.value.details == {"thread_status": "interrupted", "run_id": None, "interrupts": [FIRST]}


@pytest.mark.parametrize("state", [ThreadState.IDLE, ThreadState.ERROR])
def test_a_thread_that_asks_nothing_is_a_conflict_that_says_how_it_is(state: ThreadState) -> None:
    with pytest.raises(NothingToResume) as refused:
        check_resume(Resume("yes"), Asked(state=state), [])

    assert refused.value.details["thread_status"] == state


def test_a_question_is_open_although_the_run_that_had_its_answer_failed() -> None:
    check_resume(Resume("again"), Asked(state=ThreadState.ERROR, questions=(FIRST,)), [])


@pytest.mark.parametrize("status", [S.BLOCKED, S.QUEUED, S.RUNNING])
def test_a_busy_thread_is_a_conflict_that_names_the_run(status: RunStatus) -> None:
    run = standing(status)
    with pytest.raises(NothingToResume) as refused:
        check_resume(Resume("yes"), INTERRUPTED, [run])
    assert refused.value.details["run_id"] == str(run.id)

    answered = standing(status, answers=(FIRST,))
    with pytest.raises(AlreadyAnswered) as refused_again:
        check_resume(Resume("yes"), INTERRUPTED, [answered])
    assert refused_again.value.details["run_id"] == str(answered.id)


def test_a_run_that_is_due_later_keeps_no_answer_back() -> None:
    check_resume(Resume("yes"), INTERRUPTED, [standing(S.QUEUED, later=True), standing(S.BLOCKED, later=True)])
