"""Failed runs are replayed without a person where the settings name their error, and within the limits."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from outlast import telemetry
from outlast.domain.acting import acting_for
from outlast.domain.run import RunStatus
from outlast.recovery.reviving import Revival
from outlast.settings import RecoverySettings
from outlast.storage.postgres.dead_letters import DeadLetterStore
from outlast.storage.postgres.rate_limits import RateLimitStore
from waiting import until

CODE = "provider_unavailable"


def revival(shop, **given) -> Revival:
    runtime = shop.runtime
    settings = RecoverySettings(**{"replay": (CODE,), "replay_after": timedelta(minutes=10), **given})
    return Revival(runtime.queue, DeadLetterStore(runtime.pool), RateLimitStore(runtime.pool), settings)


async def failed(shop, *, code: str = CODE, minutes: int = 11, replays: int = 0) -> UUID:
    run_id = await shop.start()
    await shop.rows(
        "UPDATE run_details SET error_code = %s, replays = %s WHERE run_id = %s RETURNING run_id", code, replays, run_id
    )
    await fail_again(shop, run_id, minutes=minutes)
    return run_id


async def fail_again(shop, run_id: UUID, *, minutes: int) -> None:
    await shop.rows(
        "UPDATE runs SET status = 'failed', ended_at = clock_timestamp() - make_interval(mins => %s)"
        " WHERE id = %s RETURNING id",
        minutes, run_id,
    )  # fmt: skip


async def status(shop, run_id: UUID) -> RunStatus:
    return (await shop.runtime.queue.store.get(run_id)).status


async def test_nothing_is_replayed_unless_its_error_is_named(idle_shop):
    other = await failed(idle_shop, code="KeyError")
    unnamed = await failed(idle_shop)
    assert await revival(idle_shop, replay=()).round() == 0
    assert await revival(idle_shop, replay=("KeyError",)).round() == 1
    assert (await status(idle_shop, other), await status(idle_shop, unnamed)) == (RunStatus.QUEUED, RunStatus.FAILED)


async def test_an_error_that_comes_again_is_never_replayed(idle_shop):
    run_id = await failed(idle_shop, code="version_mismatch")
    assert await revival(idle_shop, replay=("version_mismatch",)).round() == 0
    assert await status(idle_shop, run_id) is RunStatus.FAILED


async def test_each_replay_waits_twice_as_long_and_after_the_last_one_a_person_has_to_look(idle_shop):
    run_id = await failed(idle_shop, minutes=9)
    looking = revival(idle_shop, replays=2)
    assert await looking.round() == 0, "too early"
    await fail_again(idle_shop, run_id, minutes=11)
    assert await looking.round() == 1
    await fail_again(idle_shop, run_id, minutes=19)
    assert await looking.round() == 0, "the second one waits for 20 minutes"
    await fail_again(idle_shop, run_id, minutes=21)
    assert await looking.round() == 1
    await fail_again(idle_shop, run_id, minutes=10_000)
    assert await looking.round() == 0, "two were allowed"
    assert (await idle_shop.letters.open(run_id)).letter.replays == 2

    await idle_shop.letters.replay(run_id)
    await fail_again(idle_shop, run_id, minutes=11)
    assert await looking.round() == 1, "a person has replayed it, and it is counted anew"


async def test_what_a_person_has_discarded_stays_so(idle_shop):
    run_id = await failed(idle_shop)
    await idle_shop.letters.discard(run_id)
    assert await revival(idle_shop).round() == 0


async def test_many_workers_replay_each_run_once_and_keep_the_rate_together(idle_shop):
    run_ids = [await failed(idle_shop) for _ in range(12)]
    done = await asyncio.gather(*(revival(idle_shop, replays_per_minute=5).round() for _ in range(4)))

    # A minute's worth at once. A turn that was taken for a run that another replays is given back a moment later.
    assert 3 <= sum(done) <= 5
    assert sum(done) + await revival(idle_shop, replays_per_minute=5).round() == 5
    assert [await status(idle_shop, run_id) for run_id in run_ids].count(RunStatus.QUEUED) == 5
    replays = await idle_shop.rows("SELECT DISTINCT replays FROM run_details WHERE replays > 0")
    assert replays == [(1,)]


async def test_runs_of_all_tenants_are_replayed_on_their_behalf(idle_shop):
    with acting_for("acme"):
        run_id = await failed(idle_shop)
    assert await revival(idle_shop).round() == 1
    with acting_for("acme"):
        assert await status(idle_shop, run_id) is RunStatus.QUEUED
    assert await idle_shop.rows("SELECT tenant FROM audit_log WHERE action = 'run.replayed'") == [("acme",)]


async def test_a_round_that_fails_is_followed_by_the_next(idle_shop, monkeypatch):
    monkeypatch.setattr("outlast.recovery.reviving._EVERY", 0.01)
    run_id = await failed(idle_shop)
    told = asyncio.Event()
    stop = telemetry.subscribe(lambda point, _: told.set() if point == "loop.failed" else None)
    await change_schema(idle_shop, "ALTER TABLE run_details RENAME TO away")
    looking = asyncio.create_task(revival(idle_shop).run())
    try:
        await asyncio.wait_for(told.wait(), 10)
        await change_schema(idle_shop, "ALTER TABLE away RENAME TO run_details")

        async def replayed() -> bool:
            return await status(idle_shop, run_id) is RunStatus.QUEUED

        await until(replayed)
    finally:
        stop()
        looking.cancel()


async def change_schema(shop, statement: str) -> None:
    async with shop.runtime.pool.unscoped() as connection:
        await connection.execute(statement.encode())


@pytest.mark.parametrize("given", [{"replays": 0}, {"replays_per_minute": 0}])
def test_limits_that_are_none_are_refused(given):
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        RecoverySettings(**given)
