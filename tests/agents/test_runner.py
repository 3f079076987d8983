"""What a claimed run starts with; how it goes on is tested with real workers (tests/workers, tests/faults)."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.types import Command, Interrupt

from outlast.agents import calling
from outlast.domain.options import RunOptions
from outlast.domain.outcome import Waiting
from outlast.domain.run import ClaimedRun

HEAD = uuid4()


def claimed(**given: Any) -> ClaimedRun:
    fields: dict[str, Any] = {
        "id": uuid4(), "epoch": 2, "thread_id": "t", "thread_key": b"", "agent": "a", "input": {"x": 1}, "config": {},
        "metadata": {}, "errors": 0, "crashes": 0, "max_attempts": 3, "timeout_seconds": None, "answer": None,
        "answered": False, "waiting_at": None, "has_state": True, "claimed_at": datetime(2026, 1, 1, tzinfo=UTC),
        "lineage": uuid4(),
    }  # fmt: skip
    return ClaimedRun(**(fields | given))


def head(run: ClaimedRun | None, *, writes: list[tuple[str, str, Any]] | None = None) -> CheckpointTuple:
    checkpoint = empty_checkpoint() | {"id": str(HEAD)}
    metadata: Any = {"run_id": str(run.id) if run else "another"}
    return CheckpointTuple(config={}, checkpoint=checkpoint, metadata=metadata, pending_writes=writes or [])  # type: ignore[arg-type]


def asks(task: str, *ids: str) -> tuple[str, str, Any]:
    return (task, "__interrupt__", [Interrupt(value="?", id=question) for question in ids])


def answered(answer: Any, *asked: str) -> ClaimedRun:
    return claimed(answered=True, answer=answer, waiting_at=HEAD, asked=asked)


def test_a_thread_without_state_starts_with_the_input() -> None:
    run = claimed()

    assert calling.graph_input(run, None) == {"x": 1}


def test_state_of_another_run_is_what_the_input_is_applied_to() -> None:
    assert calling.graph_input(claimed(), head(None)) == {"x": 1}


def test_a_run_with_progress_goes_on_without_its_input() -> None:
    run = claimed()

    assert calling.graph_input(run, head(run)) is None


@pytest.mark.parametrize("answer", [None, {}, "yes", {"free": "form"}, [1], False])
def test_an_answer_is_addressed_to_its_question(answer: Any) -> None:
    run = answered(answer, "q1")

    given = calling.graph_input(run, head(run, writes=[asks("task", "q1")]))

    assert isinstance(given, Command)
    assert given.resume == {"q1": answer}


def test_an_answer_for_an_older_checkpoint_is_not_given_again() -> None:
    run = claimed(answered=True, answer="yes", waiting_at=uuid4(), asked=("q1",))

    assert calling.graph_input(run, head(run, writes=[asks("task", "q9")])) is None


def test_a_question_that_came_after_the_answer_is_waited_for() -> None:
    run = answered("yes", "q1")

    given = calling.graph_input(run, head(run, writes=[asks("task", "q2")]))

    assert isinstance(given, Waiting)
    assert [item["id"] for item in given.interrupts] == ["q2"]
    assert given.checkpoint_id == HEAD


def test_a_task_that_has_finished_since_asks_nothing_any_more() -> None:
    run = answered("yes", "q1")

    assert calling.graph_input(run, head(run, writes=[asks("task", "q1"), ("task", "messages", ["done"])])) is None


def test_of_several_answers_those_go_on_whose_questions_are_open() -> None:
    run = answered({"left": "L", "right": "R"}, "left", "right")
    writes = [asks("a", "left"), ("a", "answers", ["L"]), asks("b", "right")]

    given = calling.graph_input(run, head(run, writes=writes))

    assert isinstance(given, Command)
    assert given.resume == {"right": "R"}


def test_a_breakpoint_takes_no_answer() -> None:
    run = answered("yes")

    assert calling.graph_input(run, head(run)) is None


def test_a_request_cannot_set_what_is_ours() -> None:
    run = claimed(
        config={"configurable": {"thread_id": "other", "run_id": "x", "checkpoint_id": "y", "__pregel_x": 1, "mine": 2},
                "callbacks": ["evil"], "recursion_limit": 7},
        metadata={"run_id": "forged", "who": "me"},
    )  # fmt: skip

    config = calling.run_config(run)

    assert config["configurable"] == {"thread_id": "t", "run_id": str(run.id), "mine": 2}
    assert config["metadata"]["run_id"] == str(run.id)
    assert config["metadata"]["who"] == "me"
    assert config["recursion_limit"] == 7
    assert "callbacks" not in config


@pytest.mark.parametrize(("errors", "crashes", "attempt"), [(0, 0, 1), (1, 0, 2), (1, 2, 4)])
def test_attempts_are_counted_from_one(errors: int, crashes: int, attempt: int) -> None:
    assert calling.run_config(claimed(errors=errors, crashes=crashes))["metadata"]["run_attempt"] == attempt


@pytest.mark.parametrize(
    ("answer", "questions", "resume"),
    [
        ("yes", ["q1"], {"q1": "yes"}),
        ({"q1": "yes"}, ["q1"], {"q1": "yes"}),
        ({"q1": 1, "q2": 2}, ["q1", "q2"], {"q1": 1, "q2": 2}),
        ({"free": "form"}, ["q1"], {"q1": {"free": "form"}}),
    ],
)
def test_an_answer_at_an_older_checkpoint_goes_to_the_questions_there(
    answer: Any, questions: list[str], resume: Any
) -> None:
    run = answered(answer, "another")

    given = calling.answer_to(run, head(None, writes=[asks(f"task {question}", question) for question in questions]))

    assert given.resume == resume


def test_an_answer_at_an_older_checkpoint_without_a_question_just_goes_on() -> None:
    assert calling.answer_to(answered("yes", "another"), head(None)) is None


def test_the_address_of_a_subgraphs_checkpoint_names_that_of_its_root() -> None:
    at = {"checkpoint_ns": "deep:1", "checkpoint_id": "inner", "checkpoint_map": {"": "root", "deep:1": "inner"}}
    options = RunOptions(protocol="v1", checkpoint=at)

    assert calling.checkpoint_of(claimed(options=options)) == at
    assert calling.root_of(at) == {"checkpoint_ns": "", "checkpoint_id": "root"}
    assert calling.checkpoint_of(claimed(options=RunOptions(protocol="v1", checkpoint={"checkpoint_ns": ""}))) is None


def test_a_plain_request_cannot_address_a_checkpoint_by_its_configuration() -> None:
    assert calling.checkpoint_of(claimed(config={"configurable": {"checkpoint_id": "x"}})) is None
