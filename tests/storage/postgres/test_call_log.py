"""One writer for the answers and the usage of all runs of a process: fenced, together, and safe to repeat."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from outlast import telemetry
from outlast.agents.checkpoints import erasing
from outlast.calls.call import Usage
from outlast.errors import DatabaseUnavailable, InvalidInput, LeaseLost
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.call_log import Caller, CallLog, CallRow, Entry
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.retention import RetentionStore
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.threads import ThreadStore

TASK = os.urandom(16)


@pytest.fixture
async def log(database: DatabaseSettings, pool: Pool) -> AsyncIterator[CallLog]:
    log = CallLog(database, pool)
    await log.open(connect=False)
    yield log
    await log.close()


async def rows(pool: Pool, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement.encode(), parameters)
        return await cursor.fetchall()


async def running(pool: Pool, *, lineage: UUID | None = None, thread_id: str | None = None) -> Caller:
    """A run that has an owner, on a thread of its own."""
    run_id = uuid4()
    key = thread_key(thread_id := thread_id or str(run_id))
    await rows(
        pool, "INSERT INTO threads (key, thread_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", UUID(bytes=key), thread_id
    )  # fmt: skip
    await rows(
        pool,
        "WITH run AS (INSERT INTO runs (id, thread_key, agent, status, epoch, worker_id)"
        " VALUES (%s, %s, 'a', 'running', 3, gen_random_uuid()) RETURNING id)"
        " INSERT INTO run_details (run_id, input, lineage) SELECT id, '', %s FROM run",
        run_id, UUID(bytes=key), lineage,
    )  # fmt: skip
    return Caller(run_id, 3, 0, lineage or run_id, key, "default", None, "a")


def entry(ordinal: int = 0, body: bytes | None = b"answer", **changes: Any) -> Entry:
    return Entry(TASK, "model", ordinal, bytes(16), 1, body)._replace(**changes)


def call(caller: Caller, kept: Entry | None = None, *spent: Usage) -> CallRow:
    return CallRow(os.urandom(16), caller, kept, spent)


def usage(**changes: Any) -> Usage:
    given: dict[str, Any] = {
        "provider": "openai",
        "model": "m",
        "input_tokens": 5,
        "output_tokens": 7,
        "cost_micros": None,
    }
    return Usage(**(given | changes))


async def test_an_answer_and_what_it_cost_are_there_when_it_is_stored(log: CallLog, pool: Pool) -> None:
    caller = await running(pool)
    spent = usage(cost_micros=2**40, cache_read_tokens=3, reasoning_tokens=2, seconds=1.5)
    await log.submit(call(caller, entry(), usage(outcome="failed"), spent))

    (stored,) = await log.entries(caller.lineage, TASK)
    assert (stored.series, stored.ordinal, stored.hash, stored.body) == ("model", 0, bytes(16), b"answer")
    assert await rows(
        pool,
        "SELECT try, run_id, outcome, input_tokens, cache_read_tokens, cost_micros, seconds"
        " FROM call_usage ORDER BY try",
    ) == [(1, caller.run_id, "failed", 5, 0, None, 0.0), (2, caller.run_id, "answered", 5, 3, 2**40, 1.5)]


async def test_a_row_that_is_sent_again_changes_nothing(log: CallLog, pool: Pool) -> None:
    row = call(await running(pool), entry(), usage())
    await log.submit(row)
    await log.submit(row)

    assert await rows(pool, "SELECT (SELECT count(*) FROM call_journal), (SELECT count(*) FROM call_usage)") == [(1, 1)]


async def test_one_that_lost_its_lease_is_refused_and_no_other(log: CallLog, pool: Pool) -> None:
    callers = [await running(pool) for _ in range(3)]
    late = callers[1]._replace(epoch=2)
    results = await asyncio.gather(
        *(log.submit(call(caller, entry(), usage())) for caller in (callers[0], late, callers[2])),
        return_exceptions=True,
    )
    assert results[0] is results[2] is None
    assert isinstance(results[1], LeaseLost)
    assert await rows(pool, "SELECT count(*) FROM call_usage WHERE run_id = %s", late.run_id) == [(0,)]
    assert await log.entries(late.lineage, TASK) == []


async def test_one_that_cannot_be_stored_fails_alone(log: CallLog, pool: Pool) -> None:
    callers = [await running(pool) for _ in range(3)]
    spent = [usage(), usage(model="a\x00b"), usage()]
    results = await asyncio.gather(
        *(log.submit(call(caller, entry(), cost)) for caller, cost in zip(callers, spent, strict=True)),
        return_exceptions=True,
    )
    assert results[0] is results[2] is None
    assert isinstance(results[1], InvalidInput)


async def test_calls_of_many_runs_share_their_statements(log: CallLog, pool: Pool) -> None:
    callers = [await running(pool) for _ in range(20)]
    batches: list[str] = []
    unsubscribe = telemetry.subscribe(lambda point, _: batches.append(point))
    await log.submit(call(callers[0], entry()))
    await asyncio.gather(*(log.submit(call(caller, entry(1), usage())) for caller in callers))
    unsubscribe()

    assert batches.count("call.journaled") <= 4


async def test_an_answer_that_is_asked_anew_takes_the_place_of_the_one_before_and_is_the_last(
    log: CallLog, pool: Pool
) -> None:
    caller = await running(pool)
    for ordinal in (0, 1):
        await log.submit(call(caller, entry(ordinal)))
    await log.submit(call(caller, entry(0, b"other")))

    assert [(item.ordinal, item.body) for item in await log.entries(caller.lineage, TASK)] == [
        (1, b"answer"),
        (0, b"other"),
    ]


async def test_another_question_at_a_place_makes_no_answer_vanish(log: CallLog, pool: Pool) -> None:
    caller = await running(pool)
    await log.submit(call(caller, entry()))
    await log.submit(call(caller, entry(0, b"other", hash=b"o" * 16)))

    assert len(await log.entries(caller.lineage, TASK)) == 2


async def test_an_entry_tells_whether_its_attempt_has_ended_in_an_error_since(log: CallLog, pool: Pool) -> None:
    caller = await running(pool)
    await log.submit(call(caller, entry()))
    assert [item.tried for item in await log.entries(caller.lineage, TASK)] == [False]
    await rows(pool, "UPDATE runs SET errors = errors + 1 WHERE id = %s", caller.run_id)
    assert [item.tried for item in await log.entries(caller.lineage, TASK)] == [True]


async def test_who_waits_when_the_server_is_away_is_told_in_the_end(database: DatabaseSettings, pool: Pool) -> None:
    away = database.model_copy(update={"url": "postgresql://127.0.0.1:1/x"})
    log = CallLog(away, pool)
    log._give_up_after = 0.1
    await log.open(connect=False)
    with pytest.raises(DatabaseUnavailable):
        await log.submit(call(await running(pool), entry()))
    await log.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await log.submit(call(await running(pool), entry()))


async def test_what_nobody_waits_for_is_written_before_the_log_closes(database: DatabaseSettings, pool: Pool) -> None:
    log = CallLog(database, pool)
    await log.open(connect=False)
    caller = await running(pool)
    log.submit_soon(call(caller, None, usage(outcome="failed")))
    log.submit_soon(call(caller._replace(epoch=1), None, usage(outcome="failed")))
    await log.close()

    assert await rows(pool, "SELECT run_id, outcome FROM call_usage") == [(caller.run_id, "failed")]


async def kept(pool: Pool) -> set[UUID]:
    return {lineage for (lineage,) in await rows(pool, "SELECT lineage FROM call_journal")}


async def ended(pool: Pool, caller: Caller, status: str) -> None:
    await rows(
        pool,
        "UPDATE runs SET status = %s, worker_id = NULL, ended_at = clock_timestamp() - interval '2 days' WHERE id = %s",
        status, caller.run_id,
    )  # fmt: skip


async def test_upkeep_forgets_what_runs_were_answered_that_succeeded_and_keeps_what_may_be_asked_again(
    log: CallLog, pool: Pool
) -> None:
    done, failed, going, asking = [await running(pool) for _ in range(4)]
    answering = await running(pool, lineage=asking.run_id)
    for caller in (done, failed, going, asking, answering):
        await log.submit(call(caller, entry(caller.epoch)))
    for caller, status in ((done, "succeeded"), (failed, "failed"), (asking, "interrupted"), (answering, "succeeded")):
        await ended(pool, caller, status)
    store = RetentionStore(pool, ThreadStore(pool, erasing, values_bytes=1))
    await store.forget_outputs(None, until=await store.now(), limit=100)
    assert await kept(pool) == {failed.run_id, going.run_id}

    await rows(pool, "UPDATE call_journal SET at = at - interval '3 days'")
    assert await store.forget_answers(age=timedelta(days=4), limit=100) == 0
    assert await store.forget_answers(age=timedelta(days=2), limit=100) == 1
    assert await kept(pool) == {going.run_id}


async def test_what_a_run_was_answered_goes_with_the_run(log: CallLog, pool: Pool) -> None:
    asking = await running(pool)
    await log.submit(call(asking, entry()))
    await ended(pool, asking, "interrupted")
    answering = await running(pool, lineage=asking.run_id, thread_id=str(asking.run_id))
    await log.submit(call(answering, entry(1)))
    await ended(pool, answering, "cancelled")
    runs = RunStore(pool)

    await runs.ends.delete(answering.run_id)
    assert await rows(pool, "SELECT ordinal FROM call_journal") == [(0,)], "the other run's answer stays"
    await runs.ends.delete(asking.run_id)
    assert await kept(pool) == set()


async def test_what_the_runs_of_a_thread_were_answered_goes_with_the_thread(log: CallLog, pool: Pool) -> None:
    asking = await running(pool)
    await log.submit(call(asking, entry(), usage()))
    await ended(pool, asking, "interrupted")
    other = await running(pool, lineage=asking.run_id, thread_id=str(asking.run_id))
    await log.submit(call(other, entry(1)))
    elsewhere = await running(pool)
    await log.submit(call(elsewhere, entry()))

    await ThreadStore(pool, erasing, values_bytes=1).delete(str(asking.run_id))
    assert await kept(pool) == {elsewhere.run_id}
    assert await rows(pool, "SELECT count(*) FROM call_usage") == [(1,)], "what it cost is still to be paid"
