"""Kill switches on real runs: what is off stops at a step boundary, waits and goes on; nothing is done twice."""

from uuid import UUID

import pytest
from langchain_core.messages import AIMessage
from police import Police
from policed_agents import World

from outlast.domain.acting import acting_for
from outlast.domain.run import RunStatus
from outlast.domain.switch import SwitchKind
from outlast.errors import InvalidInput, NotFound
from outlast.queues.queue import RunQueue
from waiting import until

S = RunStatus


async def held(police: Police, run_id: UUID) -> None:
    """Wait until the run is back in the queue, and a worker would have claimed it long ago."""
    await police.stands(run_id, S.QUEUED)
    queue: RunQueue = police.runtimes[0].queue
    assert await queue.store.next_due(["two_steps", "effecting", "plain_tools"], max_crashes=3) is None


async def test_a_run_under_way_stops_at_its_step_boundary_and_goes_on_where_it_was(police: Police) -> None:
    async with police.working() as runtime:
        run_id = await police.start("two_steps")
        await World.arrived.wait()
        await runtime.switch_desk().turn_off("agent", "two_steps", reason="looks wrong")

        async def known() -> bool:
            return runtime.policing.board.stops("default", "two_steps") is not None

        await until(known)
        World.gate.set()
        await held(police, run_id)
        assert World.steps == ["first"]
        assert (await police.view(run_id)).errors == 0

        await runtime.switch_desk().turn_on("agent", "two_steps")
        await police.stands(run_id, S.SUCCEEDED)
    assert World.steps == ["first", "second"], "the step before the switch is not done again"


@pytest.mark.parametrize(("kind", "name", "tenant"), [("agent", "effecting", None), ("tenant", "", "*")])
async def test_what_is_off_is_not_claimed(police: Police, kind: SwitchKind, name: str, tenant: str | None) -> None:
    runtime = await police.open()
    await runtime.switch_desk().turn_off(kind, name, reason="wait", tenant=tenant)
    run_id = await police.start("effecting")
    async with police.working() as worker:
        await held(police, run_id)
        other = await police.start("two_steps") if kind == "agent" else None
        if other is not None:
            World.gate.set()
            await police.stands(other, S.SUCCEEDED)
        assert World.steps.count("sends") == 0
        await worker.switch_desk().turn_on(kind, name, tenant=tenant)
        await police.stands(run_id, S.SUCCEEDED)


async def test_an_effect_that_is_off_is_not_announced_and_its_run_waits(police: Police) -> None:
    async with police.working() as runtime:
        await runtime.switch_desk().turn_off("tool", "send_mail", reason="bounces")
        run_id = await police.start("effecting", {"task": "hello"})

        async def stopped() -> bool:
            return bool(await police.rows("SELECT FROM run_details WHERE held_by = 'send_mail'"))

        await until(stopped)
        await held(police, run_id)
        assert World.sent == []
        assert await police.rows("SELECT FROM effects") == []
        await runtime.switch_desk().turn_on("tool", "send_mail")
        await police.stands(run_id, S.SUCCEEDED)
    assert World.sent == ["hello"]


@pytest.mark.parametrize("agent", ["plain_tools", "hooked_tools"])
async def test_a_tool_that_is_off_is_not_called_and_its_run_waits(police: Police, agent: str) -> None:
    World.says = [AIMessage("", tool_calls=[{"name": "send", "args": {"text": "hi"}, "id": "1"}])]
    async with police.working() as runtime:
        await runtime.switch_desk().turn_off("tool", "send", reason="bounces")
        await runtime.policing.board.look()
        run_id = await police.start(agent, {"messages": []})

        async def stopped() -> bool:
            return bool(await police.rows("SELECT FROM run_details WHERE held_by = 'send'"))

        await until(stopped)
        await police.stands(run_id, S.QUEUED)
        assert World.sent == []
        await runtime.switch_desk().turn_on("tool", "send")
        await police.stands(run_id, S.SUCCEEDED)
    assert World.sent == ["hi"]


async def test_a_tools_switch_holds_nobody_who_does_not_use_it(police: Police) -> None:
    async with police.working() as runtime:
        await runtime.switch_desk().turn_off("tool", "send", reason="bounces")
        run_id = await police.start("effecting")
        await police.stands(run_id, S.SUCCEEDED)


async def test_an_answer_that_was_paid_for_is_not_asked_for_again(police: Police) -> None:
    """The model is asked once, though the run stops behind its answer."""
    World.says = [AIMessage("", tool_calls=[{"name": "send", "args": {"text": "hi"}, "id": "1"}]), AIMessage("never")]
    async with police.working() as runtime:
        await runtime.switch_desk().turn_off("tool", "send", reason="bounces")
        await runtime.policing.board.look()
        run_id = await police.start("plain_tools", {"messages": []})

        async def stopped() -> bool:
            return bool(await police.rows("SELECT FROM run_details WHERE held_by = 'send'"))

        await until(stopped)
        await runtime.switch_desk().turn_on("tool", "send")
        await police.stands(run_id, S.SUCCEEDED)
    assert [message.content for message in World.says] == ["never"]


async def test_another_tenants_switch_is_none_of_ours(police: Police) -> None:
    async with police.working() as runtime:
        with acting_for("acme"):
            await runtime.switch_desk().turn_off("agent", "effecting", reason="ours alone")
        run_id = await police.start("effecting")
        await police.stands(run_id, S.SUCCEEDED)
        assert await runtime.switch_desk().overview() == []
        with acting_for("acme"):
            (shown,) = await runtime.switch_desk().overview()
        assert (shown.switch.name, shown.runs) == ("effecting", 0)


async def test_every_process_knows_within_a_moment(police: Police) -> None:
    here, there = await police.open(), await police.open()
    await here.switch_desk().turn_off("agent", "two_steps", reason="stop")

    async def knows() -> bool:
        await there.policing.board.fresh()
        return there.policing.board.stops("default", "two_steps") is not None

    await until(knows, 2)


async def test_the_first_reason_stays_and_who_it_was(police: Police) -> None:
    desk = (await police.open()).switch_desk()
    await desk.turn_off("tool", "send", reason="bounces")
    again = await desk.turn_off("tool", "send", reason="another one")
    assert again.reason == "bounces"
    (shown,) = await desk.overview()
    assert shown.switch == again


async def test_every_turn_is_in_the_audit_log(police: Police) -> None:
    desk = (await police.open()).switch_desk()
    await desk.turn_off("tool", "send", reason="ann@example.com was written to")
    await desk.turn_off("tool", "send", reason="once more")
    await desk.turn_on("tool", "send")
    entries = await police.rows("SELECT action, object, details FROM audit_log ORDER BY seq")
    assert [row[:2] for row in entries] == [("switch.off", "tool:send"), ("switch.on", "tool:send")]
    assert "ann@" not in str(entries)


async def test_what_is_on_cannot_be_turned_on(police: Police) -> None:
    with pytest.raises(NotFound, match="agent two_steps"):
        await (await police.open()).switch_desk().turn_on("agent", "two_steps")


NONSENSE: list[tuple[SwitchKind, str, str]] = [
    ("agent", "", "x"), ("tenant", "acme", "x"), ("tool", "a\x00b", "x"), ("tool", "send", " "),
    ("tool", "n" * 201, "x"),
]  # fmt: skip


async def test_a_switch_that_makes_no_sense_is_refused(police: Police) -> None:
    desk = (await police.open()).switch_desk()
    for kind, name, reason in NONSENSE:
        with pytest.raises(InvalidInput):
            await desk.turn_off(kind, name, reason=reason)
    assert await desk.overview() == []
