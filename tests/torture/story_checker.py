"""Whether the stories of threads are true: what `outlast logs` tells is compared with what outsiders saw.

The outsiders are the witness (every step that began and every effect that was applied, with its process and its key),
the history that triggers have kept of every run, and the processes with the moments at which they were killed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from fleet import Runs, WorkerProcess

from outlast.agents.checkpoints.reading import task_bytes
from outlast.domain.run import ENDED, RunStatus
from outlast.domain.story import Entry, Story
from outlast.errors import NotFound
from outlast.monitoring.story import story_of

# The server may finish a commit whose sender was killed a moment before.
_AFTER_DEATH = timedelta(seconds=1)
_ENDS = {"attempt.lost", "attempt.failed", "attempt.taken", "attempt.waited", "attempt.handed_back", "run.ended"}


class Asked(Protocol):
    """A run whose acknowledgement a client holds."""

    id: UUID
    agent: str
    thread_id: str
    answers: tuple[str, ...]


@dataclass
class Seen:
    """What outsiders saw of all runs; pairs and triples begin with the run's id and an epoch."""

    claims: Counter[Any] = field(default_factory=Counter)
    #: By the kind of the entry that has to tell it.
    ends: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    status: dict[UUID, str] = field(default_factory=dict)
    #: Keys of effects, by run.
    effects: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: (task, epoch) of every step that began, and (run, epoch) -> process.
    started: set[tuple[bytes, int]] = field(default_factory=set)
    processes: dict[tuple[UUID, int], int] = field(default_factory=dict)
    workers: dict[UUID, int] = field(default_factory=dict)
    killed: dict[int, Any] = field(default_factory=dict)


async def untrue_stories(
    runs: Runs, asked: Sequence[Asked], events: Iterable[Mapping[str, Any]], workers: Iterable[WorkerProcess]
) -> list[str]:
    """Tell the story of every thread; return a sentence for everything in it that is not so, or is missing."""
    seen = await _seen(runs, events, workers)
    by_thread: dict[str, list[Asked]] = defaultdict(list)
    for run in asked:
        by_thread[run.thread_id].append(run)
    found: list[str] = []
    for thread_id, of_thread in by_thread.items():
        try:
            story = await story_of(runs.pool, thread_id)
        except NotFound:
            found.append(f"S thread {thread_id}: nothing is told")
            continue
        found += [f"S thread {thread_id}: {text}" for text in _untrue(story, of_thread, seen)]
    return found


async def _seen(runs: Runs, events: Iterable[Mapping[str, Any]], workers: Iterable[WorkerProcess]) -> Seen:
    seen = Seen(killed={worker.pid: worker.killed_at for worker in workers if worker.killed_at is not None})
    seen.workers = dict(await runs.rows("SELECT id, pid FROM workers"))
    errors: dict[UUID, tuple[int, int]] = {}
    for row in await runs.rows(
        "SELECT run_id, before, after, epoch_before, epoch, worker_id, errors, crashes FROM history ORDER BY n"
    ):
        run_id, counts = row[0], (row[6], row[7])
        _note(seen, row, errors.get(run_id, (0, 0)))
        errors[run_id] = counts
    for event in events:
        run_id = UUID(event["run"])
        if event["event"] == "effect":
            seen.effects[run_id].add(event["key"])
        else:
            seen.started.add((task_bytes(event["task"]), event["epoch"]))
            seen.processes[run_id, event["epoch"]] = event["pid"]
    return seen


def _note(seen: Seen, row: tuple[Any, ...], counted: tuple[int, int]) -> None:
    run_id, before, after, epoch_before, epoch, worker_id, errors, crashes = row
    seen.status[run_id] = after
    if before == "queued" and after == "running":
        seen.claims[run_id, epoch, worker_id] += 1
    elif before == "failed" and after in {"queued", "blocked"}:
        seen.ends["run.replayed"][run_id, epoch_before] += 1
    elif before == "running" and after != before:
        if crashes > counted[1]:
            kind = "attempt.lost"
        elif errors > counted[0]:
            kind = "attempt.failed"
        else:
            kind = {"queued": "attempt.handed_back", "waiting": "attempt.waited"}.get(after, "run.ended")
        if kind != "run.ended":
            seen.ends[kind][run_id, epoch_before] += 1


def _untrue(story: Story, asked: Sequence[Asked], seen: Seen) -> Iterator[str]:
    ids = {run.id for run in asked}
    yield from _attempts(story, ids, seen)
    yield from _ends(story, ids, seen)
    yield from _kills(story, seen)
    yield from _effects(story, ids, seen)
    yield from _steps(story, seen)
    yield from _people(story, asked)
    yield from _order(story)


def _attempts(story: Story, ids: set[UUID], seen: Seen) -> Iterator[str]:
    told = Counter((e.run_id, e.epoch, UUID(e.facts["worker_id"])) for e in _of(story, "attempt.claimed"))
    true = Counter({claim: n for claim, n in seen.claims.items() if claim[0] in ids})
    yield from _differences("claims", told, true)
    for kind in ("attempt.lost", "attempt.failed", "attempt.handed_back", "attempt.waited", "run.replayed"):
        told = Counter((entry.run_id, entry.epoch) for entry in _of(story, kind))
        true = Counter({end: n for end, n in seen.ends[kind].items() if end[0] in ids})
        yield from _differences(kind, told, true)
    for entry in _of(story, "attempt.claimed"):
        process = seen.processes.get((entry.run_id, entry.epoch))
        if process is not None and process != entry.facts["pid"]:
            yield f"{entry.text}, and process {process} executed it"


def _ends(story: Story, ids: set[UUID], seen: Seen) -> Iterator[str]:
    told = {run.run_id: run.status for run in story.runs}
    true = {run_id: status for run_id, status in seen.status.items() if run_id in ids}
    if told != true:
        yield f"runs stand at {told}, and were seen at {true}"
    ends = Counter((entry.run_id, entry.facts["status"]) for entry in _of(story, "run.ended"))
    ended = Counter({(run_id, status): 1 for run_id, status in true.items() if RunStatus(status) in ENDED})
    yield from _differences("ends of runs", ends, ended)


def _kills(story: Story, seen: Seen) -> Iterator[str]:
    """What a killed process had when it was killed is a lost attempt; what had ended otherwise, had so before."""
    ends: dict[tuple[UUID | None, int | None], Entry] = {}
    for entry in story.entries:
        if entry.kind in _ENDS:
            ends.setdefault((entry.run_id, entry.attempt), entry)
    for claim in _of(story, "attempt.claimed"):
        killed_at = seen.killed.get(seen.workers.get(UUID(claim.facts["worker_id"]), 0))
        end = ends.get((claim.run_id, claim.attempt))
        if end is None:
            yield f"nothing is told of the end of attempt {claim.attempt} of run {claim.run_id}"
        elif killed_at is not None and end.kind != "attempt.lost" and end.at > killed_at + _AFTER_DEATH:
            yield f"{end.text!r} at {end.at}, and its worker was killed at {killed_at}"


def _effects(story: Story, ids: set[UUID], seen: Seen) -> Iterator[str]:
    told = Counter(entry.facts["key"] for entry in _of(story, "effect"))
    true = {key for run_id in ids for key in seen.effects[run_id]}
    yield from (f"effect {key} is told {n} times" for key, n in told.items() if n > 1)
    yield from (f"effect {key} was applied, and is not told" for key in true - told.keys())
    for entry in _of(story, "effect"):
        if entry.facts["state"] == "done" and entry.facts["key"] not in true:
            yield f"effect {entry.facts['key']} is told as done, and was never applied"


def _steps(story: Story, seen: Seen) -> Iterator[str]:
    done = [(task["node"], task["task"], task["epoch"]) for e in _of(story, "step") for task in e.facts["tasks"]]
    done += [(e.facts["node"], e.facts["task"], e.epoch) for e in _of(story, "task") if e.facts["done"]]
    for node, task, epoch in done:
        # These tell the witness nothing.
        if node not in {"ask", "plain", None} and (bytes.fromhex(task), epoch) not in seen.started:
            yield f"{node} is told as done under epoch {epoch}, and was not started under it"


def _people(story: Story, asked: Sequence[Asked]) -> Iterator[str]:
    told = Counter(entry.run_id for entry in _of(story, "question.answered"))
    for run in asked:
        if told[run.id] != len(run.answers):
            yield f"run {run.id} was answered {len(run.answers)} times, told are {told[run.id]}"


def _order(story: Story) -> Iterator[str]:
    if [entry.at for entry in story.entries] != sorted(entry.at for entry in story.entries):
        yield "it is not in order of time"
    last: dict[UUID | None, int] = defaultdict(int)
    for entry in story.entries:
        if entry.attempt is not None:
            if entry.attempt < last[entry.run_id]:
                yield f"{entry.kind} of attempt {entry.attempt} comes after attempt {last[entry.run_id]}: {entry.text}"
            last[entry.run_id] = entry.attempt


def _of(story: Story, kind: str) -> list[Entry]:
    return [entry for entry in story.entries if entry.kind == kind]


def _differences(what: str, told: Counter[Any], true: Counter[Any]) -> Iterator[str]:
    yield from (f"{what}: {told[each]} of {each} told, {true[each]} seen" for each in (told - true) + (true - told))
