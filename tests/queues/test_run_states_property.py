"""The queue against a model of it: real SQL, several workers, every decision in any order."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from run_rows import AGENTS, MAX_CRASHES, add_worker, new_run, rows

from outlast.domain.intake import Intake
from outlast.domain.options import RunOptions
from outlast.domain.outcome import Cancelled, Drained, Failed, Outcome, Succeeded, Waiting, settle
from outlast.domain.run import ENDED, FRONT, ClaimedRun, RunStatus, may_become
from outlast.errors import Conflict, LeaseLost, NotFound, RunEnded, ThreadBusy
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.workers import WorkerStore

LEASE = timedelta(seconds=60)
LATER = timedelta(hours=1)
S = RunStatus


@dataclass
class Model:
    """What a run should be."""

    id: UUID
    thread: str
    priority: int
    max_attempts: int
    age: int
    status: RunStatus
    due: bool
    epoch: int = 0
    errors: int = 0
    crashes: int = 0
    worker: UUID | None = None
    cancel_asked: bool = False
    answer: Any = None
    api: bool = False
    rolls_back: bool = False
    reported: bool = False
    past: list[RunStatus] = field(default_factory=list)

    def become(self, status: RunStatus) -> None:
        assert self.status is status or may_become(self.status, status), f"{self.status} -> {status}"
        self.past.append(self.status)
        self.status = status
        self.reported |= self.api and status in ENDED
        if status is not S.RUNNING:
            self.worker = None


class Queue(RuleBasedStateMachine):
    """Every rule does one thing to the database and to the model; every invariant compares them."""

    runner: ClassVar[asyncio.Runner]
    pool: ClassVar[Pool]
    runs = Bundle("runs")
    workers = Bundle("workers")
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.store, self.liveness = RunStore(self.pool, erase=self._erase), WorkerStore(self.pool)
        self.model: dict[UUID, Model] = {}
        self.alive: set[UUID] = set()
        self.do(self._empty())

    async def _empty(self) -> None:
        self.erased: set[UUID] = set()
        await rows(
            self.pool,
            "TRUNCATE threads, thread_details, runs, run_details, workers, idempotency_keys, webhook_deliveries"
            " CASCADE",
        )
        # The server may have started a moment ago, when nobody is declared dead; here that is not what is tested.

    async def _erase(self, _connection: Any, _thread: bytes, run_ids: set[str]) -> None:
        self.erased |= {UUID(run_id) for run_id in run_ids}

    def do(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.do(rows(self.pool, statement, *parameters))

    # what happens

    @rule(target=workers)
    def worker_registers(self) -> UUID:
        worker = self.do(add_worker(self.pool))
        self.alive.add(worker)
        return worker

    @rule(target=runs, thread=st.sampled_from("abc"), priority=st.integers(-1, 1), later=st.booleans(),
          max_attempts=st.integers(1, 3))  # fmt: skip
    def enqueue(self, thread: str, priority: int, later: bool, max_attempts: int) -> UUID:
        delay = LATER.total_seconds() if later else 0.0
        run = new_run(thread, priority=priority, max_attempts=max_attempts, delay_seconds=delay)
        _, status = self.do(self.store.enqueue(run))

        expected = S.BLOCKED if self._front(thread) else S.QUEUED
        assert status is expected
        self.model[run.id] = Model(run.id, thread, priority, max_attempts, len(self.model), expected, not later)
        return run.id

    @rule(target=runs, thread=st.sampled_from("abc"), later=st.booleans(),
          multitask=st.sampled_from(["enqueue", "enqueue", "reject", "interrupt", "rollback"]))  # fmt: skip
    def admit(self, thread: str, later: bool, multitask: Any) -> Any:
        """A run of the Agent Server API: it changes what stands in its way, or nothing at all."""
        standing = [run for run in self.model.values() if run.thread == thread and run.status not in ENDED]
        busy = [run for run in standing if run.status is not S.WAITING]
        run = new_run(
            thread, options=RunOptions(protocol="v1"), multitask=multitask, webhook="https://example.com/",
            delay_seconds=LATER.total_seconds() if later else 0.0,
        )  # fmt: skip
        admitting = self.store.intake.admit(run, Intake(multitask=multitask))
        if multitask == "reject" and busy:
            with pytest.raises(ThreadBusy):
                self.do(admitting)
            return multiple()
        admission = self.do(admitting)

        stopping = busy if multitask in {"interrupt", "rollback"} else []
        going = [*stopping, *(run for run in standing if run.status is S.WAITING)]
        assert set(admission.cancelled) == {run.id for run in stopping if run.status is S.RUNNING}
        assert set(admission.ended) == {run.id for run in going if run.status is not S.RUNNING}
        for other in going:
            if other.status is S.WAITING and multitask != "rollback":
                other.become(S.INTERRUPTED)
            else:
                self._cancelled(other, roll_back=multitask == "rollback")
        front = self._front(thread)
        if front and front.status is S.QUEUED and not later and not front.due and front.epoch == 0:
            front.become(S.BLOCKED)
        expected = S.BLOCKED if self._front(thread) else S.QUEUED
        assert admission.status is expected
        self.model[run.id] = Model(run.id, thread, 0, 3, len(self.model), expected, not later, api=True)
        return run.id

    @rule(target=claims, worker=workers, limit=st.integers(1, 4))
    def claim(self, worker: UUID, limit: int) -> Any:
        order = {row[0]: row[1:] for row in self.sql("SELECT id, -priority, available_at, id FROM runs")}
        claimed = self.do(self.store.claim(worker, AGENTS, limit=limit, max_crashes=MAX_CRASHES))

        ready = [
            run.id
            for run in self.model.values()
            if run.status is S.QUEUED and run.due and run.crashes < MAX_CRASHES and not run.cancel_asked
        ]
        expected = sorted(ready, key=order.__getitem__)[:limit] if worker in self.alive else []
        assert [run.id for run in claimed] == expected, "by priority, then age; and only by a living worker"
        for run in claimed:
            known = self.model[run.id]
            known.become(S.RUNNING)
            known.epoch += 1
            known.worker = worker
            assert run.epoch == known.epoch
            assert run.answer == known.answer, "an answer is there until the question has been dealt with"
        return multiple(*claimed)

    @rule(claim=claims, outcome=st.sampled_from(["succeeded", "waiting", "failed", "retry", "cancelled", "drained"]),
          twice=st.booleans())  # fmt: skip
    def settle_(self, claim: ClaimedRun, outcome: str, twice: bool) -> None:
        settlement = settle(
            OUTCOMES[outcome], errors=claim.errors, max_attempts=claim.max_attempts, backoff=LATER,
            protocol=claim.options.protocol,
        )  # fmt: skip
        if not self._owns(claim):
            with pytest.raises(LeaseLost):
                self._settle_as_stale(claim, settlement)
            return
        run = self.model[claim.id]
        if run.rolls_back:
            status, unblocked = self.do(self.store.settle(claim, settlement))
            assert status is S.CANCELLED, "whatever it was"
            self._cancelled_now(run)
            assert unblocked == (self._unblock(run.thread) is not None)
            return
        expected = settlement.status
        if run.cancel_asked and expected in {S.QUEUED, S.WAITING}:
            expected = S.CANCELLED
        status, unblocked = self.do(self.store.settle(claim, settlement))

        assert status is expected
        run.become(expected)
        run.errors += settlement.errors
        run.due = not settlement.delay
        if expected is not S.QUEUED:
            run.answer = None
        assert unblocked == (self._unblock(run.thread) is not None)
        if twice and not unblocked:
            assert self.do(self.store.settle(claim, settlement))[0] is expected, "an answer was lost: the same again"

    def _settle_as_stale(self, claim: ClaimedRun, settlement: Any) -> None:
        run = self.model.get(claim.id)
        if run is not None and run.epoch == claim.epoch and run.status is not S.RUNNING:
            # Its own settlement may be repeated; another one is refused, so give one that it is not.
            other = S.SUCCEEDED if run.status is not S.SUCCEEDED else S.FAILED
            settlement = type(settlement)(status=other)
        self.do(self.store.settle(claim, settlement))

    @rule(claim=claims)
    def progress(self, claim: ClaimedRun) -> None:
        saving = self.store.save_progress(claim.id, claim.epoch, completed=1, total=2)
        if self._owns(claim):
            self.do(saving)
        else:
            with pytest.raises(LeaseLost):
                self.do(saving)

    @rule(run_id=runs, action=st.sampled_from(["interrupt", "interrupt", "rollback"]))
    def cancel(self, run_id: UUID, action: Any) -> None:
        run = self.model.get(run_id)
        if run is None or run.status in ENDED:
            with pytest.raises(RunEnded if run else NotFound):
                self.do(self.store.cancel(run_id, action=action))
            return
        status = self.do(self.store.cancel(run_id, action=action))

        assert status is (S.RUNNING if run.status is S.RUNNING else S.CANCELLED)
        self._cancelled(run, roll_back=action == "rollback")
        self._unblock(run.thread)

    @rule(run_id=runs)
    def delete(self, run_id: UUID) -> None:
        run = self.model.get(run_id)
        if run is None or run.status is S.RUNNING:
            with pytest.raises(Conflict if run else NotFound):
                self.do(self.store.ends.delete(run_id))
            return
        self.do(self.store.ends.delete(run_id))
        del self.model[run_id]
        self._unblock(run.thread)

    @rule(run_id=runs, text=st.text(max_size=3))
    def answer(self, run_id: UUID, text: str) -> None:
        run = self.model.get(run_id)
        if run is None or run.status is not S.WAITING:
            with pytest.raises(Conflict if run else NotFound):
                self.do(self.store.answer(run_id, text))
            return
        self.do(self.store.answer(run_id, text))
        run.become(S.QUEUED)
        run.due, run.answer = True, text

    @rule(run_id=runs)
    def replay(self, run_id: UUID) -> None:
        run = self.model.get(run_id)
        if run is None or run.status is not S.FAILED:
            with pytest.raises(Conflict if run else NotFound):
                self.do(self.store.replay(run_id))
            return
        status = self.do(self.store.replay(run_id))

        expected = S.BLOCKED if self._front(run.thread) else S.QUEUED
        assert status is expected
        run.become(expected)
        run.errors = run.crashes = 0
        run.due, run.cancel_asked, run.rolls_back = True, False, False

    @rule(worker=workers)
    def worker_dies(self, worker: UUID) -> None:
        """Its lock is gone and it is silent: declared dead, and its runs are taken in one round."""
        if worker not in self.alive:
            return
        self.alive.discard(worker)
        self.sql("UPDATE workers SET heartbeat_at = clock_timestamp() - interval '2 hours' WHERE id = %s", worker)
        dead = self.do(self.liveness.declare_dead(lease=LEASE, grace=timedelta(seconds=1)))
        if not dead:
            self.sql("UPDATE workers SET state = 'dead', ended_at = clock_timestamp() WHERE id = %s", worker)
        lost = {run.id: run for run in self.model.values() if run.worker == worker}
        reaped = self.do(self.liveness.reap(limit=100))

        assert {row[0] for row in reaped} == set(lost), "all of its runs and no other"
        for run_id, crashes, epoch, _ in reaped:
            run = lost[run_id]
            run.become(S.QUEUED)
            run.crashes += 1
            run.epoch += 1
            assert (crashes, epoch) == (run.crashes, run.epoch)
            run.due = True
        assert not self.do(self.liveness.reap(limit=100)), "a crash is counted once"
        # The pause after a second crash is not waited for here.
        self.sql("UPDATE runs SET available_at = clock_timestamp() WHERE id = ANY(%s)", list(lost))

    @rule(target=claims, claim=claims, worker=workers)
    def another_takes_over(self, claim: ClaimedRun, worker: UUID) -> Any:
        """The old owner still holds its claim; whatever it says from here on must be refused."""
        if not self._owns(claim):
            return multiple()
        self.worker_leaves(self.model[claim.id].worker)
        return self.claim(worker, 4)

    @rule(worker=workers)
    def worker_leaves(self, worker: UUID) -> None:
        """It drained: what it has is handed back without counting anything."""
        released = self.do(self.liveness.release(worker))
        owned = [run for run in self.model.values() if run.worker == worker]
        assert set(released) == {run.id for run in owned}
        for run in owned:
            run.become(S.QUEUED)
            run.epoch += 1
            run.due = True

    @rule(worker=workers, known=st.booleans())
    def worker_reconciles(self, worker: UUID, known: bool) -> None:
        owned = [run for run in self.model.values() if run.worker == worker]
        named = {run.id: run.epoch if known else run.epoch - 1 for run in owned}
        given_back = self.do(self.liveness.give_back_unknown(worker, named))
        assert set(given_back) == (set() if known else set(named))
        for run in [] if known else owned:
            run.become(S.QUEUED)
            run.epoch += 1
            run.due = True

    @rule(run_id=runs, stale=st.booleans(), failed=st.booleans())
    def take_away(self, run_id: UUID, stale: bool, failed: bool) -> None:
        run = self.model.get(run_id)
        if run is None:
            return
        status = S.FAILED if failed else S.CANCELLED
        epoch = run.epoch - 1 if stale else run.epoch
        taken = self.do(
            self.store.take_away(run_id, thread_key(run.thread), epoch, status=status, code="x", message=None)
        )

        assert taken == (not stale and run.status in {S.QUEUED, S.RUNNING})
        if taken and run.rolls_back:
            self._cancelled_now(run)
        elif taken:
            run.become(status)
            run.epoch += 1
        self._unblock(run.thread)

    @rule()
    def recovery_looks_for_runs_without_a_future(self) -> None:
        found = self.do(self.store.without_future(grace=LEASE, max_crashes=MAX_CRASHES))
        hopeless = {run_id: why for run_id, _, _, why in reversed(found)}
        assert hopeless == {
            run.id: "cancelled" if run.cancel_asked else "crashed"
            for run in self.model.values()
            if run.status is S.QUEUED and (run.cancel_asked or run.crashes >= MAX_CRASHES)
        }
        assert not self.do(self.liveness.stranded()), "nobody needs to repair anything"

    @rule(thread=st.sampled_from("abc"))
    def unblock(self, thread: str) -> None:
        assert not self.do(self.store.unblock(thread_key(thread))), "there is nothing to unblock"

    # what the model says

    def _front(self, thread: str) -> Model | None:
        return next((run for run in self.model.values() if run.thread == thread and run.status in FRONT), None)

    def _owns(self, claim: ClaimedRun) -> bool:
        run = self.model.get(claim.id)
        return run is not None and run.status is S.RUNNING and run.epoch == claim.epoch

    def _cancelled(self, run: Model, *, roll_back: bool) -> None:
        run.cancel_asked = True
        run.rolls_back |= roll_back
        if run.status is not S.RUNNING:
            self._cancelled_now(run)

    def _cancelled_now(self, run: Model) -> None:
        run.become(S.CANCELLED)
        if run.rolls_back:
            assert (run.id in self.erased) == (run.epoch > 0), "what it wrote is gone with it"
            del self.model[run.id]

    def _unblock(self, thread: str) -> Model | None:
        if self._front(thread):
            return None
        blocked = [run for run in self.model.values() if run.thread == thread and run.status is S.BLOCKED]
        if not blocked:
            return None
        ages = {row[0]: row[1] for row in self.sql("SELECT id, created_at FROM runs")}
        following = min(blocked, key=lambda run: (not run.due, -run.priority, ages[run.id], run.id))
        following.become(S.QUEUED)
        return following

    # what must hold at all times

    @invariant()
    def the_database_is_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        stored = {
            row[0]: row[1:]
            for row in self.sql("SELECT id, status, epoch, errors, crashes, worker_id, ended_at IS NOT NULL FROM runs")
        }
        assert stored == {
            run.id: (run.status, run.epoch, run.errors, run.crashes, run.worker, run.status in ENDED)
            for run in self.model.values()
        }

    @invariant()
    def every_end_of_a_run_with_a_webhook_is_reported(self) -> None:
        if not hasattr(self, "model"):
            return
        reported = {row[0] for row in self.sql("SELECT run_id FROM webhook_deliveries")}
        assert reported == {run.id for run in self.model.values() if run.reported}

    @invariant()
    def a_thread_has_one_front_and_blocked_runs_stand_behind_it(self) -> None:
        if not hasattr(self, "model"):
            return
        counts = self.sql(
            "SELECT count(*) FILTER (WHERE status IN ('queued', 'running', 'waiting')),"
            " count(*) FILTER (WHERE status = 'blocked') FROM runs GROUP BY thread_key"
        )
        assert all(front == 1 or (front == 0 and blocked == 0) for front, blocked in counts)


OUTCOMES: dict[str, Outcome] = {
    "succeeded": Succeeded(output={"x": 1}),
    "waiting": Waiting(interrupts=[{"id": "i", "value": "?"}], checkpoint_id=uuid4(), output=None),
    "failed": Failed(code="no", message="no", retryable=False),
    "retry": Failed(code="again", message="again", retryable=True),
    "cancelled": Cancelled(),
    "drained": Drained(),
}


@pytest.fixture
def connected(database: DatabaseSettings) -> Iterator[None]:
    with asyncio.Runner() as runner:
        Queue.runner, Queue.pool = runner, Pool(database, application_name="test")
        runner.run(Queue.pool.open())
        yield
        runner.run(Queue.pool.close())


def test_the_queue_does_what_its_model_says(connected: None) -> None:
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck),
            derandomize=False, print_blob=True,
        ),
    )  # fmt: skip
