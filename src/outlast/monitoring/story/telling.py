"""Making a story of what rows tell: numbered by attempts, put in order, in plain words."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any, Final
from uuid import UUID

from outlast.domain.story import KINDS, Entry, Row, RunStanding, Story
from outlast.monitoring.story.attempts import Attempts, attempts_of
from outlast.monitoring.story.places import node_of, saved_at
from outlast.monitoring.story.wording import said
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.stories import StoryStore

_RANKS: Final = {kind: rank for rank, kind in enumerate(KINDS)}
#: What belongs to no attempt, whenever it happens.
_OUTSIDE: Final = frozenset({
    "run.created", "admission", "run.cancel_requested", "run.discarded", "run.replayed", "run.revived", "notification",
    "webhook", "feedback", "audit", "question.answered", "question.expired", "question.withdrawn", "question.vote",
    "question.comment",
})  # fmt: skip


async def story_of(
    pool: Pool,
    thread_id: str,
    *,
    content: bool = False,
    audit: bool = True,
    run_id: UUID | None = None,
    since: datetime | None = None,
) -> Story:
    """Return the story of a thread of the context's tenant, as the database has it at this moment.

    Names and figures alone, unless `content` asks for what was said: inputs, outputs, arguments, answers and messages
    of errors. `audit`: with the entries of the audit log about the thread, its runs and its questions. `run_id` and
    `since` leave out what is not of that run, or older. What retention has deleted (answers and usage of calls, rows of
    runs) is not in it. Raises NotFound, and Undecipherable where content is wanted and its key is gone.
    """
    rows = await StoryStore(pool).read(thread_id, content=content, audit=audit, run_id=run_id, since=since)
    return told(thread_id, rows, since=since)


def told(thread_id: str, rows: Iterable[Row], *, since: datetime | None = None) -> Story:
    """Make a story of rows in any order."""
    rows = list(rows)
    attempts = attempts_of(rows)
    entries = [
        _entry(row, at, attempts.get(row.run_id) if row.run_id is not None else None)
        for row, at in _in_time(rows, attempts)
    ]
    kept = [entry for entry in entries if since is None or entry.at >= since]
    return Story(thread_id=thread_id, runs=tuple(_standings(rows, attempts)), entries=tuple(kept))


def _standings(rows: Iterable[Row], attempts: Mapping[UUID, Attempts]) -> Iterable[RunStanding]:
    created = [(row.at, row.source, row) for row in rows if row.what == "run.created" and row.at is not None]
    for _, _, row in sorted(created, key=lambda each: each[:2]):
        if row.run_id is not None:
            yield RunStanding(
                run_id=row.run_id, agent=row.facts["agent"], status=row.facts["status"],
                attempts=len(attempts[row.run_id].epochs) if row.run_id in attempts else 0,
                error_code=row.facts["error_code"] if row.facts["status"] == "failed" else None,
            )  # fmt: skip


def _in_time(rows: Sequence[Row], attempts: Mapping[UUID, Attempts]) -> list[tuple[Row, datetime]]:
    """Return the rows in order, each with its time; steps have one of other machines, which is corrected."""
    timed = [(row, row.at) for row in rows if row.at is not None]
    first = min((at for _, at in timed), default=None)
    steps = [_named(row) for row in rows if row.at is None]
    timed += _steps_in_time(steps, attempts, first) if first is not None else _bare(steps)
    numbers = count()
    keyed = [
        ((at, _RANKS.get(row.what, len(KINDS)), row.facts.get("seq") or 0, next(numbers)), row) for row, at in timed
    ]
    return [(row, key[0]) for key, row in sorted(keyed, key=lambda each: each[0])]


def _bare(steps: Iterable[Row]) -> list[tuple[Row, datetime]]:
    """Return the steps of a graph that was run outside of Outlast."""
    timed = [(row, _own_time(row)) for row in steps]
    return [(row, at) for row, at in timed if at is not None]


def _steps_in_time(
    steps: Sequence[Row], attempts: Mapping[UUID, Attempts], first: datetime
) -> list[tuple[Row, datetime]]:
    """Return steps with their times. Along the line of a graph time does not run backwards."""
    timed: list[tuple[Row, datetime]] = []
    last: dict[str, datetime] = defaultdict(lambda: first)
    for row in sorted(steps, key=lambda row: (row.facts["seq"], row.what == "task")):
        ns = row.facts["ns"]
        at = max(_own_time(row) or last[ns], last[ns])
        at = last[ns] = _during(row, at, attempts)
        timed.append((row, at))
    return timed


def _during(row: Row, at: datetime, attempts: Mapping[UUID, Attempts]) -> datetime:
    own = attempts.get(row.run_id) if row.run_id is not None else None
    number = None if own is None or row.epoch is None else own.of_epoch(row.epoch)
    if own is None or number is None:
        return at
    # Nobody writes down when a task raised; it was the last that its attempt did.
    last = None if row.what == "step" or row.facts["done"] else own.ended_at[number - 1]
    return own.within(number, last or at)


def _own_time(row: Row) -> datetime | None:
    return saved_at(row.source) if row.what == "step" else saved_at(row.facts["checkpoint"])


def _named(row: Row) -> Row:
    """Return a step, or a task, with the names of its nodes."""
    ns = row.facts["ns"]
    if row.what == "task":
        return replace(row, facts={**row.facts, "node": node_of(row.facts["path"], ns)})
    tasks: list[dict[str, Any]] = [
        {"node": node, "task": task["task"], "epoch": task["epoch"]}
        for task in row.facts["tasks"]
        if (node := node_of(task["path"], ns)) is not None
    ]
    return replace(row, facts={**row.facts, "tasks": tasks})


def _entry(row: Row, at: datetime, attempts: Attempts | None) -> Entry:
    number = None
    if attempts is not None and row.what not in _OUTSIDE:
        # A call does not say under which epoch it was made; only one attempt was under way then. And an effect has the
        # epoch of its last call.
        by_time = row.epoch is None or row.what == "effect"
        number = attempts.at(at) if by_time or row.epoch is None else attempts.of_epoch(row.epoch)
    if attempts is not None and row.what == "effect" and row.epoch is not None:
        row = replace(row, facts={**row.facts, "last_attempt": attempts.of_epoch(row.epoch)})
    return Entry(
        at=at, kind=row.what, run_id=row.run_id, attempt=number, epoch=row.epoch, text=said(row, number),
        facts=row.facts, content=row.content, source=row.source,
    )  # fmt: skip
