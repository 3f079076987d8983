"""Which threads do not go on, why, where they stand, and whether that can be recovered."""

from datetime import timedelta
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Interrupt

from outlast.agents.standing import read_place
from outlast.domain.acting import across_tenants, acting_for
from outlast.domain.run import RunStatus
from outlast.domain.stuck import PendingCall, Why
from outlast.errors import NotFound

SILENT = timedelta(minutes=10)


async def test_a_failed_run_holds_its_thread_up_and_can_be_recovered(shop):
    [run_id] = await shop.dead("hi", agent="caller", input={"messages": []}, thread_id="desk")
    found = await shop.standstills.is_stuck("desk")

    assert found is not None
    assert (found.why, found.run_id, found.agent, found.error_code) == (Why.FAILED, run_id, "caller", "RuntimeError")
    assert found.recoverable
    assert found.advice == f"repair the cause, then `outlast dlq replay {run_id}`"
    assert found.place is not None
    assert (found.place.last, found.place.next, found.place.step) == (("think",), ("act",), 1)
    assert found.place.pending_calls == (PendingCall(id="call-1", name="refund", arguments={"amount": 5}),)
    assert found.place.errors == ("RuntimeError('no refund today')",)
    assert [each.thread_id for each in await shop.standstills.scan()] == ["desk"]

    shop.repair()
    await shop.letters.replay(run_id)
    await shop.end(run_id)
    assert await shop.standstills.is_stuck("desk") is None
    assert await shop.standstills.scan() == []


async def test_an_error_that_comes_again_is_not_recoverable_and_says_what_to_repair(idle_shop):
    await fail(idle_shop, "version_mismatch")
    [found] = await idle_shop.standstills.scan()
    assert not found.recoverable
    assert found.advice.startswith("deploy the version of the agent")


async def test_a_discarded_letter_is_not_in_the_scan_and_says_so_of_its_thread(idle_shop):
    run_id = await fail(idle_shop, "KeyError")
    await idle_shop.letters.discard(run_id)
    found = await idle_shop.standstills.is_stuck("desk")
    assert found is not None
    assert (found.why, found.recoverable) == (Why.DISCARDED, False)
    assert await idle_shop.standstills.scan() == []


async def test_a_thread_on_which_a_later_run_went_on_is_not_held_up_by_a_letter(idle_shop):
    await fail(idle_shop, "KeyError")
    later = await idle_shop.start(thread_id="desk")
    await idle_shop.rows("UPDATE runs SET status = 'succeeded', ended_at = now() WHERE id = %s RETURNING id", later)
    assert await idle_shop.standstills.is_stuck("desk") is None
    assert await idle_shop.standstills.scan() == []


@pytest.mark.parametrize(
    ("worker", "claimed", "why", "recoverable"),
    [
        ("dead", timedelta(0), Why.OWNER_DEAD, True),
        ("live", timedelta(minutes=11), Why.SILENT, False),
        ("live", timedelta(minutes=9), None, False),
    ],
)
async def test_a_run_that_is_said_to_run(idle_shop, worker, claimed, why, recoverable):
    run_id = await idle_shop.start(thread_id="desk")
    worker_id = await add_worker(idle_shop, state=worker)
    await idle_shop.rows(
        "UPDATE runs SET status = 'running', worker_id = %s, epoch = 1, claimed_at = clock_timestamp() - %s::interval"
        " WHERE id = %s RETURNING id",
        worker_id, claimed, run_id,
    )  # fmt: skip
    found = await idle_shop.standstills.is_stuck("desk")
    assert (None if found is None else (found.why, found.recoverable)) == (None if why is None else (why, recoverable))
    assert [each.why for each in await idle_shop.standstills.scan()] == ([] if why is None else [why])


@pytest.mark.parametrize(
    ("due", "agents", "off", "why"),
    [
        (timedelta(minutes=1), "{}", False, Why.NO_WORKER),
        (timedelta(minutes=1), "{shop}", True, Why.SWITCHED_OFF),
        (timedelta(minutes=1), "{shop}", False, Why.OVERDUE),
        (timedelta(seconds=1), "{}", False, None),
    ],
)
async def test_a_run_that_is_due_and_not_taken(idle_shop, due, agents, off, why):
    run_id = await idle_shop.start(thread_id="desk")
    await add_worker(idle_shop, agents=agents)
    await idle_shop.rows(
        "UPDATE runs SET available_at = clock_timestamp() - %s::interval WHERE id = %s RETURNING id", due, run_id
    )
    if off:
        await idle_shop.runtime.switch_desk().turn_off("agent", "shop", reason="it errs")
    found = await idle_shop.standstills.is_stuck("desk")
    assert (None if found is None else found.why) == why
    assert [each.why for each in await idle_shop.standstills.scan()] == ([] if why is None else [why])


async def test_a_run_that_is_blocked_by_nothing_is_recoverable(idle_shop):
    run_id = await idle_shop.start(thread_id="desk")
    await idle_shop.rows("UPDATE runs SET status = 'blocked' WHERE id = %s RETURNING id", run_id)
    [found] = await idle_shop.standstills.scan()
    assert (found.why, found.recoverable) == (Why.STRANDED, True)


async def test_what_waits_for_a_person_is_told_and_not_scanned(idle_shop):
    run_id = await idle_shop.start(thread_id="desk")
    await idle_shop.rows("UPDATE runs SET status = 'waiting' WHERE id = %s RETURNING id", run_id)
    found = await idle_shop.standstills.is_stuck("desk")
    assert found is not None
    assert (found.why, found.recoverable) == (Why.WAITING, False)
    assert await idle_shop.standstills.scan() == []


async def test_a_cancelled_run_leaves_its_thread_between_two_steps(shop):
    await shop.dead("book", thread_id="desk")
    await shop.rows("UPDATE runs SET status = 'cancelled' RETURNING id")
    found = await shop.standstills.is_stuck("desk")
    assert found is not None
    assert (found.why, found.recoverable, found.advice) == (
        Why.CANCELLED, False, "somebody cancelled it; `outlast threads rerun desk` goes on from where it stands"
    )  # fmt: skip
    assert found.place is not None
    assert found.place.next == ("second",)


async def test_a_thread_that_no_run_takes_on_is_abandoned(shop):
    await shop.dead("book", thread_id="desk")
    await shop.rows("DELETE FROM runs RETURNING id")
    found = await shop.standstills.is_stuck("desk")
    assert found is not None
    assert (found.why, found.run_id) == (Why.ABANDONED, None)


async def test_a_thread_whose_state_cannot_be_read_is_in_quarantine(idle_shop):
    await idle_shop.start(thread_id="desk")
    await idle_shop.rows("UPDATE threads SET quarantine_reason = 'no type shop.Order' RETURNING key")
    found = await idle_shop.standstills.is_stuck("desk")
    assert found is not None
    assert (found.why, found.detail, found.recoverable) == (Why.QUARANTINED, "no type shop.Order", False)
    assert Why.QUARANTINED in {each.why for each in await idle_shop.standstills.scan()}


async def test_one_tenant_sees_nothing_of_another_and_the_operator_sees_all(idle_shop):
    with acting_for("acme"):
        await fail(idle_shop, "KeyError")
    assert await idle_shop.standstills.scan() == []
    with pytest.raises(NotFound):
        await idle_shop.standstills.is_stuck("desk")
    with across_tenants():
        assert [(each.tenant, each.thread_id) for each in await idle_shop.standstills.scan()] == [("acme", "desk")]


def test_only_calls_without_a_result_are_pending_and_finished_tasks_have_no_error():
    calls = [{"name": "a", "args": {}, "id": "1"}, {"name": "b", "args": {"x": 1}, "id": "2"}]
    place = read_place(
        head(
            {"messages": [HumanMessage("hi"), AIMessage("", tool_calls=calls), ToolMessage("done", tool_call_id="1")]},
            ("task-1", "__error__", "boom"), ("task-2", "__error__", "first"), ("task-2", "messages", []),
            ("task-3", "__interrupt__", (Interrupt(value="?", id="f" * 32),)),
        )
    )  # fmt: skip
    assert place.pending_calls == (PendingCall(id="2", name="b", arguments={"x": 1}),)
    assert place.errors == ("boom",)
    assert place.questions == ("f" * 32,)


def test_a_conversation_without_calls_has_none_pending():
    assert read_place(head({"messages": [AIMessage("hello")], "n": 1})).pending_calls == ()
    assert read_place(head({})).last == ()


def head(values, *writes) -> CheckpointTuple:
    checkpoint = {
        "v": 1, "id": str(uuid4()), "ts": "2026-11-21T08:00:00+00:00", "channel_values": values,
        "channel_versions": {}, "versions_seen": {"__input__": {}},
    }  # fmt: skip
    return CheckpointTuple({"configurable": {}}, checkpoint, {"step": 3}, None, list(writes))


async def fail(shop, code: str):
    run_id = await shop.start(thread_id="desk")
    await shop.rows("UPDATE run_details SET error_code = %s WHERE run_id = %s RETURNING run_id", code, run_id)
    await shop.rows("UPDATE runs SET status = 'failed', ended_at = now() WHERE id = %s RETURNING id", run_id)
    assert (await shop.runtime.queue.store.get(run_id)).status is RunStatus.FAILED
    return run_id


async def add_worker(shop, *, state: str = "live", agents: str = "{shop}"):
    worker = uuid4()
    await shop.rows(
        "INSERT INTO workers (id, host, pid, concurrency, agents, state, ended_at)"
        " VALUES (%s, 'here', 1, 8, %s, %s, CASE WHEN %s = 'dead' THEN now() END) RETURNING id",
        worker, agents, state, state,
    )  # fmt: skip
    return worker
