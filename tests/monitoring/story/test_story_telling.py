"""Rows become a story: in order of time, numbered by attempts, in words that say what happened and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import uuid_utils.compat as uuid_utils

from outlast.domain.story import KINDS, Row
from outlast.monitoring.story.places import node_of, saved_at
from outlast.monitoring.story.telling import told
from outlast.monitoring.story.wording import said

BEGIN = datetime(2026, 11, 22, 9, tzinfo=UTC)
RUN = UUID("7da98e11-9515-4520-b7a3-2580b744c97b")


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def row(what: str, when: float | None, epoch: int | None = None, source: str | None = None, **facts: Any) -> Row:
    moment = None if when is None else at(when)
    return Row(what=what, at=moment, run_id=RUN, epoch=epoch, source=source or str(uuid4()), facts=facts)


def claimed(seconds: float, epoch: int) -> Row:
    return row("attempt.claimed", seconds, epoch, worker_id=str(uuid4()), host="host", pid=epoch, known=True)


def checkpoint(seconds: float) -> str:
    """The id of a checkpoint that was made then, as LangGraph makes them."""
    ticks = int((at(seconds) - datetime(1582, 10, 15, tzinfo=UTC)) / timedelta(microseconds=1)) * 10
    value = (ticks >> 12) << 80 | 6 << 76 | (ticks & 0xFFF) << 64 | 2 << 62 | 1
    return str(UUID(int=value))


def step(seconds: float, epoch: int, number: int, *tasks: str) -> Row:
    told_tasks = [{"task": "00", "path": f"~__pregel_pull, {name}", "epoch": epoch} for name in tasks]
    return row(
        "step", None, epoch, checkpoint(seconds), ns="", seq=number, step=number, made_by="loop", tasks=told_tasks
    )  # fmt: skip


def test_steps_stay_within_their_attempts_whatever_the_clock_of_their_worker_says() -> None:
    fast, slow = step(500, 1, 1, "a"), step(-500, 3, 2, "b")

    story = told("t", [claimed(10, 3), slow, row("attempt.lost", 5, 1, error_code="crashed"), fast, claimed(1, 1)])

    assert [(entry.kind, entry.attempt) for entry in story.entries] == [
        ("attempt.claimed", 1), ("step", 1), ("attempt.lost", 1), ("attempt.claimed", 2), ("step", 2),
    ]  # fmt: skip
    assert story.entries[1].at < at(5)
    assert story.entries[4].at == at(10)


def test_what_happened_at_the_same_moment_is_told_in_the_order_of_cause() -> None:
    created = row(
        "run.created", 0, 0, str(RUN), agent="a", status="succeeded", error_code=None, user=None, key=None,
        goes_on_for=None,
    )  # fmt: skip
    ended = row("run.ended", 0, 1, status="succeeded", error_code=None, seconds=0.0)

    story = told("t", [ended, claimed(0, 1), created])

    assert [entry.kind for entry in story.entries] == ["run.created", "attempt.claimed", "run.ended"]
    assert [(run.status, run.attempts) for run in story.runs] == [("succeeded", 1)]


def test_a_call_belongs_to_the_attempt_that_was_under_way() -> None:
    call = {
        "provider": "openai", "model": "m", "outcome": "answered", "try": 2, "seconds": 1.25, "input_tokens": 1200,
        "output_tokens": 30, "cost_micros": 1500, "saved_micros": None,
    }  # fmt: skip

    story = told("t", [claimed(1, 1), claimed(5, 3), row("call", 3, **call), row("call", 6, **call)])

    assert [entry.attempt for entry in story.entries if entry.kind == "call"] == [1, 2]
    assert story.entries[1].text == "openai:m answers: 1,200 + 30 tokens, $0.0015, 1.2 s, try 2"


def test_an_effect_is_told_when_it_was_begun_with_the_attempt_that_ended_it() -> None:
    effect = row(
        "effect", 2, 3, "5" * 64, name="charge", key="5" * 64, calls=2, state="done", answered_at=None, task="00"
    )  # fmt: skip

    story = told("t", [claimed(1, 1), effect, claimed(5, 3)])

    assert [(entry.kind, entry.attempt) for entry in story.entries] == [
        ("attempt.claimed", 1), ("effect", 1), ("attempt.claimed", 2),
    ]  # fmt: skip
    assert story.entries[1].text == "charge 555555555555 is done after 2 calls, by attempt 2"


def test_older_entries_are_left_out_and_attempts_keep_their_numbers() -> None:
    story = told("t", [claimed(1, 1), claimed(5, 3), claimed(9, 5)], since=at(4))

    assert [entry.attempt for entry in story.entries] == [2, 3]


def test_words_steer_no_terminal_and_end_no_line() -> None:
    told_row = row("question.answered", 1, by="eve\x1b[31m\n\u202e", decision="approve", kind="tool\tapproval")

    assert said(told_row, None) == "eve\\x1b[31m\\n\\u202e answers: approve (tool\\tapproval)"


def test_every_kind_has_words_of_its_own() -> None:
    class Anything(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            return {"tasks": [], "channels": [], "calls": 1, "try": 1, "times": 1, "needs": 1, "seconds": 1.0}.get(
                key, 0
            )

    facts = Anything(key="k" * 64, due_at=None, worker_id=None)
    for kind in KINDS:
        text = said(Row(what=kind, at=BEGIN, run_id=RUN, epoch=1, source="s", facts=facts), 1)
        assert text, kind
        assert text != kind


@pytest.mark.parametrize(
    ("path", "ns", "node"),
    [
        ("~__pregel_pull, s1", "", "s1"),
        ("~__pregel_pull, __start__", "", None),
        ("~__pregel_push, 0000000002, 0000000000", "", "send[2]"),
        ("~__pregel_push, ~__pregel_pull, plain, 0000000003, 0000000001", "", "plain[3]"),
        ("~__pregel_pull, inner", "sub:0c72e899-09b1-3ff1-f886-87ba5454f8d6", "sub/inner"),
    ],
)
def test_nodes_are_read_from_the_paths_of_tasks(path: str, ns: str, node: str | None) -> None:
    assert node_of(path, ns) == node


def test_the_time_of_a_checkpoint_is_in_its_id() -> None:
    before = datetime.now(UTC)
    found = saved_at(str(uuid_utils.uuid6()))

    assert found is not None
    assert before - timedelta(milliseconds=5) <= found <= datetime.now(UTC) + timedelta(milliseconds=5)
    assert saved_at(str(uuid4())) is None
    assert saved_at(checkpoint(7)) == at(7)
