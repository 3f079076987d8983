"""kill -9 of a real worker process at every fault point; then another one goes on, and an outsider counts."""

import ast
import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import call_kills
import pytest
from checker import Asked, violations
from fleet import PROJECT, Fleet, Runs, WorkerProcess
from mixed_runs import enqueue_mix
from witness import seen

import outlast
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, NotFound
from outlast.telemetry import POINTS
from waiting import until

pytestmark = pytest.mark.processes

SOURCES = Path(outlast.__file__).parent


def _emitted() -> set[str]:
    names: set[str] = set()
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "emit" and node.args:
                (name, *_) = node.args
                assert isinstance(name, ast.Constant), f"{file}: a point's name is a literal"
                names.add(str(name.value))
    return names


def test_every_point_is_emitted_and_every_emitted_name_is_a_point() -> None:
    assert _emitted() == set(POINTS)


# What has to happen before a worker comes to a point by itself.
Trouble = Callable[[Fleet, Runs, WorkerProcess], Awaitable[None]]


async def _nothing(fleet: Fleet, runs: Runs, worker: WorkerProcess) -> None:
    pass


async def _drain(fleet: Fleet, runs: Runs, worker: WorkerProcess) -> None:
    await _working(fleet)
    worker.drain()


async def _cut(fleet: Fleet, runs: Runs, worker: WorkerProcess) -> None:
    await _working(fleet)
    await runs.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name IN ('outlast-checkpoints', 'outlast-hints')"
    )


async def _steal(fleet: Fleet, runs: Runs, worker: WorkerProcess) -> None:
    """Another takes its runs, and it does not know."""
    await _working(fleet)
    await runs.rows(
        "WITH stolen AS (UPDATE runs SET status = 'queued', worker_id = NULL, epoch = epoch + 1"
        " WHERE status = 'running' RETURNING id, epoch, tenant)"
        " INSERT INTO run_history (run_id, epoch, event, tenant)"
        " SELECT id, epoch - 1, 'handed_back', tenant FROM stolen RETURNING 1"
    )


async def _freeze(fleet: Fleet, runs: Runs, worker: WorkerProcess) -> None:
    """Suspended until its runs belong to another."""
    await _working(fleet)
    worker.freeze()
    fleet.start()
    await until(lambda: _reaped(runs), 20, "the frozen worker's runs are taken")
    worker.wake()


async def _die_nearby(fleet: Fleet, runs: Runs, worker: WorkerProcess) -> None:
    """The armed worker is the one that recovers."""
    await until(lambda: runs.live_worker(worker.pid))
    other = fleet.start()
    await until(lambda: _owns_runs(runs, other.pid), 20)
    other.kill()


async def _working(fleet: Fleet) -> None:
    await until(lambda: _started(fleet), 20, "a step has started")


async def _started(fleet: Fleet) -> bool:
    return any(event["event"] == "started" for event in seen(fleet.witness))


async def _reaped(runs: Runs) -> bool:
    return bool(await runs.rows("SELECT 1 FROM runs WHERE crashes > 0"))


async def _owns_runs(runs: Runs, pid: int) -> bool:
    return bool(await runs.rows(
        "SELECT 1 FROM runs r JOIN workers w ON w.id = r.worker_id WHERE w.pid = %s AND r.status = 'running'", pid
    ))  # fmt: skip


KILLED_AT: dict[str, tuple[Trouble, int]] = {
    "run.claimed": (_nothing, 1),
    "run.started": (_nothing, 2),
    "run.executed": (_nothing, 2),
    "run.settle.before_commit": (_nothing, 2),
    "run.settled": (_nothing, 1),
    "run.lease_lost": (_steal, 1),
    "run.drained": (_drain, 1),
    "run.progress.saved": (_nothing, 1),
    "checkpoint.before_commit": (_nothing, 4),
    "checkpoint.after_commit": (_nothing, 5),
    "checkpoint.connection_lost": (_cut, 1),
    "worker.started": (_nothing, 1),
    "worker.heartbeat": (_nothing, 2),
    "worker.fenced": (_freeze, 1),
    "worker.draining": (_drain, 1),
    "worker.stopped": (_drain, 1),
    "recovery.before_reap": (_die_nearby, 1),
    "recovery.reaped": (_die_nearby, 1),
    "loop.failed": (_cut, 1),
}
# A client's points, not a worker's.
CLIENTS = {"run.enqueue.before_commit", "run.enqueued", "run.cancel.requested"}
# Points that no run of the mix comes to; each has a test of its own below.
APART = {"run.rolled_back.before_commit"}
# Killed there beside what they belong to, in tests/agent_server/test_crons.py.
CRONS = {"cron.before_commit", "cron.ticked", "cron.skipped"}
# Killed at with agents that ask models, in test_call_kills.py.
CALLS = {*call_kills.POINTS, "call.replayed", "call.connection_lost"}
# Killed at with agents that have effects, in test_effect_kills.py.
EFFECTS = {
    "effect.before_intent", "effect.intended", "effect.called", "effect.recorded", "effect.replayed", "effect.unknown"
}  # fmt: skip
# Between two of the points above, with nothing stored on the way: a kill there is a kill before the next try. What they
# are about is tested in tests/calls and tests/agents.
WITHIN_CALLS = {
    "call.not_kept", "call.mismatch", "call.try_failed", "call.failed", "call.unauthorized", "call.fell_back",
    "call.restarted", "call.retry_denied", "call.limited", "call.cached", "call.cache_down", "call.unpriced",
    "call.capped", "call.history_mended", "call.context_trimmed", "breaker.opened", "breaker.probing", "breaker.closed",
    "tool.failed", "tool.cut",
}  # fmt: skip
# Beside runs: tests/server/test_encryption_at_rest.py fails at it.
ENCRYPTION = {"encryption.resealed.before_commit", "encryption.row_refused"}
# Not on the path of a run: what they are about is tested, a kill there is not.
# Killed at, or looked at, in tests/calls: test_budget_processes.py and test_budget_calls.py.
BUDGETS = {
    "budget.reserved", "budget.before_settle", "budget.released", "budget.soft_limit", "budget.exceeded",
    "budget.overrun",
}  # fmt: skip
# Where a run asks, and nothing is stored that a kill could lose: tests/policies. `switch.stopped` is a drain.
POLICIES = {"tool.refused", "tool.approved", "tool.disapproved", "policy.objected", "switch.stopped", "switch.turned"}
# Killed at in test_review_kills.py; an output that fails or passes with a mark is looked at in tests/workers.
REVIEWS = {
    "review.repair.before", "review.escalated", "review.answered", "review.edited", "review.accepted", "review.failed"
}  # fmt: skip
# Looked at in tests/storage/postgres/test_audit_log.py and tests/server/test_erasure_routes.py.
AUDIT = {"audit.head", "audit.lost"}
# Looked at in tests/admission/test_pipeline.py.
ADMISSION = {"admission.refused"}
# Killed at in test_notification_kills.py; the last two are looked at in tests/notifications.
NOTIFICATIONS = {
    "notification.before_commit", "notification.sent", "notification.delivered", "notification.failed"
}  # fmt: skip
# Killed at in test_inbox_kills.py; the last two are looked at in tests/queues/test_question_rows.py.
INBOX = {
    "inbox.answered.before_commit", "inbox.answered", "inbox.expired.before_commit", "inbox.expired", "inbox.overdue",
    "inbox.not_expired",
}  # fmt: skip
# A replay is one transaction that nothing follows: tests/recovery/test_reviving.py.
REPLAYS = {"recovery.replayed"}
# Only told, with nothing stored on the way: tests/workers/test_run_summaries.py, tests/agents/test_node_events.py and
# tests/server/test_http_events.py.
TOLD = {"run.ended", "node.started", "node.ended", "tool.ended", "stream.ended", "http.answered", "logs.lost"}
# Killed at in test_alert_kills.py; a heartbeat that was not written down is sent again: tests/monitoring/alerts.
ALERTS = {"alert.before_commit", "alert.fired", "alert.resolved", "alert.heartbeat"}
# The same: tests/monitoring/metrics/test_run_metrics.py.
COUNTED = {"call.metered", "run.taken_away", "inbox.resumed"}
# Told after a commit, or of what is lost: tests/monitoring/anomalies, tests/monitoring/test_observing.py.
ANOMALIES = {"anomaly.found", "anomaly.ended", "telemetry.lost"}
BESIDE = {"stream.before_append", "stream.dropped", "webhook.delivered", "webhook.failed", "upkeep.deleted"}


def test_every_point_has_a_test() -> None:
    in_calls = CALLS | EFFECTS | WITHIN_CALLS | BUDGETS | POLICIES | REPLAYS | REVIEWS
    elsewhere = CLIENTS | APART | CRONS | in_calls | ADMISSION | ENCRYPTION | AUDIT | NOTIFICATIONS | BESIDE | INBOX
    elsewhere |= TOLD | COUNTED | ANOMALIES | ALERTS
    assert KILLED_AT.keys() | elsewhere == POINTS.keys()


async def _all_end(runs: Runs, asked: list[Asked]) -> None:
    """Answer what is asked until everything has ended."""

    async def ended() -> bool:
        for view in await runs.queue.store.find(status=RunStatus.WAITING):
            try:
                await runs.queue.answer(view.id, "yes")
            except Conflict:
                continue
        left = await runs.rows("SELECT 1 FROM runs WHERE ended_at IS NULL")
        return not left

    await until(ended, 30, "all runs end")


@pytest.mark.parametrize("point", KILLED_AT)
async def test_nothing_is_lost_or_doubled_when_a_worker_is_killed_at(point: str, fleet: Fleet, runs: Runs) -> None:
    trouble, nth = KILLED_AT[point]
    asked = await enqueue_mix(runs) if trouble is not _die_nearby else []
    # Where another has to die, it needs some of the runs.
    victim = fleet.start(
        fault=f"{point}:exit:1:{nth}", OUTLAST_WORKER__CONCURRENCY="1" if trouble is _die_nearby else "8"
    )
    if trouble is _die_nearby:
        asked = await enqueue_mix(runs)
    await trouble(fleet, runs, victim)
    await asyncio.to_thread(victim.wait, 25)

    assert (point, victim.pid) in fleet.struck()
    assert victim.status == 137
    fleet.start()
    await _all_end(runs, asked)
    assert await violations(runs, asked, fleet.witness) == []


# At which time the surprise comes.
SURPRISED_AT = {
    "run.claimed": 1, "run.started": 2, "run.executed": 2, "run.settle.before_commit": 2, "run.settled": 2,
    "run.progress.saved": 1, "checkpoint.before_commit": 3, "checkpoint.after_commit": 3, "worker.heartbeat": 1,
}  # fmt: skip


@pytest.mark.parametrize("action", ["raise", "lost"])
@pytest.mark.parametrize("point", SURPRISED_AT)
async def test_a_worker_outlasts_a_surprise_at(point: str, action: str, fleet: Fleet, runs: Runs) -> None:
    asked = await enqueue_mix(runs)
    worker = fleet.start(fault=f"{point}:{action}:1:{SURPRISED_AT[point]}")
    await _all_end(runs, asked)
    await until(lambda: _struck(fleet), message=f"{point} was hit")

    assert not worker.ended.is_set()
    assert await violations(runs, asked, fleet.witness) == []


@pytest.mark.parametrize(
    ("point", "nth"),
    [("run.claimed", 1), ("run.executed", 2), ("run.settle.before_commit", 2), ("checkpoint.before_commit", 4),
     ("checkpoint.after_commit", 4)],
)  # fmt: skip
async def test_everything_that_a_suspended_worker_says_too_late_is_refused_at(
    point: str, nth: int, fleet: Fleet, runs: Runs
) -> None:
    asked = await enqueue_mix(runs)
    zombie = fleet.start(fault=f"{point}:stall:1:{nth};stall=0.5")
    await until(lambda: _struck(fleet), 20)
    zombie.freeze()
    fleet.start()
    await until(lambda: _reaped(runs), 20)
    zombie.wake()
    await _all_end(runs, asked)

    assert await violations(runs, asked, fleet.witness) == []


async def _struck(fleet: Fleet) -> bool:
    return bool(fleet.struck())


CLIENT = """
import asyncio, sys
from uuid import UUID
sys.path.insert(0, sys.argv[1])
from fleet import Runs
from outlast import telemetry

async def main():
    telemetry.arm(sys.argv[3])
    async with Runs.open(sys.argv[2]) as runs:
        if sys.argv[5] == "enqueue":
            await runs.enqueue("line", {"seed": 1, "slow": 0.01}, id=UUID(sys.argv[4]))
        else:
            await runs.queue.cancel(UUID(sys.argv[4]))

asyncio.run(main())
"""


@pytest.mark.parametrize("point", sorted(CLIENTS))
async def test_a_client_that_is_killed_leaves_a_whole_run_or_none_at(
    point: str, fleet: Fleet, runs: Runs, database_url: str
) -> None:
    run_id = uuid4()
    what = "cancel" if "cancel" in point else "enqueue"
    if what == "cancel":
        await runs.enqueue("line", {"seed": 1, "slow": 0.01}, id=run_id)
    client = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CLIENT, str(PROJECT.parent), database_url, f"{point}:exit", str(run_id), what],
        check=False,
        timeout=60,
    )
    assert client.returncode == 137

    fleet.start()
    if point == "run.enqueue.before_commit":
        with pytest.raises(NotFound):
            await runs.queue.store.get(run_id)
        return
    await _all_end(runs, [])
    expected = RunStatus.CANCELLED if what == "cancel" else RunStatus.SUCCEEDED
    assert await runs.status(run_id) is expected


async def test_a_worker_that_is_killed_while_it_rolls_back_leaves_all_of_the_run_or_nothing(
    fleet: Fleet, runs: Runs
) -> None:
    run_id = await runs.enqueue("line", {"seed": 1, "slow": 0.2}, thread_id="t")
    victim = fleet.start(fault="run.rolled_back.before_commit:exit:1:1")
    await until(lambda: _has_checkpoints(runs, run_id), 20, "it has written something")
    await runs.queue.cancel(run_id, action="rollback")
    await asyncio.to_thread(victim.wait, 25)

    assert fleet.struck() == [("run.rolled_back.before_commit", victim.pid)]
    assert await runs.status(run_id) is RunStatus.RUNNING, "nothing of the rollback was stored"
    assert await _has_checkpoints(runs, run_id)
    fleet.start()
    await until(lambda: _is_gone(runs, run_id), 30, "recovery rolls it back")
    assert not await _has_checkpoints(runs, run_id)
    following = await runs.enqueue("line", {"seed": 1, "slow": 0.01}, thread_id="t")
    await _all_end(runs, [])
    assert await runs.status(following) is RunStatus.SUCCEEDED


async def _has_checkpoints(runs: Runs, run_id: UUID) -> bool:
    return bool(await runs.rows("SELECT 1 FROM checkpoints WHERE run_id = %s LIMIT 1", str(run_id)))


async def _is_gone(runs: Runs, run_id: UUID) -> bool:
    return not await runs.rows("SELECT 1 FROM runs WHERE id = %s", run_id)
