"""What is counted for service levels, from the rows that runs leave behind."""

import asyncio
from datetime import timedelta

from slo_rows import counted, crash, execute, insert_run, observe

from outlast.domain.acting import acting_for
from outlast.monitoring.slo.objectives import Objectives
from outlast.monitoring.slo.rollup import Rollup
from outlast.monitoring.slo.standing import standings
from outlast.settings_slo import AgentSloSettings, SloSettings
from outlast.storage.postgres.slo import Count, SloStore
from usage_rows import insert_usage

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


async def test_each_service_level_counts_its_own_events(pool):
    await observe(pool, count=8, first_byte_seconds=1.5, tool_calls=3, tool_errors=1, cost_usd=0.1)
    # Late, no tool, too dear.
    await observe(pool, count=2, first_byte_seconds=1.6, cost_usd=0.3, tenant="acme")
    # Nothing was said.
    await observe(pool, status="error")
    # Whoever cancels says nothing about us, but the tools were called.
    await observe(pool, status="cancelled", tool_calls=1)
    found = await counted(pool, SloSettings(cost_usd=0.2))

    def period(slo):
        return found[slo, None].windows.period

    assert period("first_byte") == Count(8, 10)
    assert period("tools") == Count(17, 25)
    assert period("cost") == Count(10, 12)
    assert period("runs") == Count(10, 11)
    assert period("resumes") == period("streams") == period("recovery") == Count(0, 0)
    assert (found["recovery", None].kept, found["recovery", None].budget_left) == (None, None)


async def test_counting_again_changes_nothing_and_counts_what_is_new(pool):
    await observe(pool, count=3, ago=2 * HOUR)
    assert (await counted(pool))["runs", None].windows.period == Count(3, 3)
    assert (await counted(pool))["runs", None].windows.period == Count(3, 3)
    await observe(pool, status="error")
    await observe(pool, count=2)
    runs = (await counted(pool))["runs", None].windows
    assert (runs.period, runs.hour) == (Count(5, 6), Count(2, 3))


async def test_a_count_never_becomes_smaller(pool):
    await observe(pool, count=5)
    await counted(pool)
    await execute(pool, "DELETE FROM run_observations", {})
    await observe(pool, count=2)
    assert (await counted(pool))["runs", None].windows.period == Count(5, 5)


async def test_a_window_holds_what_is_no_older(pool):
    for ago in (MINUTE, 20 * MINUTE, 50 * MINUTE, 5 * HOUR, 2 * DAY, 20 * DAY, 40 * DAY):
        await observe(pool, ago=ago)
    runs = (await counted(pool))["runs", None].windows
    assert [runs.minutes_5, runs.minutes_30, runs.hour, runs.hours_6, runs.days_3, runs.period] == [
        Count(n, n) for n in (1, 2, 3, 4, 5, 6)
    ]


async def test_what_is_old_is_folded_and_no_event_is_lost(pool):
    for ago in (MINUTE, 2 * DAY, 2 * DAY + 5 * MINUTE, 20 * DAY):
        await observe(pool, count=3, ago=ago)
        await observe(pool, status="error", ago=ago)
    before = (await counted(pool))["runs", None].windows
    await execute(pool, "INSERT INTO slo_counts VALUES ('', 'streams', '', now() - interval '35 days', 1, 2)", {})
    await execute(
        pool, "UPDATE slo_counts SET slot = slot - interval '11 days' WHERE slot < now() - interval '15 d'", {}
    )
    await SloStore(pool).tidy()
    after = (await counted(pool))["runs", None].windows
    assert before.period == Count(12, 16)
    assert (after.minutes_5, after.days_3, after.period) == (before.minutes_5, before.days_3, Count(9, 12))
    assert after.ever == Count(12, 16)
    async with pool.connection() as connection:
        rows = await (
            await connection.execute("SELECT slot FROM slo_counts WHERE slot < now() - interval '1 day'")
        ).fetchall()
    assert all(slot.minute == slot.second == 0 for (slot,) in rows)
    assert len([slot for (slot,) in rows if slot.year == 1970]) == 2


async def test_other_limits_count_what_has_happened_anew(pool):
    await observe(pool, count=4, first_byte_seconds=1.0, ago=9 * DAY)
    await observe(pool, count=4, first_byte_seconds=3.0, ago=9 * DAY)
    assert (await counted(pool))["first_byte", None].windows.period == Count(4, 8)
    assert (await counted(pool, SloSettings(first_byte_seconds=5)))["first_byte", None].windows.period == Count(8, 8)
    # A process that was not restarted yet goes on by the old ones.
    assert (await counted(pool))["first_byte", None].windows.period == Count(4, 8)
    await execute(pool, "UPDATE slo_rollups SET rolled_at = now() - interval '3 days'", {})
    await SloStore(pool).tidy()
    assert (await standings(pool, SloSettings()))[0].windows.period == Count(0, 0)


async def test_an_agent_with_an_objective_of_its_own_counts_for_that_alone(pool):
    slow = AgentSloSettings(first_byte_seconds=10, runs_goal=0.5)
    settings = SloSettings(agents={"research": slow, "untold": AgentSloSettings()}, first_byte_goal=0.9)
    await observe(pool, count=2, agent="research", first_byte_seconds=5.0, tool_calls=1)
    await observe(pool, count=3, agent="support", first_byte_seconds=5.0, tool_calls=1)
    await observe(pool, agent="untold", first_byte_seconds=1.0)
    found = await counted(pool, settings)
    assert found["first_byte", "research"].windows.period == Count(2, 2)
    assert found["first_byte", None].windows.period == Count(1, 4)
    assert (found["first_byte", "research"].objective.goal, found["runs", "research"].objective.goal) == (0.9, 0.5)
    # Not promised apart.
    assert ("tools", "research") not in found
    assert found["tools", None].windows.period == Count(5, 5)


async def test_a_run_that_went_on_counts_as_resumed_and_a_retried_one_does_not(pool):
    crashed, asked, retried = [await insert_run(pool, "succeeded") for _ in range(3)]
    await crash(pool, crashed, ago=HOUR, claimed=HOUR)
    await execute(
        pool,
        "INSERT INTO run_history (run_id, epoch, event, tenant) VALUES (%(run)s, 1, 'waited', 'default')",
        {"run": asked},
    )
    await execute(
        pool,
        "INSERT INTO run_attempts (run_id, epoch, kind, error_code, tenant)"
        " VALUES (%(run)s, 1, 'error', 'ValueError', 'default')",
        {"run": retried},
    )
    for run, status in ((crashed, "success"), (asked, "error"), (retried, "error")):
        await observe(pool, run_id=run, epoch=3, status=status)
    assert (await counted(pool))["resumes", None].windows.period == Count(1, 2)


async def test_recovery_is_the_time_from_the_last_sign_of_life_to_the_next_claim(pool):
    minute = timedelta(minutes=1)
    quick, slow, never, waits, gone = [
        await insert_run(pool, status) for status in ("queued", "queued", "queued", "queued", "cancelled")
    ]
    await crash(pool, quick, ago=4 * minute, claimed=4 * minute - timedelta(seconds=10), silent=15)
    await crash(pool, slow, ago=4 * minute, claimed=4 * minute - timedelta(seconds=20), silent=15)
    await crash(pool, never, ago=4 * minute)
    # Neither too late yet, nor ever to go on.
    await crash(pool, waits, ago=timedelta(seconds=5))
    await crash(pool, gone, ago=4 * minute)
    assert (await counted(pool))["recovery", None].windows.period == Count(1, 3)


async def test_a_run_that_recovery_has_failed_is_a_failed_run(pool):
    run = await insert_run(pool, "failed", ago=MINUTE)
    await crash(pool, run, ago=MINUTE)
    assert (await counted(pool))["runs", None].windows.period == Count(0, 1)
    # Replayed, it ends well; it has failed all the same.
    await execute(pool, "UPDATE runs SET status = 'succeeded' WHERE id = %(run)s", {"run": run})
    await observe(pool, run_id=run, epoch=5, status="success")
    assert (await counted(pool))["runs", None].windows.period == Count(1, 2)


async def test_a_run_whose_attempt_has_told_of_its_failure_counts_once(pool):
    run = await insert_run(pool, "failed", ago=MINUTE)
    await crash(pool, run, ago=2 * MINUTE)
    await observe(pool, run_id=run, epoch=3, status="error", ago=MINUTE - timedelta(seconds=2))
    assert (await counted(pool))["runs", None].windows.period == Count(0, 1)


async def test_the_cost_of_a_run_is_that_of_all_its_attempts(pool):
    run = await insert_run(pool, "succeeded")
    for _ in range(2):
        await insert_usage(pool, run_id=run, cost_micros=60_000)
    await observe(pool, run_id=run, epoch=2, cost_usd=0.06)
    assert (await counted(pool, SloSettings(cost_usd=0.1)))["cost", None].windows.period == Count(0, 1)


async def test_one_process_counts_at_a_time_and_two_at_once_do_no_harm(pool):
    settings = SloSettings(every=timedelta(minutes=1))
    await observe(pool, count=7)
    turns = await asyncio.gather(*(Rollup(pool, settings).turn() for _ in range(4)))
    assert turns.count(True) == 1
    assert not await Rollup(pool, settings).turn()
    store, objectives = SloStore(pool), Objectives(settings)
    await asyncio.gather(*(store.roll_up(objectives.print, objectives.limits) for _ in range(4)))
    (runs,) = [found for found in await standings(pool, settings) if found.objective.slo == "runs"]
    assert runs.windows.period == Count(7, 7)


async def test_counts_are_of_all_tenants_whoever_asks(pool):
    await observe(pool, count=2, tenant="acme")
    with acting_for("other"):
        assert (await counted(pool))["runs", None].windows.period == Count(2, 2)


def test_the_print_names_the_limits_and_not_the_goals():
    general = Objectives(SloSettings()).print
    assert Objectives(SloSettings(runs_goal=0.5, every=timedelta(seconds=2))).print == general
    assert Objectives(SloSettings(recovery_seconds=10)).print != general
    agents = {"support": AgentSloSettings(cost_usd=1)}
    assert Objectives(SloSettings(agents=agents)).print != general


def test_an_objective_without_goal_or_limit_is_off():
    off = {f"{slo}_goal": 0 for slo in ("streams", "tools", "runs", "resumes", "recovery")}
    listed = Objectives(SloSettings(**off)).listed()
    assert [(objective.slo, objective.text) for objective in listed] == [
        ("first_byte", "95 % of first bytes within 1.5 s")
    ]
