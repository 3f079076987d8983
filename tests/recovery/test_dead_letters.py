"""Dead letters: everything about a failed run is kept, and it can be replayed, run again or discarded."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from dying_shop import Shop

from outlast.domain.acting import Principal, acting_for
from outlast.domain.dead_letter import DeadLetterQuery
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, InvalidInput, NotFound
from outlast.secret import Secret
from outlast.settings_encryption import EncryptionSettings
from outlast.storage.postgres.metrics import backlog
from runtimes import working

ALL = DeadLetterQuery()


async def test_a_dead_letter_has_its_input_its_error_chain_its_last_checkpoint_and_what_it_used(shop):
    [run_id] = await shop.dead("book")
    opened = await shop.letters.open(run_id)

    assert opened.input == {"order": "book"}
    assert opened.letter.code == "ConnectionError"
    assert opened.letter.message == "ConnectionError: the warehouse does not answer for book"
    assert [(attempt.kind, attempt.code) for attempt in opened.attempts] == [("error", "ConnectionError")] * 2
    assert all(attempt.message == opened.letter.message and attempt.worker for attempt in opened.attempts)
    assert [attempt.epoch for attempt in opened.attempts] == [1, 2]
    assert opened.attempts[0].began_at < opened.attempts[0].ended_at < opened.attempts[1].ended_at
    assert opened.checkpoint is not None
    assert (opened.checkpoint.step, opened.checkpoint.of_run) == (1, True)
    assert opened.effects == {"done": 1}
    assert opened.usage.calls == 0


async def test_a_replay_goes_on_from_the_last_checkpoint_and_repeats_no_effect(shop):
    [run_id] = await shop.dead("book")
    shop.repair()
    assert await shop.letters.replay(run_id) is RunStatus.QUEUED
    view = await shop.end(run_id)

    assert view.status is RunStatus.SUCCEEDED
    assert view.output["done"] == ["sent book", "packed"]
    assert shop.sent() == ["book"], "the effect was done once, by the first attempt of all"
    assert (await shop.letters.find(ALL)) == ([], 0)
    with pytest.raises(NotFound, match="dead letter"):
        await shop.letters.open(run_id)
    with pytest.raises(Conflict, match="has not failed"):
        await shop.letters.replay(run_id)


async def test_the_errors_of_attempts_before_a_replay_are_kept(shop):
    [run_id] = await shop.dead("book")
    await shop.letters.replay(run_id)
    assert (await shop.end(run_id)).status is RunStatus.FAILED

    opened = await shop.letters.open(run_id)
    assert [attempt.epoch for attempt in opened.attempts] == [1, 2, 3, 4]
    assert opened.letter.attempts == 4


async def test_a_run_again_is_a_new_run_with_the_same_input_and_the_letter_stays(shop):
    with acting_for(Principal(user="ann")):
        [run_id] = await shop.dead("book", metadata={"ticket": 7})
    shop.repair()
    view = await shop.letters.again(run_id)
    done = await shop.end(view.id)

    assert view.id != run_id
    assert view.thread_id == str(view.id)
    assert done.status is RunStatus.SUCCEEDED
    assert done.metadata == {"ticket": 7, "again_of": str(run_id)}
    assert shop.sent() == ["book", "book"], "another run has effects of its own"
    assert await shop.rows("SELECT user_id FROM run_details WHERE run_id = %s", view.id) == [("ann",)]
    assert [letter.run_id for letter in (await shop.letters.find(ALL))[0]] == [run_id]


async def test_a_run_again_on_the_same_thread_goes_behind_what_is_there(shop):
    [run_id] = await shop.dead("book", thread_id="desk-1")
    shop.repair()
    view = await shop.letters.again(run_id, same_thread=True)
    assert view.thread_id == "desk-1"
    assert (await shop.end(view.id)).output["done"] == ["sent book", "sent book", "packed"]


async def test_what_is_discarded_is_listed_and_counted_no_more_and_stays_failed(shop):
    first, second = await shop.dead("book", "pen")
    with acting_for(Principal(user="ann")):
        letter = await shop.letters.discard(first, reason="the customer has left")

    assert (letter.discarded_by, letter.discard_reason) == ("ann", "the customer has left")
    assert [found.run_id for found in (await shop.letters.find(ALL))[0]] == [second]
    assert [found.run_id for found in (await shop.letters.find(DeadLetterQuery(discarded=True)))[0]] == [first]
    assert (await shop.runtime.queue.store.get(first)).status is RunStatus.FAILED
    assert (await backlog(shop.runtime.pool)).dead_letters == {"shop": 1}
    with pytest.raises(Conflict, match="was discarded at"):
        await shop.letters.discard(first)
    [actions] = await shop.rows("SELECT array_agg(action) FROM audit_log WHERE action LIKE 'dlq.%%'")
    assert actions == (["dlq.discarded"],)


async def test_a_discarded_run_comes_back_when_somebody_replays_it_by_its_id(shop):
    [run_id] = await shop.dead("book")
    await shop.letters.discard(run_id, reason="gone")
    assert (await shop.letters.replay_all(ALL, rate=100, limit=10)).run_ids == []
    shop.repair()
    await shop.letters.replay(run_id)
    assert (await shop.end(run_id)).status is RunStatus.SUCCEEDED
    assert await shop.rows(
        "SELECT discarded_at, discarded_by, discard_reason FROM runs JOIN run_details ON run_id = id"
    ) == [(None, None, None)]


async def test_letters_are_filtered_by_agent_error_thread_and_time(shop):
    first, second = await shop.dead("book", "pen")
    [third] = await shop.dead("hi", agent="caller", input={"messages": []}, thread_id="t")
    failed_at = (await shop.letters.open(third)).letter.failed_at

    async def found(**query):
        return [letter.run_id for letter in (await shop.letters.find(DeadLetterQuery(**query)))[0]]

    assert (await found())[0] == third, "newest first"
    assert set(await found(agent="shop")) == {first, second}
    assert await found(code="RuntimeError") == [third]
    assert set(await found(without=("RuntimeError",))) == {first, second}
    assert await found(thread_id="t") == [third]
    assert await found(since=failed_at) == [third]
    assert set(await found(until=failed_at)) == {first, second}
    letters, total = await shop.letters.find(ALL, limit=1, offset=1)
    assert (len(letters), total) == (1, 3)
    classes = [(each.agent, each.code, each.count) for each in await shop.letters.classes(ALL)]
    assert classes == [("shop", "ConnectionError", 2), ("caller", "RuntimeError", 1)]


async def test_all_of_a_class_are_replayed_once_each_and_not_those_that_fail_meanwhile(shop):
    dead = await shop.dead("a", "b", "c")
    [other] = await shop.dead("hi", agent="caller", input={"messages": []})
    # Still poisoned: each fails again, and must not be replayed for ever.
    done = await shop.letters.replay_all(DeadLetterQuery(code="ConnectionError"), rate=1000, limit=100)

    assert sorted(done.run_ids) == sorted(dead)
    await asyncio.gather(*map(shop.end, dead))
    assert {(letter.run_id, letter.attempts) for letter in (await shop.letters.find(ALL))[0]} == {
        *((run_id, 4) for run_id in dead), (other, 2)
    }  # fmt: skip


async def test_a_rate_lets_replays_become_due_one_after_the_other(idle_shop):
    run_ids = await fail_by_hand(idle_shop, 5)
    done = await idle_shop.letters.replay_all(ALL, rate=0.1, limit=4)

    assert done.run_ids == run_ids[:4], "in the order in which they failed"
    assert done.remaining == 1
    due = await idle_shop.rows("SELECT available_at FROM runs WHERE status = 'queued' ORDER BY available_at")
    gaps = [(after[0] - before[0]).total_seconds() for before, after in pairwise(due)]
    assert all(9 < gap < 11 for gap in gaps), gaps


@pytest.mark.parametrize(("query", "rate"), [(ALL, 0), (ALL, float("nan")), (DeadLetterQuery(discarded=True), 1)])
async def test_a_replay_of_many_that_makes_no_sense_is_refused(idle_shop, query, rate):
    with pytest.raises(InvalidInput):
        await idle_shop.letters.replay_all(query, rate=rate, limit=10)


async def test_a_crash_is_part_of_the_error_chain(idle_shop):
    runtime = idle_shop.runtime
    run_id = await idle_shop.start("book")
    worker = await claim_by_hand(idle_shop)
    await idle_shop.rows("UPDATE workers SET state = 'dead', ended_at = now() WHERE id = %s RETURNING id", worker)
    await runtime.workers.reap(limit=10)

    rows = await idle_shop.rows("SELECT kind, epoch, worker_id, tenant FROM run_attempts WHERE run_id = %s", run_id)
    assert rows == [("crash", 1, worker, "default")]


async def test_a_crash_of_a_runs_own_process_is_part_of_the_error_chain(idle_shop):
    run_id = await idle_shop.start("book")
    worker = uuid4()
    await add_worker(idle_shop, worker)
    (run,) = await idle_shop.runtime.queue.claim(worker, ["shop"], limit=1, max_crashes=3)
    assert await idle_shop.runtime.queue.store.crashed(run)
    assert await idle_shop.rows("SELECT run_id, kind, worker_id FROM run_attempts") == [(run_id, "crash", worker)]


async def test_what_recovery_takes_away_says_so(idle_shop):
    run_id = await idle_shop.start("book")
    await claim_by_hand(idle_shop)
    [(thread,)] = await idle_shop.rows("SELECT thread_key FROM runs WHERE id = %s", run_id)
    store = idle_shop.runtime.queue.store
    assert await store.take_away(run_id, thread.bytes, 1, status=RunStatus.FAILED, code="timed_out", message="too slow")

    [attempt] = (await idle_shop.letters.open(run_id)).attempts
    assert (attempt.kind, attempt.code, attempt.message, attempt.epoch) == ("taken", "timed_out", "too slow", 1)


async def test_one_tenant_sees_replays_and_discards_nothing_of_another(shop):
    [run_id] = await shop.dead("book")
    with acting_for("acme"):
        assert (await shop.letters.find(ALL)) == ([], 0)
        for act in (shop.letters.open, shop.letters.replay, shop.letters.again, shop.letters.discard):
            with pytest.raises(NotFound):
                await act(run_id)
        assert (await shop.letters.replay_all(ALL, rate=10, limit=10)).run_ids == []
    assert (await shop.letters.open(run_id)).letter.discarded_at is None


async def test_errors_and_reasons_are_encrypted_where_content_is(open_shop, database_url, tmp_path):
    key = EncryptionSettings(master_key=Secret("bmV3LW1hc3Rlci1rZXktb2YtMzItYnl0ZXMtMDEyMzQ="))
    async with open_shop(database_url, encryption=key) as runtime, working(runtime):
        shop = Shop(runtime, tmp_path)
        [run_id] = await shop.dead("canary")
        await shop.letters.discard(run_id, reason="the canary has flown")
        stored = await shop.rows(
            "SELECT a.error_message, d.discard_reason FROM run_attempts a JOIN run_details d USING (run_id)"
        )
        opened = await shop.letters.open(run_id)

    assert len(stored) == 2
    assert "canary" not in str(stored)
    assert opened.letter.discard_reason == "the canary has flown"
    assert [attempt.message for attempt in opened.attempts] == [opened.letter.message] * 2
    assert "canary" in str(opened.letter.message)


async def test_count_and_age_are_figures(shop):
    await shop.dead("book", "pen")
    await shop.rows("UPDATE runs SET ended_at = ended_at - interval '1 hour' RETURNING id")
    load = await backlog(shop.runtime.pool)
    assert load.dead_letters == {"shop": 2}
    assert load.oldest_dead_letter_seconds == pytest.approx(3600, abs=60)


async def fail_by_hand(shop, count: int) -> list[UUID]:
    run_ids = [await shop.start(f"order {number}") for number in range(count)]
    for number, run_id in enumerate(run_ids):
        await shop.rows(
            "UPDATE runs SET status = 'failed', ended_at = clock_timestamp() - %s WHERE id = %s RETURNING id",
            timedelta(minutes=count - number), run_id,
        )  # fmt: skip
    return run_ids


async def add_worker(shop, worker: UUID) -> None:
    await shop.rows(
        "INSERT INTO workers (id, host, pid, concurrency, agents) VALUES (%s, 'here', 1, 8, '{shop}') RETURNING id",
        worker,
    )


async def claim_by_hand(shop) -> UUID:
    worker = uuid4()
    await add_worker(shop, worker)
    (_,) = await shop.runtime.queue.claim(worker, ["shop"], limit=1, max_crashes=3)
    return worker
