"""Policies in front of the queue: refused, delayed, changed, or stored until a person has said yes."""

from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from police import Police
from policed_agents import World

from outlast.admission.request import RunRequest, ThreadRules
from outlast.domain.acting import Principal, acting_for
from outlast.domain.options import RunOptions
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, InvalidInput
from outlast.refusals import PolicyRefused
from outlast.server.app import create_app
from outlast.settings import CallSettings

S = RunStatus
ASK = {"patterns": {"money": {"pattern": "refund", "found": "ask"}}}
API = RunOptions(protocol="v1")


async def test_a_refused_run_is_not_stored(police: Police) -> None:
    await police.open({"order": ["policed_agents:Fridays"]})
    with pytest.raises(PolicyRefused) as refused:
        await police.start("two_steps", {"task": "today"})
    assert (refused.value.policy, refused.value.reason) == ("Fridays", "not today")
    assert await police.rows("SELECT FROM runs") == []
    assert (await police.rows("SELECT verdict, stage FROM admission_decisions")) == [("refuse", "policies")]
    await police.start("two_steps", {"task": "tomorrow"})


async def test_over_http_a_refusal_is_a_403_that_names_the_policy(police: Police) -> None:
    app = create_app(await police.open({"order": ["policed_agents:Fridays"]}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/agent/start", json={"agent": "two_steps", "input": {"task": "today"}})
    assert answer.status_code == 403
    problem = answer.json()
    assert (problem["code"], problem["policy"], problem["reason"]) == ("policy_refused", "Fridays", "not today")


async def test_masked_data_is_nowhere_in_the_database(police: Police) -> None:
    await police.open({"personal_data": {"found": "mask"}})
    run_id = await police.start("two_steps", {"task": "write to ann@example.com"})
    assert (await police.view(run_id)).input == {"task": "write to <email>"}
    rows = await police.rows("SELECT convert_from(input, 'UTF8') FROM run_details")
    assert "ann@" not in str(rows)


async def test_a_run_that_is_asked_about_begins_when_a_person_has_said_yes(police: Police) -> None:
    World.gate.set()
    async with police.working(ASK) as runtime:
        run_id = await police.start("two_steps", {"task": "refund it"})
        view = await police.stands(run_id, S.WAITING)
        (asked,) = view.interrupts or ()
        assert asked["value"]["type"] == "approval"
        assert "patterns" in asked["value"]["reason"]
        assert World.steps == []
        with acting_for(Principal(user="ann")):
            assert await runtime.queue.answer(run_id, {"approved": True}) is S.QUEUED
        done = await police.stands(run_id, S.SUCCEEDED)
    assert World.steps == ["first", "second"]
    assert done.interrupts is None
    assert (await police.rows("SELECT approval ->> 'by' FROM run_details")) == [("ann",)]


async def test_a_run_that_a_person_does_not_want_is_cancelled_and_makes_room(police: Police) -> None:
    runtime = await police.open(ASK)
    run_id = await police.start("two_steps", {"task": "refund it"}, thread_id="t")
    behind = await police.start("two_steps", {"task": "hello"}, thread_id="t")
    assert (await police.view(behind)).status is S.BLOCKED
    assert await runtime.queue.answer(run_id, "no") is S.CANCELLED
    assert (await police.view(run_id)).status is S.CANCELLED
    assert (await police.view(behind)).status is S.QUEUED


async def test_only_a_yes_or_a_no_is_an_answer_and_only_the_first(police: Police) -> None:
    runtime = await police.open(ASK)
    run_id = await police.start("two_steps", {"task": "refund it"})
    for answer in ({"text": "sure"}, 1, None, "perhaps"):
        with pytest.raises(InvalidInput, match="waits for a yes"):
            await runtime.queue.answer(run_id, answer)
    await runtime.queue.answer(run_id, True)
    with pytest.raises(Conflict, match="does not wait"):
        await runtime.queue.answer(run_id, False)
    assert (await police.view(run_id)).status is S.QUEUED


async def test_a_run_behind_another_one_is_asked_about_when_its_turn_has_come(police: Police) -> None:
    runtime = await police.open(ASK)
    first = await police.start("two_steps", {"task": "hello"}, thread_id="t")
    second = await police.start("two_steps", {"task": "refund it"}, thread_id="t")
    assert (await police.view(second)).status is S.BLOCKED
    with pytest.raises(Conflict):
        await runtime.queue.answer(second, True)
    await runtime.queue.cancel(first)
    assert (await police.view(second)).status is S.WAITING
    await runtime.queue.answer(second, True)
    assert (await police.view(second)).status is S.QUEUED


async def api_run(police: Police, task: str, multitask: str = "enqueue") -> UUID:
    gate = police.runtimes[0].gate()
    rules = ThreadRules(multitask=multitask, if_not_exists="create")  # pyright: ignore[reportArgumentType]
    request = RunRequest(agent="two_steps", input={"task": task}, thread_id="t", thread=rules, options=API)
    return (await gate.admit(request)).run_id


async def test_the_next_message_of_a_thread_does_not_take_the_place_of_one_that_waits_for_a_yes(police: Police) -> None:
    await police.open(ASK)
    waiting = await api_run(police, "refund it")
    behind = await api_run(police, "hello")
    assert (await police.view(waiting)).status is S.WAITING
    assert (await police.view(behind)).status is S.BLOCKED
    # As any run that has still to run, it is cancelled by one that interrupts.
    await api_run(police, "stop", "interrupt")
    assert (await police.view(waiting)).status is S.CANCELLED


async def test_a_run_that_waits_for_a_yes_can_be_cancelled(police: Police) -> None:
    runtime = await police.open(ASK)
    run_id = await police.start("two_steps", {"task": "refund it"})
    await runtime.queue.cancel(run_id)
    assert (await police.view(run_id)).status is S.CANCELLED


async def test_a_run_outside_of_the_hours_is_due_when_it_opens(police: Police) -> None:
    # Open for one minute of the day that is not now.
    now = (await (await police.open()).queue.wait(await police.start("two_steps"), timeout=timedelta(0))).created_at
    opens = (now + timedelta(hours=6)).strftime("%H:%M")
    closes = (now + timedelta(hours=6, minutes=1)).strftime("%H:%M")
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    police.runtimes.clear()
    await police.open({"hours": {"days": days, "opens": opens, "closes": closes, "closed": "later"}})
    view = await police.view(await police.start("two_steps"))
    assert view.status is S.QUEUED
    assert timedelta(hours=5, minutes=58) < view.available_at - view.created_at <= timedelta(hours=6)


async def test_a_run_may_use_no_more_than_its_tenant_and_agent_may(police: Police) -> None:
    """The lowest of what the calls' own caps and the policies say counts."""
    from outlast.calls.caps import within_policies

    runtime = await police.open({"runs": {"tokens": 100, "agents": {"two_steps": {"cost_usd": 0.5}}}})
    caps = CallSettings(caps={"tokens": 50}).caps  # pyright: ignore[reportArgumentType]

    class Scope:
        calls, tenant, agent = runtime.calls, "default", "two_steps"

    lowered = within_policies(caps, Scope())  # pyright: ignore[reportArgumentType]
    assert (lowered.tokens, lowered.cost_usd) == (50, 0.5)
