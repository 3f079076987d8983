"""Each end of a run is a row, once, whatever the database does meanwhile."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from outlast.agents.checkpoints import erasing
from outlast.domain.run import RunStatus
from outlast.domain.run_summary import ModelUse, RunSummary
from outlast.errors import DatabaseUnavailable
from outlast.monitoring.observing import Observer, observed
from outlast.recovery.upkeep import Sweeps, Upkeep
from outlast.settings import DatabaseSettings, RetentionSettings
from outlast.storage.postgres.observations import ObservationStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.retention import RetentionStore
from outlast.storage.postgres.threads import ThreadStore
from outlast.telemetry import emit, subscribe


@pytest.fixture(scope="module")
async def pool(database_of_module: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = Pool(database_of_module, application_name="test", size=2)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def lost() -> Iterator[list[int]]:
    told: list[int] = []
    leave = subscribe(lambda point, fields: told.append(fields["count"]) if point == "telemetry.lost" else None)
    yield told
    leave()


async def a_run(pool: Pool, **more: Any) -> RunSummary:
    """A run in the database, and how its attempt has ended."""
    run_id = uuid4()
    async with pool.transaction() as connection:
        await connection.execute(
            "INSERT INTO threads (key, thread_id) VALUES (%(key)s, 't') ON CONFLICT DO NOTHING", {"key": UUID(int=1)}
        )
        await connection.execute(
            "INSERT INTO runs (id, thread_key, agent, status, ended_at, epoch)"
            " VALUES (%(id)s, %(key)s, 'support', 'succeeded', now(), 3)",
            {"id": run_id, "key": UUID(int=1)},
        )
    return ended(run_id, **more)


def ended(run_id: UUID, **more: Any) -> RunSummary:
    use = ModelUse(provider="openai", model="gpt-4o", calls=2, prompt_tokens=100, completion_tokens=20, cost_micros=450)
    usual: dict[str, Any] = {
        "run_id": run_id, "thread_id": "t", "agent": "support", "tenant": "default", "user_id": "ann", "epoch": 1,
        "trace_id": run_id.hex, "status": RunStatus.SUCCEEDED, "outcome": "success", "seconds": 1.5,
        "models": {"openai:gpt-4o": use}, "confidence": 0.9, "output_length": 41, "tool_calls": 2,
    }  # fmt: skip
    return RunSummary(**{**usual, **more})


async def rows(pool: Pool, run_id: UUID, columns: str) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            f"SELECT {columns} FROM run_observations WHERE run_id = %(id)s ORDER BY epoch", {"id": run_id}
        )
        return await cursor.fetchall()


async def test_what_a_run_was_like_is_stored_when_the_process_ends_at_the_latest(pool: Pool):
    run = await a_run(pool, first_byte_seconds=0.2, queued_seconds=0.1, total_seconds=2.0, retries=1, input_print=-5)
    async with observed(pool, judged=False):
        emit("run.ended", summary=run)
    columns = (
        "agent, model, status, output_length, confidence, tokens, cost_usd, seconds, first_byte_seconds,"
        " queued_seconds, total_seconds, model_calls, tool_calls, retries, input_print, judged"
    )
    assert await rows(pool, run.run_id, columns) == [
        ("support", "gpt-4o", "success", 41, 0.9, 120, 0.00045, 1.5, 0.2, 0.1, 2.0, 2, 2, 1, -5, False)
    ]
    assert run.cost_usd == Decimal("0.00045")


async def test_an_end_is_stored_once_and_each_end_of_a_replayed_run_by_itself(pool: Pool):
    run = await a_run(pool, outcome="error", error_class="timed\0_out")
    observer = Observer(ObservationStore(pool))
    for summary in (run, run, replace(run, epoch=2, outcome="success", error_class=None)):
        observer.heard("run.ended", {"summary": summary})
        await observer.flush()
    assert await rows(pool, run.run_id, "epoch, status, error_class") == [
        (1, "error", "timed_out"),
        (2, "success", None),
    ]


@pytest.mark.parametrize("outcome", ["interrupt", "retry", "drained"])
async def test_an_attempt_that_has_not_ended_its_run_is_no_end(pool: Pool, outcome: str):
    run = await a_run(pool, outcome=outcome)
    observer = Observer(ObservationStore(pool))
    observer.heard("run.ended", {"summary": run})
    assert await observer.flush() == 0


async def test_a_run_that_recovery_has_ended_is_an_error(pool: Pool):
    run = await a_run(pool)
    observer = Observer(ObservationStore(pool))
    fields = {"run_id": run.run_id, "agent": "support", "status": RunStatus.FAILED, "code": "crashed"}
    observer.heard("run.taken_away", fields)
    await observer.flush()
    assert await rows(pool, run.run_id, "epoch, agent, status, error_class, model") == [
        (3, "support", "error", "crashed", "")
    ]


async def test_a_run_that_was_erased_meanwhile_leaves_nothing(pool: Pool):
    gone, there = ended(uuid4()), await a_run(pool)
    observer = Observer(ObservationStore(pool))
    for summary in (gone, there):
        observer.heard("run.ended", {"summary": summary})
    await observer.flush()
    assert await rows(pool, gone.run_id, "1") == []
    assert await rows(pool, there.run_id, "1") == [(1,)]


class Away(ObservationStore):
    """A store whose database is away for a while."""

    away = True

    async def add(self, ended: Any, *, judged: bool = False) -> int:
        if self.away:
            raise DatabaseUnavailable("PostgreSQL does not answer; try again")
        return await super().add(ended, judged=judged)


async def test_what_cannot_be_stored_is_stored_later_as_far_as_it_fits_and_the_rest_is_counted(
    pool: Pool, lost: list[int]
):
    store = Away(pool)
    observer = Observer(store, most=2)
    runs = [await a_run(pool) for _ in range(3)]
    for run in runs:
        observer.heard("run.ended", {"summary": run})
    assert await observer.flush() == 0
    assert lost == [1]
    store.away = False
    assert await observer.flush() == 2
    assert [len(await rows(pool, run.run_id, "1")) for run in runs] == [1, 1, 0]


async def test_what_is_left_at_the_end_without_a_database_is_counted(pool: Pool, lost: list[int]):
    observer = Observer(Away(pool))
    observer.heard("run.ended", {"summary": await a_run(pool)})
    await observer.aclose()
    assert lost == [1]


async def test_observations_and_what_was_found_go_when_they_are_old(pool: Pool):
    old, new = await a_run(pool), await a_run(pool)
    await ObservationStore(pool).add([old, new])
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE run_observations SET ended_at = now() - interval '31 days' WHERE run_id = %(id)s",
            {"id": old.run_id},
        )
        for days, name in ((400, "over"), (3, "recent")):
            await connection.execute(
                "INSERT INTO anomalies (agent, model, kind, severity, text, ended_at, ended_as)"
                " VALUES (%(name)s, '', 'length', 'info', '', now() - make_interval(days => %(days)s), 'normal')",
                {"days": days, "name": name},
            )
    upkeep = Upkeep(
        RetentionStore(pool, ThreadStore(pool, erasing)), RetentionSettings(usage_days=timedelta(days=9)), Sweeps()
    )
    await upkeep.aged()
    assert (await rows(pool, old.run_id, "1"), await rows(pool, new.run_id, "1")) == ([], [(1,)])
    async with pool.connection() as connection:
        assert await (await connection.execute("SELECT agent FROM anomalies", {})).fetchall() == [("recent",)]
