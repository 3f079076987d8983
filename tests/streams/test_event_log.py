"""What is written, by whom, and what happens when the database is away."""

from stream_runs import Process, ended, ends, heard, key, numbers, said

from outlast.domain.positions import base_of
from outlast.telemetry import subscribe
from waiting import until


async def positions(process: Process) -> list[int]:
    return [pos for (pos,) in await process.rows("SELECT pos FROM run_events ORDER BY pos")]


async def test_a_claim_is_a_line_without_gaps(worker: Process) -> None:
    speaker = await worker.begin("t")
    speaker.say(700)
    last = await speaker.emitter.flush()

    base = base_of(speaker.run.claimed_at, after=0)
    assert await positions(worker) == list(range(base + 1, base + 702))
    assert last == base + 701


async def test_an_older_epoch_writes_nothing(worker: Process, api: Process) -> None:
    speaker = await worker.begin("t")
    await worker.rows("UPDATE runs SET epoch = epoch + 1")
    speaker.say(3)
    await speaker.emitter.flush()

    assert await positions(worker) == []
    assert not speaker.emitter.wanted


async def test_a_run_that_does_not_run_any_more_writes_nothing(worker: Process) -> None:
    speaker = await worker.begin("t")
    await worker.rows("UPDATE runs SET status = 'cancelled', worker_id = NULL, ended_at = clock_timestamp()")
    speaker.say(3)
    await speaker.emitter.flush()

    assert await positions(worker) == []


async def test_one_run_that_was_lost_does_not_silence_the_others(worker: Process) -> None:
    lost, kept = await worker.begin("t"), await worker.begin("u")
    await worker.rows("UPDATE runs SET epoch = epoch + 1 WHERE id = %s", lost.run.id)
    lost.say(3)
    kept.say(3)
    await kept.emitter.flush()

    assert len(await positions(worker)) == 4
    assert kept.emitter.wanted is False, "nothing is said behind a flush"


async def test_a_next_claim_begins_behind_the_last_one(worker: Process) -> None:
    speaker = await worker.begin("t")
    # So many that its positions are ahead of the time.
    speaker.emitter.last += 10**9
    speaker.say(5)
    await speaker.end()
    following = await worker.begin("t")
    following.say(5)
    await following.end()

    line = await positions(worker)
    assert line == sorted(set(line))
    assert numbers(await heard(worker.hub.follow_thread(key("t"), after=0), ended(2))) == [*range(5), *range(5)]


async def test_a_broken_connection_repeats_a_batch_that_counts_once(worker: Process, api: Process) -> None:
    speaker = await worker.begin("t")
    follower = api.hub.follow_run(key("t"), speaker.run.id, after=0)
    for _ in range(5):
        speaker.say(20)
        await api.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'outlast-stream' AND datname = current_database()"
        )
        speaker.say(20)
    await speaker.end()

    items = await heard(follower)

    assert numbers(items) == list(range(200))
    assert len(ends(items)) == 1


async def test_a_batch_that_the_server_refuses_costs_only_itself(worker: Process) -> None:
    dropped: list[int] = []
    unsubscribe = subscribe(lambda point, f: dropped.append(f["records"]) if point == "stream.dropped" else None)
    try:
        refused = await worker.begin("t")
        # PostgreSQL has no NUL in text.
        refused.emitter.emit("cus\0tom", "", b"1")
        assert await refused.emitter.flush() is not None, "a run does not fail with its stream"
    finally:
        unsubscribe()
    assert dropped
    following = await worker.begin("u")
    following.say(3)
    await following.emitter.flush()
    assert len(await positions(worker)) == 4


async def test_what_waits_has_a_limit(worker: Process) -> None:
    speaker = await worker.begin("t")
    follower = worker.hub.follow_run(key("t"), speaker.run.id, after=0)
    await follower.ready()
    async with worker.pool.transaction() as connection:
        # A busy machine takes its time.
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        # Nobody can write; who listens may read, as a busy follower does.
        await connection.execute("LOCK TABLE run_events IN EXCLUSIVE MODE")
        speaker.say(50, size=1 << 20)
        # Who listens here has it all the same.
        assert numbers(await heard(follower, said(50))) == list(range(50))
    await speaker.emitter.flush()

    assert 20 < len(await positions(worker)) < 50


async def test_a_big_record_goes_through(worker: Process, api: Process) -> None:
    speaker = await worker.begin("t")
    follower = api.hub.follow_run(key("t"), speaker.run.id, after=0)
    speaker.say(3, size=3 << 20)
    await speaker.end()

    items = await heard(follower)

    assert numbers(items) == [0, 1, 2]
    assert api.hub.gauges["ring_bytes"] < 1 << 20


async def test_many_threads_at_once(worker: Process, api: Process) -> None:
    followers = []
    speakers = []
    for number in range(210):
        thread_id = f"t{number}"
        speakers.append(await worker.begin(thread_id))
        followers.append(api.hub.follow_run(key(thread_id), speakers[-1].run.id, after=0, fresh=True, watch=False))
    for speaker in speakers:
        speaker.say(3)
    for speaker in speakers:
        await speaker.end()

    for follower in followers:
        assert numbers(await heard(follower)) == [0, 1, 2]


async def test_dropping_waits_for_nothing(worker: Process) -> None:
    speaker = await worker.begin("t")
    async with worker.pool.transaction() as connection:
        await connection.execute("LOCK TABLE run_events IN ACCESS EXCLUSIVE MODE")
        speaker.say(3)
        speaker.emitter.drop()
        assert not speaker.emitter.wanted
        speaker.say(3)

    async def there() -> bool:
        return len(await positions(worker)) > 0

    # What was said before was said by the owner; it may still be written.
    await until(there)
    assert len(await positions(worker)) <= 4
