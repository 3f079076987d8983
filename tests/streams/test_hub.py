"""What listeners hear: everything, once, in order, wherever the run is and whenever they come."""

import asyncio
from contextlib import aclosing
from uuid import UUID

import orjson
import pytest
from stream_runs import LIVE, WAIT_SECONDS, OpenProcess, Process, Speaker, ended, ends, heard, key, numbers, said

from outlast.domain.options import RunOptions
from outlast.domain.outcome import Failed, Waiting
from outlast.domain.records import RUN, STATE_UPDATE, Record
from outlast.domain.run import RunStatus
from outlast.streams.following import Follower
from waiting import until

PLAIN = RunOptions()


async def stored(process: Process, count: int) -> None:
    async def there() -> bool:
        return (await process.rows("SELECT count(*) FROM run_events"))[0][0] >= count

    await until(there)


@pytest.fixture(params=["same process", "another process"])
async def listening(request: pytest.FixtureRequest, worker: Process, open_process: OpenProcess) -> Process:
    return worker if request.param == "same process" else await open_process()


async def test_a_listener_hears_all_of_a_run_and_its_end(worker: Process, listening: Process) -> None:
    run_id = await worker.start("t")
    follower = listening.hub.follow_run(key("t"), run_id, after=0, fresh=True, watch=False)
    speaker = worker.speaker(await worker.claim())
    speaker.say(100)
    await speaker.end()

    items = await heard(follower)

    first, last = items[0], items[-1]
    assert isinstance(first, Record)
    assert (first.mode, orjson.loads(first.data)["attempt"]) == (RUN, 1)
    assert numbers(items) == list(range(100))
    assert [end.status for end in ends(items)] == [RunStatus.SUCCEEDED]
    assert last.pos == items[-2].pos + 1


async def test_listeners_of_this_process_do_not_wait_for_the_database(worker: Process) -> None:
    speaker = await worker.begin("t")
    follower = worker.hub.follow_run(key("t"), speaker.run.id, after=None)
    await follower.ready()
    # Whoever writes has to wait for this lock.
    async with worker.pool.transaction() as connection:
        await connection.execute("LOCK TABLE run_events IN ACCESS EXCLUSIVE MODE")
        speaker.say(5)
        assert numbers(await heard(follower, said(5))) == [0, 1, 2, 3, 4]


async def test_a_listener_that_comes_in_between_misses_nothing(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t")
    speaker.say(50)
    follower = listening.hub.follow_run(key("t"), speaker.run.id, after=0)
    speaker.say(50)
    await follower.ready()
    speaker.say(50)
    await speaker.end()

    assert numbers(await heard(follower)) == list(range(150))


async def test_a_listener_goes_on_behind_what_it_has_seen(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t")
    speaker.say(10)
    seen = await heard(listening.hub.follow_run(key("t"), speaker.run.id, after=0), said(4))
    speaker.say(10)
    await speaker.end()

    rest = await heard(listening.hub.follow_run(key("t"), speaker.run.id, after=seen[-1].pos))

    assert numbers(seen) + numbers(rest) == list(range(20))


async def test_from_now_on_is_from_now_on(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t")
    speaker.say(10)
    await stored(worker, 11)
    follower = listening.hub.follow_thread(key("t"), after=None)
    await follower.ready()
    new = speaker.say(3)
    await speaker.end()

    assert numbers(await heard(follower, ended())) == new


async def test_a_run_that_has_ended_says_so_at_once(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t")
    speaker.say(3)
    await speaker.end()

    now = await heard(listening.hub.follow_run(key("t"), speaker.run.id, after=None))
    again = await heard(listening.hub.follow_run(key("t"), speaker.run.id, after=0))
    late = await heard(listening.hub.follow_run(key("t"), speaker.run.id, after=again[-1].pos))

    assert (numbers(now), numbers(again), numbers(late)) == ([], [0, 1, 2], [])
    assert [ends(items)[0].status for items in (now, again, late)] == [RunStatus.SUCCEEDED] * 3


async def test_the_end_comes_without_any_record(worker: Process, listening: Process) -> None:
    """The table is UNLOGGED: after a crash of the database it is empty."""
    speaker = await worker.begin("t")
    speaker.say(3)
    await speaker.end()
    await worker.rows("TRUNCATE run_events")

    assert len(await heard(listening.hub.follow_run(key("t"), speaker.run.id, after=0))) == 1


async def test_a_failure_and_a_question_end_with_what_they_say(worker: Process, api: Process) -> None:
    failing = await worker.begin("t")
    await failing.end(Failed(code="ValueError", message="boom", retryable=False))
    asking = await worker.begin("t")
    asking.say()
    await asking.end(
        Waiting(interrupts=[{"id": "i1", "value": "a?"}, {"id": "i2", "value": "b?"}], checkpoint_id=None, output=None)
    )

    (failed,) = ends(await heard(api.hub.follow_run(key("t"), failing.run.id, after=0)))
    items = await heard(api.hub.follow_run(key("t"), asking.run.id, after=0))
    (asked,) = ends(items)

    assert (failed.status, failed.error_code, failed.error_message) == (RunStatus.FAILED, "ValueError", "boom")
    assert asked.status is RunStatus.INTERRUPTED
    assert [question["id"] for question in asked.interrupts] == ["i1", "i2"]
    assert asked.pos == items[-2].pos + 3, "a position for each question and one for the end"


async def test_runs_of_a_thread_are_one_rising_line(worker: Process, listening: Process) -> None:
    follower = listening.hub.follow_thread(key("t"), after=None)
    await follower.ready()
    for _ in range(5):
        speaker = await worker.begin("t", PLAIN)
        speaker.say(20)
        await speaker.end()

    items = await heard(follower, ended(5))

    assert numbers(items) == list(range(20)) * 5
    assert [item.pos for item in items] == sorted(item.pos for item in items)


async def test_runs_of_several_processes_on_one_thread(
    worker: Process, api: Process, open_process: OpenProcess
) -> None:
    other = await open_process()
    follower = worker.hub.follow_thread(key("t"), after=None)
    await follower.ready()
    for process in (worker, other, worker, api, other):
        speaker = await process.begin("t", PLAIN)
        speaker.say(20)
        await speaker.end()

    assert numbers(await heard(follower, ended(5))) == list(range(20)) * 5


async def test_a_former_owner_is_not_heard_any_more(worker: Process, api: Process, open_process: OpenProcess) -> None:
    next_owner = await open_process()
    follower = api.hub.follow_thread(key("t"), after=None)
    await follower.ready()
    zombie = await worker.begin("t")
    zombie.say(3)
    await stored(worker, 4)
    # As recovery does.
    await api.rows("UPDATE runs SET status = 'queued', epoch = epoch + 1, worker_id = NULL, crashes = 1")
    speaker = next_owner.speaker(await next_owner.claim())
    zombie.say(50)
    speaker.said = 1000
    speaker.say(3)
    await until(lambda: _is_silent(zombie))
    await speaker.end()

    items = await heard(follower, ended())

    assert numbers(items) == [0, 1, 2, 1000, 1001, 1002]
    attempts = [orjson.loads(item.data)["attempt"] for item in items if isinstance(item, Record) and item.mode == RUN]
    assert attempts == [1, 2]


async def _is_silent(speaker: Speaker) -> bool:
    return not speaker.emitter.wanted


async def test_an_owner_that_died_ends_behind_its_last_record(worker: Process, api: Process) -> None:
    first = await worker.begin("t")
    first.say(2)
    # It was drained; then the next owner died, and the run was taken away from it.
    last_pos = await first.emitter.flush()
    await api.rows("UPDATE run_details SET last_pos = %s", last_pos)
    await api.rows("UPDATE runs SET status = 'queued', epoch = epoch + 1, worker_id = NULL")
    second = worker.speaker(await worker.claim())
    second.say(2)
    await second.emitter.flush()
    await api.rows(
        "UPDATE runs SET status = 'failed', epoch = epoch + 1, worker_id = NULL, ended_at = clock_timestamp()"
    )

    for follower in (
        api.hub.follow_run(key("t"), first.run.id, after=0),
        api.hub.follow_thread(key("t"), after=0),
    ):
        items = await heard(follower, ended())
        assert numbers(items) == [0, 1, 0, 1]
        assert ends(items)[0].pos > items[-2].pos


async def test_a_run_that_was_cancelled_behind_another_does_not_hide_it(worker: Process, listening: Process) -> None:
    follower = listening.hub.follow_thread(key("t"), after=None)
    await follower.ready()
    speaker = await worker.begin("t")
    behind = await worker.start("t")
    speaker.say(3)
    await worker.queue.cancel(behind)
    await until(lambda: _settled(worker, behind))
    # It ended later than the other one began, and before that says more.
    speaker.say(3)
    await speaker.end()

    items = await heard(follower, ended(2))

    assert numbers(items) == [0, 1, 2, 3, 4, 5]
    assert {end.run_id for end in ends(items)} == {behind, speaker.run.id}


async def _settled(process: Process, run_id: UUID) -> bool:
    return bool(await process.rows("SELECT 1 FROM runs WHERE id = %s AND ended_at IS NOT NULL", run_id))


async def test_a_run_that_was_rolled_back_ends(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t")
    speaker.say(3)
    follower = listening.hub.follow_run(key("t"), speaker.run.id, after=0)
    await heard(listening.hub.follow_run(key("t"), speaker.run.id, after=0), said(3))
    await worker.queue.cancel(speaker.run.id, action="rollback")
    await speaker.end()

    (end,) = ends(await heard(follower))

    assert (end.deleted, end.status) == (True, RunStatus.CANCELLED)


async def test_an_old_end_is_not_told_to_who_comes_now(worker: Process, listening: Process) -> None:
    for _ in range(3):
        await (await worker.begin("t", PLAIN)).end()
    follower = listening.hub.follow_thread(key("t"), after=None)
    await follower.ready()
    speaker = await worker.begin("t")
    await speaker.end()

    items = await heard(follower, ended())

    assert [end.run_id for end in ends(items)] == [speaker.run.id]


async def test_who_is_too_slow_for_the_ring_reads_the_database(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t")
    follower = listening.hub.follow_run(key("t"), speaker.run.id, after=None)
    await follower.ready()
    # Somebody else keeps up, so that the ring goes on while `follower` does not look.
    async with (
        asyncio.timeout(WAIT_SECONDS),
        aclosing(listening.hub.follow_run(key("t"), speaker.run.id, after=0)) as quick,
    ):
        speaker.say(25, size=2000)
        async for item in quick:
            if numbers([item]) == [speaker.said - 1]:
                if speaker.said == 1000:
                    break
                speaker.say(25, size=2000)
    await stored(worker, 1001)
    assert listening.hub.gauges["ring_bytes"] < 1_000_000
    await speaker.end()

    assert numbers(await heard(follower)) == list(range(1000))


async def test_what_others_cannot_read_yet_is_never_dropped(worker: Process) -> None:
    speaker = await worker.begin("t")
    follower = worker.hub.follow_run(key("t"), speaker.run.id, after=0)
    await follower.ready()
    async with worker.pool.transaction() as connection:
        await connection.execute("LOCK TABLE run_events IN ACCESS EXCLUSIVE MODE")
        speaker.say(1000, size=2000)
        assert numbers(await heard(follower, said(1000))) == list(range(1000))


async def test_lost_hints_cost_a_second(worker: Process, open_process: OpenProcess) -> None:
    deaf = await open_process(deaf=True)
    speaker = await worker.begin("t")
    follower = deaf.hub.follow_run(key("t"), speaker.run.id, after=None)
    await follower.ready()
    speaker.say(10)
    await speaker.end()

    assert numbers(await heard(follower)) == list(range(10))


async def test_nobody_pays_for_what_nobody_hears(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t", PLAIN)
    assert not speaker.emitter.wanted
    speaker.say(5)
    assert await worker.rows("SELECT pos FROM run_events") == []

    follower = listening.hub.follow_run(key("t"), speaker.run.id, after=None)
    await follower.ready()
    await until(lambda: _is_wanted(speaker))
    speaker.say(5)
    await speaker.end()

    assert numbers(await heard(follower)) == [5, 6, 7, 8, 9]


async def _is_wanted(speaker: Speaker) -> bool:
    return speaker.emitter.wanted


async def test_a_watched_thread_is_heard_from_the_first_word(worker: Process, listening: Process) -> None:
    follower = listening.hub.follow_thread(key("new"), after=None)
    await follower.ready()
    speaker = await worker.begin("new", PLAIN)
    assert speaker.emitter.wanted
    speaker.say(3)

    assert numbers(await heard(follower, said(3))) == [0, 1, 2]


async def test_a_state_update_is_told_in_the_line(worker: Process, listening: Process) -> None:
    follower = listening.hub.follow_thread(key("t"), after=None)
    await follower.ready()
    for _ in range(2):
        speaker = await worker.begin("t")
        speaker.say()
        await speaker.end()
        await worker.hub.state_updated(key("t"), {"values": {"n": 1}})

    items = await heard(follower, lambda items: sum(getattr(item, "mode", "") == STATE_UPDATE for item in items) == 2)

    assert [getattr(item, "mode", "end") for item in items] == [RUN, "custom", "end", STATE_UPDATE] * 2


async def test_a_state_update_that_nobody_hears_is_not_kept(worker: Process) -> None:
    await (await worker.begin("t", PLAIN)).end()
    await worker.hub.state_updated(key("t"), {"values": {}})

    assert await worker.rows("SELECT pos FROM run_events") == []


async def test_closing_ends_every_listener_without_an_end(worker: Process, api: Process) -> None:
    speaker = await worker.begin("t")
    followers = [api.hub.follow_run(key("t"), speaker.run.id, after=None), api.hub.follow_thread(key("u"), after=None)]
    hearing = [asyncio.create_task(heard(follower)) for follower in followers]
    for follower in followers:
        await follower.ready()

    api.hub.close()

    assert [ends(await task) for task in hearing] == [[], []]


async def test_listeners_hold_no_connections(worker: Process, api: Process) -> None:
    speaker = await worker.begin("t")
    followers: list[Follower] = []
    for number in range(200):
        follower = api.hub.follow_thread(key(f"t{number}"), after=None)
        await follower.ready()
        followers.append(follower)
    followers.append(api.hub.follow_run(key("t"), speaker.run.id, after=None))
    hearing = [asyncio.create_task(heard(follower)) for follower in followers]
    speaker.say()
    await until(lambda: _all_free(api))
    stats = api.pool._pool.get_stats()
    assert stats["pool_available"] == stats["pool_size"]
    assert api.hub.gauges["followers"] == 201

    api.hub.close()
    await asyncio.gather(*hearing)
    nothing = {"followers": 0, "threads": 0, "ring_bytes": 0, "connections": 0}
    await until(lambda: _shows(api, nothing))


async def _shows(process: Process, gauges: dict[str, int]) -> bool:
    return process.hub.gauges == gauges


async def _all_free(process: Process) -> bool:
    stats = process.pool._pool.get_stats()
    return stats["pool_available"] == stats["pool_size"]


async def test_listeners_come_and_go_between_two_processes(
    worker: Process, api: Process, open_process: OpenProcess
) -> None:
    """Each hears each number once, wherever it comes back."""
    apis = [api, await open_process()]
    speaker = await worker.begin("t", LIVE)

    async def listener(index: int) -> list[int]:
        found: list[int] = []
        after, turn = 0, index
        while True:
            follower = apis[turn % 2].hub.follow_run(key("t"), speaker.run.id, after=after)
            items = await heard(follower, said(1 + (index * 7 + turn) % 5))
            found += numbers(items)
            if ends(items):
                return found
            after, turn = items[-1].pos, turn + 1

    listeners = [asyncio.create_task(listener(index)) for index in range(12)]
    for _ in range(20):
        speaker.say(10)
        await stored(worker, speaker.said)
    await speaker.end()

    for found in await asyncio.gather(*listeners):
        assert found == list(range(200))


async def test_a_worker_may_be_faster_than_who_started_its_run(worker: Process, listening: Process) -> None:
    speaker = await worker.begin("t")
    speaker.say(3)
    await stored(worker, 4)
    follower = listening.hub.follow_run(key("t"), speaker.run.id, after=0, fresh=True, alone=True, watch=False)
    assert numbers(await heard(follower, said(3))) == [0, 1, 2]
    again = listening.hub.follow_run(key("t"), speaker.run.id, after=0, fresh=True, alone=True, watch=False)
    speaker.say(2)
    await speaker.end()

    assert numbers(await heard(again)) == [0, 1, 2, 3, 4]
