import asyncio
import time
from typing import Any
from uuid import UUID

import engine_agents
import pytest
from engine import Engine, project, seconds
from engine_agents import SEEN, THREAD_GATE, gate, nodes_of

from outlast import telemetry
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, ThreadQuarantined
from waiting import until

S = RunStatus


# order


async def test_runs_of_one_thread_run_one_after_the_other_in_order(engine: Engine) -> None:
    async with engine.working():
        runs = [await engine.start("steps", {"messages": [str(n)]}, thread_id="t") for n in range(4)]
        for run_id in runs:
            assert (await engine.ended(run_id)).status is S.SUCCEEDED

    assert [(str(run_id), node) for run_id in runs for node in ("n1", "n2", "n3")] == SEEN
    assert (await engine.view(runs[-1])).output["messages"] == [
        word for n in range(4) for word in (str(n), "n1", "n2", "n3")
    ]


async def test_a_higher_priority_is_claimed_first(engine: Engine) -> None:
    low, middle, high = [await engine.start("steps", priority=priority) for priority in (-1, 0, 1)]
    async with engine.working(worker={"concurrency": 1}):
        for run_id in (low, middle, high):
            await engine.ended(run_id)

    assert list(dict.fromkeys(run for run, _ in SEEN)) == [str(high), str(middle), str(low)]


async def test_a_delayed_run_starts_when_it_is_due_and_not_before(engine: Engine) -> None:
    async with engine.working(worker={"poll": seconds(30)}):
        run_id = await engine.start("steps", delay_seconds=0.7)
        view = await engine.ended(run_id)

    assert view.started_at is not None
    waited = (view.started_at - view.created_at).total_seconds()
    assert 0.7 <= waited < 5, "not left to a poll of 30 seconds"


# errors


async def test_an_error_is_tried_again_from_the_last_step_until_it_works(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("fails", {"error": "ValueError", "times": 2})
        view = await engine.ended(run_id)

    assert (view.status, view.errors) == (S.SUCCEEDED, 2)
    assert nodes_of(run_id) == ["n1", "fail", "fail", "fail", "n3"], "a committed step is not executed again"


async def test_after_the_last_attempt_the_run_fails_with_its_error(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("fails", {"error": "ValueError"}, max_attempts=3)
        view = await engine.ended(run_id)

    assert (view.status, view.errors, view.error_code) == (S.FAILED, 3, "ValueError")
    assert nodes_of(run_id).count("fail") == 3


async def test_a_hopeless_error_is_not_tried_again(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("fails", {"error": "TypeError"})
        view = await engine.ended(run_id)

    assert (view.status, view.errors, view.error_code) == (S.FAILED, 1, "TypeError")


async def test_a_replayed_run_goes_on_from_its_last_step(engine: Engine) -> None:
    async with engine.working() as running:
        run_id = await engine.start("fails", {"error": "ValueError", "times": 3}, max_attempts=3)
        assert (await engine.ended(run_id)).status is S.FAILED
        await running.runtime.queue.replay(run_id)
        await engine.stands(run_id, S.SUCCEEDED)

    assert nodes_of(run_id) == ["n1", "fail", "fail", "fail", "fail", "n3"]


async def test_a_cancellation_that_the_graph_made_up_itself_is_an_error_of_the_run(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("fails", {"error": "CancelledError"}, max_attempts=2)
        view = await engine.ended(run_id)

    assert (view.status, view.error_code, view.errors) == (S.FAILED, "NodeCancelledError", 2)


# cancelling


async def test_queued_and_blocked_runs_are_cancelled_at_once(engine: Engine) -> None:
    front = await engine.start("steps", thread_id="t")
    behind = await engine.start("steps", thread_id="t")
    last = await engine.start("steps", thread_id="t")
    queue = (await engine.client()).queue

    assert await queue.cancel(behind) is S.CANCELLED
    assert await queue.cancel(front) is S.CANCELLED
    assert (await engine.view(last)).status is S.QUEUED, "it moved up"
    with pytest.raises(Conflict):
        await queue.cancel(front)


@pytest.mark.parametrize("agent", ["sleeps", "swallows", "threads"])
async def test_a_running_run_is_cancelled_and_what_is_behind_it_goes_on(agent: str, engine: Engine) -> None:
    async with engine.working() as running:
        run_id = await engine.start(agent, thread_id="t")
        behind = await engine.start("steps", thread_id="t")
        await until(lambda: _has_visited(run_id, 2))
        assert await running.runtime.queue.cancel(run_id) is S.RUNNING
        if agent == "threads":
            THREAD_GATE.set()
        view = await engine.ended(run_id)
        assert (await engine.ended(behind)).status is S.SUCCEEDED

    assert view.status is S.CANCELLED
    assert "n3" not in nodes_of(run_id)


async def _has_visited(run_id: UUID, count: int) -> bool:
    return len(nodes_of(run_id)) >= count


async def test_a_cancellation_whose_hint_is_lost_comes_with_the_heartbeat(engine: Engine) -> None:
    async with engine.working() as running:
        run_id = await engine.start("sleeps")
        await until(lambda: _has_visited(run_id, 2))
        await running.runtime.queue.store.cancel(run_id)  # tells nobody
        view = await engine.ended(run_id)

    assert view.status is S.CANCELLED


async def test_a_run_that_was_cancelled_before_its_worker_died_is_not_started_again(engine: Engine) -> None:
    arrived, go = gate("n2")
    async with engine.working() as running:
        run_id = await engine.start("steps")
        await arrived.wait()
        # Its worker hands it back at the very moment at which it is cancelled.
        await engine.rows("UPDATE runs SET cancel_requested_at = clock_timestamp()")
        await running.runtime.workers.release(running.worker.id)  # type: ignore[arg-type]
        view = await engine.stands(run_id, S.CANCELLED)
        go.set()

    assert view.epoch == 3, "claimed once, given back, ended by recovery"


# time limits


async def test_an_attempt_over_its_time_limit_ends_and_is_not_tried_again(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("sleeps", timeout_seconds=1)
        view = await engine.ended(run_id)

    assert (view.status, view.error_code, view.errors) == (S.FAILED, "timed_out", 1)


# leaving


async def test_a_drained_worker_hands_a_run_back_at_a_step_boundary_and_no_attempt_is_counted(engine: Engine) -> None:
    arrived, go = gate("n2")
    async with engine.working() as first:
        run_id = await engine.start("steps")
        await arrived.wait()
        first.worker.drain()
        go.set()
        await first.task
        view = await engine.view(run_id)
        assert (view.status, view.errors, view.crashes) == (S.QUEUED, 0, 0)
        assert nodes_of(run_id) == ["n1", "n2"], "the step in progress ended, the next did not begin"
    async with engine.working():
        view = await engine.ended(run_id)

    assert (view.status, view.errors, view.crashes) == (S.SUCCEEDED, 0, 0)
    assert nodes_of(run_id) == ["n1", "n2", "n3"]


async def test_a_step_that_outlasts_the_drain_is_cancelled_and_executed_elsewhere(engine: Engine) -> None:
    arrived, _ = gate("n2")
    async with engine.working() as first:
        run_id = await engine.start("steps")
        await arrived.wait()
        await first.drain()
    engine_agents.GATES.clear()
    async with engine.working():
        view = await engine.ended(run_id)

    assert (view.status, view.errors, view.crashes) == (S.SUCCEEDED, 0, 0)
    assert nodes_of(run_id) == ["n1", "n2", "n2", "n3"]


async def test_a_run_that_is_claimed_while_the_worker_is_told_to_leave_drains_too(engine: Engine) -> None:
    _, _ = gate("n1")
    async with engine.working() as running:
        stop = telemetry.subscribe(lambda point, _: running.worker.drain() if point == "run.claimed" else None)
        run_id = await engine.start("steps")
        engine_agents.GATES["n1"].set()
        await running.task
        stop()

    assert (await engine.view(run_id)).status is S.QUEUED
    assert len(nodes_of(run_id)) <= 1, "it stopped at the first boundary"


async def test_a_worker_leaves_no_trace_of_life(engine: Engine) -> None:
    async with engine.working() as running:
        await engine.ended(await engine.start("steps"))
        worker_id = running.worker.id

    assert await engine.rows("SELECT state, running FROM workers WHERE id = %s", worker_id) == [("stopped", 0)]
    held = await engine.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND database ="
                             " (SELECT oid FROM pg_database WHERE datname = current_database())")  # fmt: skip
    assert held == []


# questions


async def test_a_question_waits_for_its_answer_without_a_worker(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("asks")
        view = await engine.stands(run_id, S.WAITING)
    assert [item["value"] for item in view.interrupts or ()] == [{"question": "ask"}]
    assert view.worker_id is None

    await (await engine.client()).queue.answer(run_id, "yes")
    async with engine.working():
        view = await engine.ended(run_id)

    assert view.output["answers"] == [{"ask": "yes"}]
    assert nodes_of(run_id) == ["n1", "ask", "ask", "after ask", "n3"]


async def test_several_questions_are_answered_by_their_ids(engine: Engine) -> None:
    async with engine.working() as running:
        run_id = await engine.start("asks_two")
        view = await engine.stands(run_id, S.WAITING)
        questions = {item["value"]["question"]: item["id"] for item in view.interrupts or ()}
        assert questions.keys() == {"left", "right"}
        await running.runtime.queue.answer(run_id, {questions["left"]: "L", questions["right"]: "R"})
        view = await engine.ended(run_id)

    assert sorted(view.output["answers"], key=str) == [{"left": "L"}, {"right": "R"}]


async def test_one_of_two_questions_may_be_answered_and_the_other_is_asked_again(engine: Engine) -> None:
    async with engine.working() as running:
        run_id = await engine.start("asks_two")
        view = await engine.stands(run_id, S.WAITING)
        questions = {item["value"]["question"]: item["id"] for item in view.interrupts or ()}
        await running.runtime.queue.answer(run_id, {questions["left"]: "L"})
        await until(lambda: _asks_only(engine, run_id, "right"))
        await running.runtime.queue.answer(run_id, {questions["right"]: "R"})
        view = await engine.ended(run_id)

    assert sorted(view.output["answers"], key=str) == [{"left": "L"}, {"right": "R"}]


async def _asks_only(engine: Engine, run_id: UUID, question: str) -> bool:
    view = await engine.view(run_id)
    asked = [item["value"]["question"] for item in view.interrupts or ()]
    return view.status is S.WAITING and asked == [question]


async def test_two_questions_of_one_node_get_an_answer_each(engine: Engine) -> None:
    async with engine.working() as running:
        run_id = await engine.start("asks_twice")
        for question, answer in (("first?", 1), ("second?", 2)):
            await until(lambda question=question: _asks(engine, run_id, question))
            await running.runtime.queue.answer(run_id, answer)
        view = await engine.ended(run_id)

    assert view.output["answers"] == [1, 2]


async def _asks(engine: Engine, run_id: UUID, question: str) -> bool:
    view = await engine.view(run_id)
    return view.status is S.WAITING and [item["value"] for item in view.interrupts or ()] == [question]


@pytest.mark.parametrize("where", ["before", "after"])
async def test_an_answer_survives_a_worker_that_is_lost_with_it(where: str, engine: Engine) -> None:
    """Lost before the graph has the answer, or after it has it and before the step is committed."""
    async with engine.working():
        run_id = await engine.start("asks")
        await engine.stands(run_id, S.WAITING)
    await (await engine.client()).queue.answer(run_id, "yes")
    arrived, _ = gate("ask" if where == "before" else "after ask")
    async with engine.working() as first:
        await arrived.wait()
        await _lose(first)
        engine_agents.GATES.clear()
    async with engine.working():
        view = await engine.ended(run_id)

    assert view.output["answers"] == [{"ask": "yes"}]
    assert nodes_of(run_id).count("n3") == 1


async def _lose(running: Any) -> None:
    """Another owner takes the run: what this worker does with it from here on is refused."""
    await running.runtime.workers.release(running.worker.id)


async def test_the_answer_to_the_first_question_is_never_taken_for_the_second(engine: Engine) -> None:
    """The worker is lost between the moment at which the second question is saved and the run is `waiting`."""
    async with engine.working() as first:
        run_id = await engine.start("asks_twice")
        await until(lambda: _asks(engine, run_id, "first?"))
        ((asked,),) = await engine.rows("SELECT interrupts::text FROM run_details")
        await first.runtime.queue.answer(run_id, 1)
        await until(lambda: _asks(engine, run_id, "second?"))
    # As if `waiting` had never been stored: the run is where it was when the first answer was given.
    await engine.rows("UPDATE runs SET status = 'queued', epoch = epoch + 1 WHERE id = %s", run_id)
    await engine.rows("UPDATE run_details SET answer = '1', interrupts = %s::jsonb WHERE run_id = %s", asked, run_id)
    async with engine.working() as second:
        await until(lambda: _asks(engine, run_id, "second?"))
        await second.runtime.queue.answer(run_id, 2)
        view = await engine.ended(run_id)

    assert view.output["answers"] == [1, 2]


async def test_the_input_is_not_applied_twice_when_a_run_goes_on_elsewhere(engine: Engine) -> None:
    arrived, _ = gate("n2")
    async with engine.working() as first:
        run_id = await engine.start("steps", {"messages": ["hello"]})
        await arrived.wait()
        await _lose(first)
        engine_agents.GATES.clear()
    async with engine.working():
        view = await engine.ended(run_id)

    assert view.output["messages"] == ["hello", "n1", "n2", "n3"]


async def test_a_run_that_was_lost_after_its_last_step_returns_what_it_had(engine: Engine) -> None:
    async with engine.working() as running:
        for agent, given in (("steps", {"messages": ["hello"]}), ("progress_tasks", 3)):
            run_id = await engine.start(agent, given)
            before = await engine.ended(run_id)
            seen = len(SEEN)
            await engine.rows(
                "UPDATE runs SET status = 'queued', epoch = epoch + 1, ended_at = NULL WHERE id = %s", run_id
            )
            await engine.rows("UPDATE run_details SET output = NULL WHERE run_id = %s", run_id)
            await running.runtime.queue.store.next_due([agent], max_crashes=3)
            after = await engine.stands(run_id, S.SUCCEEDED)
            assert (after.output, len(SEEN)) == (before.output, seen), agent


async def test_a_graph_that_lost_the_waiting_step_is_a_version_mismatch(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("asks")
        await engine.stands(run_id, S.WAITING)
    await (await engine.client()).queue.answer(run_id, "yes")
    async with engine.working(agents=project(asks="asks_renamed")):
        view = await engine.ended(run_id)

    assert (view.status, view.error_code) == (S.FAILED, "version_mismatch")


async def test_a_graph_that_lost_a_step_in_the_middle_is_a_version_mismatch(engine: Engine) -> None:
    arrived, _ = gate("ask")
    async with engine.working() as first:
        run_id = await engine.start("asks")
        await arrived.wait()
        await _lose(first)
        engine_agents.GATES.clear()
        await first.drain()
        await engine.rows("UPDATE runs SET status = 'queued', worker_id = NULL, epoch = epoch + 1, ended_at = NULL"
                          " WHERE id = %s AND status = 'running'", run_id)  # fmt: skip
    async with engine.working(agents=project(asks="asks_renamed")):
        view = await engine.ended(run_id)

    assert (view.status, view.error_code) == (S.FAILED, "version_mismatch")


# values


HOSTILE = [
    "NUL \x00 inside", "lone \ud800 surrogate", 2**70, float("nan"), {"\x00key": ["\udfff", -(2**64)]}, ["deep"] * 3
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
async def test_a_hostile_question_is_asked_and_answered(value: Any, engine: Engine) -> None:
    engine_agents.VALUES["ask"] = value
    async with engine.working():
        run_id = await engine.start("asks")
        await engine.stands(run_id, S.WAITING)
        await (await engine.client()).queue.answer(run_id, "yes")
        view = await engine.ended(run_id)

    assert (view.status, view.output["answers"]) == (S.SUCCEEDED, [{"ask": "yes"}])


@pytest.mark.parametrize("value", HOSTILE)
async def test_a_hostile_output_ends_its_run(value: Any, engine: Engine) -> None:
    engine_agents.VALUES["spit"] = value
    async with engine.working():
        view = await engine.ended(await engine.start("spits"))

    assert view.status is S.SUCCEEDED


async def test_an_output_that_cannot_be_stored_fails_its_run_by_name(engine: Engine) -> None:
    engine_agents.VALUES["spit"] = lambda: None
    async with engine.working():
        view = await engine.ended(await engine.start("spits"))

    assert (view.status, view.error_code) == (S.FAILED, "state_not_serializable")


async def test_a_quarantined_thread_takes_no_new_runs(engine: Engine) -> None:
    async with engine.working():
        await engine.ended(await engine.start("steps", thread_id="t"))
        await engine.rows("UPDATE threads SET quarantine_reason = 'cannot be read'")
        with pytest.raises(ThreadQuarantined, match="cannot be read"):
            await engine.start("steps", thread_id="t")

    assert await engine.rows("SELECT count(*) FROM runs") == [(1,)]


# the claim


async def test_a_claim_whose_answer_was_lost_strands_no_run(engine: Engine) -> None:
    """The database gave the run to a worker that never heard of it."""
    async with engine.working(worker={"poll": seconds(0.1)}):
        telemetry.arm("run.claimed:lost:1:1")
        try:
            run_id = await engine.start("steps")
            view = await engine.ended(run_id)
        finally:
            telemetry.arm("")

    assert (view.status, view.errors, view.crashes, view.epoch) == (S.SUCCEEDED, 0, 0, 3)


@pytest.mark.parametrize("point", ["run.executed", "run.settle.before_commit", "run.settled"])
@pytest.mark.parametrize("action", ["raise", "lost"])
async def test_a_surprise_around_the_end_of_a_run_leaves_it_not_running_for_ever(
    point: str, action: str, engine: Engine
) -> None:
    async with engine.working():
        telemetry.arm(f"{point}:{action}:1:1")
        try:
            view = await engine.ended(await engine.start("steps"))
        finally:
            telemetry.arm("")

    assert view.status is S.SUCCEEDED


async def test_an_outcome_that_the_database_refuses_becomes_a_failure_that_it_takes(engine: Engine) -> None:
    async with engine.working():
        arrived, go = gate("n2")
        run_id = await engine.start("steps")
        await arrived.wait()
        await engine.rows("ALTER TABLE run_details ADD CHECK (output IS NULL)")
        go.set()
        view = await engine.ended(run_id, 30)

    assert (view.status, view.error_code) == (S.FAILED, "CheckViolation")


# life and death


async def test_a_blocked_event_loop_costs_no_lease(engine: Engine) -> None:
    async with engine.working():
        run_id = await engine.start("blocks", {"seconds": 2.2})
        view = await engine.ended(run_id)

    assert (view.status, view.epoch, view.crashes) == (S.SUCCEEDED, 1, 0), "nobody took it, though the lease is 1.5 s"


async def test_a_worker_that_was_declared_dead_drops_its_runs_and_begins_a_new_life(engine: Engine) -> None:
    arrived, _ = gate("n2")
    async with engine.working() as running:
        run_id = await engine.start("steps")
        await arrived.wait()
        first = running.worker.id
        await engine.rows("UPDATE workers SET state = 'dead', ended_at = clock_timestamp() WHERE id = %s", first)
        await until(lambda: _lives_as_another(running, first))
        engine_agents.GATES.clear()
        view = await engine.ended(run_id)
    assert view.status is S.SUCCEEDED
    assert view.epoch > 1


async def _lives_as_another(running: Any, first: UUID | None) -> bool:
    return running.worker.id != first


async def test_a_run_that_comes_back_to_its_worker_ends_the_attempt_it_was_taken_from(engine: Engine) -> None:
    came, go_on = gate("n2")
    async with engine.working() as running:
        run_id = await engine.start("steps")
        await asyncio.wait_for(came.wait(), 15)
        (older,) = running.tasks
        came.clear()
        await engine.rows("UPDATE runs SET status = 'queued', worker_id = NULL WHERE id = %s", run_id)
        await asyncio.wait_for(came.wait(), 15)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(older, 5)
        go_on.set()
        view = await engine.ended(run_id)

    assert view.status is S.SUCCEEDED
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("run-")] == []


async def test_a_lock_that_was_taken_by_the_old_session_is_taken_again_later(engine: Engine) -> None:
    async with engine.working() as running:
        await engine.ended(await engine.start("steps"))
        worker_id = running.worker.id
        ((key,),) = await engine.rows("SELECT lock_key FROM workers WHERE id = %s", worker_id)
        async with (await engine.client()).pool.connection() as other:
            await engine.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
                              " 'outlast-heartbeat' AND datname = current_database()")  # fmt: skip
            # Half-open: the server still thinks that the old session lives.
            await other.execute("SELECT pg_advisory_lock(%s, %s)", [0x6F75746C, key])
            await until(lambda: _has_connection(engine))
            await other.execute("SELECT pg_advisory_unlock(%s, %s)", [0x6F75746C, key])
        await until(lambda: _is_locked(engine, key))

        assert running.worker.id == worker_id


async def _has_connection(engine: Engine) -> bool:
    found = await engine.rows(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'outlast-heartbeat' AND datname = current_database()"
        " AND state = 'idle'"
    )
    return bool(found)


async def _is_locked(engine: Engine, key: int) -> bool:
    return bool(await engine.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted", key))


async def test_backends_that_are_cut_all_the_time_fail_no_run(engine: Engine) -> None:
    async with engine.working(), engine.working():
        cutting = asyncio.create_task(_cut(engine, for_seconds=2.0))
        runs = []
        while not cutting.done():
            try:
                runs.append(await engine.start("steps"))
            except Exception:  # noqa: BLE001 - not acknowledged
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.02)
        await cutting
        views = [await engine.ended(run_id, 30) for run_id in runs]

    assert len(runs) > 10
    bad = [(view.status, view.error_code, view.error_message) for view in views if view.status is not S.SUCCEEDED]
    assert bad == []
    doubled = [run_id for run_id in runs if nodes_of(run_id).count("n3") > 2]
    assert doubled == []


async def _cut(engine: Engine, *, for_seconds: float) -> None:
    """Three random backends every 200 ms, from a session of its own."""
    from outlast.storage.postgres.pool import connect

    deadline = time.monotonic() + for_seconds
    async with await connect(engine.database, application_name="cutter") as connection:
        while time.monotonic() < deadline:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname ="
                " current_database() AND application_name LIKE 'outlast%' ORDER BY random() LIMIT 3) AS victims"
            )
            await asyncio.sleep(0.2)


# progress


@pytest.mark.parametrize(
    ("agent", "given", "expected"),
    [
        ("progress_async", {}, (1, 3)),
        ("progress_sync", {}, (2, 3)),
        ("progress_own_loop", {}, (2, 3)),
        ("progress_tasks", 2, (2, 3)),
    ],
)
async def test_progress_is_durable_when_the_node_goes_on(
    agent: str, given: Any, expected: tuple[int, int], engine: Engine
) -> None:
    if agent in {"progress_async", "progress_tasks"}:
        gate("reported")
    async with engine.working():
        run_id = await engine.start(agent, given)
        await until(lambda: _has_visited(run_id, 1))
        view = await engine.view(run_id)
        if "reported" in engine_agents.GATES:
            engine_agents.GATES["reported"].set()
        THREAD_GATE.set()
        assert (await engine.ended(run_id)).status is S.SUCCEEDED

    assert (view.completed, view.total) == expected


async def test_the_last_report_of_a_run_is_kept_though_nobody_awaits_it(engine: Engine) -> None:
    async with engine.working():
        view = await engine.ended(await engine.start("progress_many"))

    assert (view.status, view.completed, view.total) == (S.SUCCEEDED, 5, 5)
