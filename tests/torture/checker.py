"""The invariants, checked from outside after a run of torture: I1-I5, I7, and that what `outlast logs` tells is true.

`observe` puts triggers into the test's database first: every change of a run's status is kept as it was committed.
`violations` compares that history, the checkpoints and what the witness saw; it returns one sentence per breach.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from fleet import Runs, WorkerProcess
from story_checker import untrue_stories
from torture_agents import EXPECTED
from witness import seen

from outlast.agents.checkpoints.reading import task_bytes
from outlast.domain.run import ENDED, RunStatus, may_become
from outlast.errors import NotFound

_OBSERVE = (
    """
CREATE TABLE history (
    n bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT clock_timestamp(), run_id uuid, before text,
    after text, epoch_before integer, epoch integer, worker_id uuid, errors integer, crashes integer
)""",
    # The program writes runs as roles of its own.
    "GRANT INSERT ON history TO outlast_app, outlast_claim",
    """
CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (run_id, before, after, epoch_before, epoch, worker_id, errors, crashes)
    VALUES (NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.epoch END, NEW.epoch, NEW.worker_id, NEW.errors, NEW.crashes);
    RETURN NULL;
END $$""",
    "CREATE TRIGGER kept AFTER INSERT OR UPDATE OF status, epoch ON runs FOR EACH ROW EXECUTE FUNCTION keep_history()",
)


@dataclass(frozen=True)
class Asked:
    """A run whose acknowledgement a client holds."""

    id: UUID
    agent: str
    thread_id: str
    #: The answer that was acknowledged, for a run that asked.
    answers: tuple[str, ...] = ()


async def observe(runs: Runs) -> None:
    """Keep the history of every run from here on."""
    for statement in _OBSERVE:
        await runs.rows(statement)


async def violations(
    runs: Runs, asked: Iterable[Asked], witness: Path, *, succeeded: bool = True, workers: Iterable[WorkerProcess] = ()
) -> list[str]:  # fmt: skip
    """Return what was broken; with `succeeded` every run must have ended well, not only ended.

    `workers`: all that there were; the stories of the threads are compared with what became of them.
    """
    asked = list(asked)
    events = list(seen(witness))
    rows = await runs.rows("SELECT id, status, epoch, thread_key FROM runs")
    found = [*_lost(asked, rows, succeeded=succeeded)]
    found += await _executed_after_commit(runs, events)
    found += await _crooked_lines(runs)
    found += await _epochs_that_fell(runs)
    found += _effects(asked, rows, events)
    found += await _illegal_history(runs)
    found += await _outputs(runs, asked)
    found += await untrue_stories(runs, asked, events, workers)
    return found


def _lost(asked: list[Asked], rows: list[tuple[Any, ...]], *, succeeded: bool) -> Iterator[str]:
    status = {row[0]: row[1] for row in rows}
    for run in asked:
        if run.id not in status:
            yield f"I1 run {run.id} ({run.agent}) was acknowledged and does not exist"
        elif RunStatus(status[run.id]) not in ENDED:
            yield f"I1 run {run.id} ({run.agent}) is still {status[run.id]}"
        elif succeeded and status[run.id] != "succeeded":
            yield f"I1 run {run.id} ({run.agent}) {status[run.id]}"


async def _executed_after_commit(runs: Runs, events: list[dict[str, Any]]) -> list[str]:
    """I2: once a task's output is committed under an epoch, no later epoch may start that task.

    Exact without any clock: the commit is fenced by its epoch, so the claim of a later epoch came after it.
    """
    rows = await runs.rows("SELECT task_id, epoch FROM checkpoint_writes WHERE idx = 0 AND epoch IS NOT NULL")
    committed = {bytes(row[0]): row[1] for row in rows}
    found: list[str] = []
    starts: Counter[tuple[str, int]] = Counter()
    for event in events:
        if event["event"] != "started":
            continue
        starts[event["task"], event["epoch"]] += 1
        epoch = committed.get(task_bytes(event["task"]))
        if epoch is not None and event["epoch"] > epoch:
            found.append(
                f"I2 run {event['run']}: {event['step']} was committed under epoch {epoch} and started again under "
                f"epoch {event['epoch']}"
            )
    found += [
        f"I2 task {task} was started {n} times under epoch {epoch}" for (task, epoch), n in starts.items() if n > 1
    ]
    return found


async def _crooked_lines(runs: Runs) -> list[str]:
    """I3: per (thread, namespace) one root, each parent one child, and the head is the end of the line."""
    rows = await runs.rows("SELECT thread_key, ns, checkpoint_id, parent_id FROM checkpoints")
    heads = {
        (row[0], row[1]): row[2]
        for row in await runs.rows("SELECT thread_key, ns, checkpoint_id FROM checkpoint_heads")
    }
    lines: dict[Any, dict[UUID, UUID | None]] = defaultdict(dict)
    for thread, ns, checkpoint, parent in rows:
        lines[thread, ns][checkpoint] = parent
    found: list[str] = []
    for (thread, ns), line in lines.items():
        where = f"I3 thread {thread} ns {ns!r}"
        children = Counter(line.values())
        found += [f"{where}: {parent or 'the root'} has {n} children" for parent, n in children.items() if n > 1]
        found += [f"{where}: parent {p} is missing" for p in children if p is not None and p not in line]
        ends = [checkpoint for checkpoint in line if checkpoint not in children]
        if ends != [heads.get((thread, ns))]:
            found.append(f"{where}: ends {ends}, head {heads.get((thread, ns))}")
    return found


async def _epochs_that_fell(runs: Runs) -> list[str]:
    """I4: along the order of insertion a run's epochs never go down."""
    rows = await runs.rows(
        "SELECT run_id, seq, epoch, before FROM ("
        "SELECT run_id, seq, epoch, lag(epoch) OVER (PARTITION BY thread_key, ns, run_id ORDER BY seq) AS before"
        " FROM checkpoints) AS s WHERE epoch < before OR epoch IS NULL"
    )
    return [f"I4 run {row[0]}: checkpoint {row[1]} has epoch {row[2]} after {row[3]}" for row in rows]


def _effects(asked: list[Asked], rows: list[tuple[Any, ...]], events: list[dict[str, Any]]) -> Iterator[str]:
    """I5: a receiver that honours keys has applied each effect exactly once."""
    status = {str(row[0]): row[1] for row in rows}
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for event in events:
        if event["event"] == "effect":
            keys[event["run"], event["step"]].add(event["key"])
    for (run_id, name), used in keys.items():
        if len(used) > 1:
            yield f"I5 run {run_id}: the effect of {name} was applied under {len(used)} keys"
    succeeded = [run for run in asked if status.get(str(run.id)) == "succeeded"]
    for run in succeeded:
        missing = [name for name in EXPECTED.get(run.agent, ()) if not keys[str(run.id), name]]
        if missing:
            yield f"I5 run {run.id} ({run.agent}) succeeded without the effects of {missing}"


async def _illegal_history(runs: Runs) -> list[str]:
    """I7 (and I4 for the runs themselves): legal transitions, one end, epochs that only rise, at each claim."""
    found: list[str] = []
    ends: Counter[UUID] = Counter()
    for run, before, after, epoch_before, epoch in await runs.rows(
        "SELECT run_id, before, after, epoch_before, epoch FROM history ORDER BY n"
    ):
        if before is None:
            continue
        if before != after and not may_become(RunStatus(before), RunStatus(after)):
            found.append(f"I7 run {run}: {before} became {after}")
        if before == after and before in ENDED:
            found.append(f"I7 run {run} was changed after it had {before}")
        if epoch < epoch_before or (before == "queued" and after == "running" and epoch != epoch_before + 1):
            found.append(f"I4 run {run}: epoch {epoch_before} became {epoch} ({before} -> {after})")
        ends[run] += before != after and after in ENDED
        # A replay takes the end back.
        ends[run] -= before == "failed" and after in {"queued", "blocked"}
    return found + [f"I7 run {run} ended {count} times" for run, count in ends.items() if count > 1]


async def _outputs(runs: Runs, asked: list[Asked]) -> list[str]:
    """What the clients got is what the steps did, each once, with the answer that was given."""
    found: list[str] = []
    for run in asked:
        try:
            view = await runs.queue.store.get(run.id)
        except NotFound:
            continue
        if view.status is not RunStatus.SUCCEEDED or run.agent not in EXPECTED:
            continue
        done = list((view.output or {}).get("done", ()))
        # On a shared thread the list goes on from the run before.
        given = [name.removeprefix("asked:") for name in done if name.startswith("asked:")]
        done = [name for name in done if not name.startswith("asked:")]
        expected = EXPECTED[run.agent]
        if len(done) % len(expected) or Counter(done) != Counter(expected * (len(done) // len(expected))) or not done:
            found.append(f"I2 run {run.id} ({run.agent}) returned {done}")
        if tuple(given[-1:]) != run.answers[-1:]:
            found.append(f"F58 run {run.id} was answered {run.answers} and took {given}")
    return found


def write_history(path: Path, facts: Mapping[str, Any], found: list[str]) -> None:
    """Keep what is needed to look into a failure."""
    path.write_text(json.dumps({**facts, "violations": found}, indent=1, default=str), encoding="utf-8")
