"""What rows of every table make of a thread's story: names and figures; content and other tenants' threads never."""

from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest

from outlast.domain.acting import acting_for
from outlast.domain.outcome import Drained, Failed, Waiting, settle
from outlast.domain.run import ClaimedRun, NewRun
from outlast.errors import NotFound
from outlast.monitoring.story import story_of
from outlast.queues.queue import RunQueue
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.run_ends import Tx
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.workers import WorkerStore
from planted_rows import plant

CANARY = "canary-of-ada"
_WORKER = (
    "INSERT INTO workers (id, host, pid, concurrency, agents)"
    " VALUES (gen_random_uuid(), 'here', 4711, 8, '{support}') RETURNING id"
)
# Names: of a node, a reviewer's action and so on, which the planted rows fill with the canary, too.
NAMED = {"path", "node", "key", "name", "verdict", "stage", "code", "reason", "user", "by", "assignee", "kind", "agent"}


@pytest.fixture
async def thread(pool: Pool) -> str:
    await plant(pool, user="ada", thread_id="t-1", canary=CANARY)
    return "t-1"


async def test_content_is_told_only_when_it_is_asked_for(pool: Pool, thread: str) -> None:
    bare = await story_of(pool, thread)
    whole = await story_of(pool, thread, content=True)

    assert all(entry.content is None for entry in bare.entries)
    assert len(bare.entries) == len(whole.entries)
    told = {entry.kind for entry in whole.entries if CANARY in str(entry.content)}
    assert told >= {
        "run.created",
        "attempt.failed",
        "effect",
        "question.asked",
        "question.comment",
        "review",
        "feedback",
    }
    for entry in bare.entries:
        hidden = {name: value for name, value in entry.facts.items() if name not in NAMED and name != "tasks"}
        assert CANARY not in str(hidden), entry


async def test_a_thread_of_another_tenant_is_not_found(pool: Pool, thread: str) -> None:
    with acting_for("acme"), pytest.raises(NotFound, match=thread):
        await story_of(pool, thread)


async def test_a_story_can_be_of_one_run(pool: Pool, thread: str) -> None:
    elsewhere, run = _run("t-2"), _run("t-1")
    for each in (elsewhere, run):
        await RunStore(pool).enqueue(each)

    both = await story_of(pool, thread)
    one = await story_of(pool, thread, run_id=run.id)

    assert {each.run_id for each in both.runs} > {each.run_id for each in one.runs} == {run.id}
    assert {entry.run_id for entry in one.entries} == {run.id}
    assert elsewhere.id not in {each.run_id for each in both.runs}


async def test_replays_and_what_people_did_are_told_with_their_names(pool: Pool) -> None:
    store, run = RunStore(pool, erase=_erase), _run("t-3")
    await store.enqueue(run)
    await _rows(pool, "UPDATE runs SET status = 'failed', epoch = 1, ended_at = clock_timestamp() RETURNING id")
    queue = RunQueue(store, _Deaf(), audit=AuditLog(pool))  # pyright: ignore[reportArgumentType]

    with acting_for("default"):
        await queue.replay(run.id)
        story = await story_of(pool, "t-3")
        quiet = await story_of(pool, "t-3", audit=False)

    kinds = Counter(entry.kind for entry in story.entries)
    assert (kinds["run.replayed"], kinds["audit"], kinds["run.ended"]) == (1, 1, 0)
    assert [entry.text for entry in story.entries if entry.kind == "audit"] == ["anybody: run.replayed"]
    assert Counter(entry.kind for entry in quiet.entries)["audit"] == 0


async def test_every_way_an_attempt_ends_without_an_end_of_its_run_is_told(pool: Pool) -> None:
    store, run = RunStore(pool), _run("t-5")
    await store.enqueue(run)
    (worker,) = (await _rows(pool, _WORKER))[0]

    async def claim() -> ClaimedRun:
        return (await store.claim(worker, ["support"], limit=1, max_crashes=3))[0]  # pyright: ignore[reportArgumentType]

    await claim()
    await WorkerStore(pool).release(worker)  # pyright: ignore[reportArgumentType]
    await claim()
    await WorkerStore(pool).give_back_unknown(worker, {})  # pyright: ignore[reportArgumentType]
    await store.settle(await claim(), settle(Drained(), errors=0, max_attempts=3, backoff=timedelta(0)))
    failed = Failed(code="KeyError", message="k", retryable=True)
    await store.settle(await claim(), settle(failed, errors=0, max_attempts=3, backoff=timedelta(0)))
    asking = Waiting(interrupts=[{"id": "a" * 32, "value": 1}], checkpoint_id=None, output=None)
    await store.settle(await claim(), settle(asking, errors=0, max_attempts=3, backoff=timedelta(0)))
    story = await story_of(pool, "t-5")

    attempts = [
        (entry.kind.removeprefix("attempt."), entry.attempt) for entry in story.entries if "attempt" in entry.kind
    ]
    assert attempts == [
        ("claimed", 1), ("handed_back", 1), ("claimed", 2), ("handed_back", 2), ("claimed", 3), ("handed_back", 3),
        ("claimed", 4), ("failed", 4), ("claimed", 5), ("waited", 5),
    ]  # fmt: skip
    assert {entry.facts["pid"] for entry in story.entries if entry.kind == "attempt.claimed"} == {4711}
    assert story.runs[0].status == "waiting"


async def test_claims_from_before_there_was_a_history_are_told_as_far_as_they_are_known(pool: Pool) -> None:
    run = _run("t-4")
    await RunStore(pool).enqueue(run)
    worker = uuid4()
    await _rows(
        pool,
        "UPDATE runs SET status = 'running', epoch = 3, worker_id = %s, claimed_at = clock_timestamp() RETURNING id",
        worker,
    )
    await _rows(
        pool,
        "INSERT INTO run_attempts (run_id, epoch, kind, error_code, worker_id, began_at, ended_at) VALUES"
        " (%s, 1, 'crash', 'crashed', %s, now() - interval '2 s', now() - interval '1 s') RETURNING run_id",
        run.id, worker,
    )  # fmt: skip

    story = await story_of(pool, "t-4")

    assert [(e.kind, e.attempt, e.epoch) for e in story.entries if e.kind.startswith("attempt.")] == [
        ("attempt.claimed", 1, 1), ("attempt.lost", 1, 1), ("attempt.claimed", 2, 3),
    ]  # fmt: skip


async def test_a_refusal_is_part_of_the_story_though_it_made_no_run(pool: Pool, thread: str) -> None:
    await _rows(
        pool,
        "INSERT INTO admission_decisions (id, agent, thread_id, verdict, stage, reason, times)"
        " VALUES (%s, 'support', %s, 'refuse', 'limits', '10 a minute', 3) RETURNING id",
        uuid4(), thread,
    )  # fmt: skip

    texts = [entry.text for entry in (await story_of(pool, thread)).entries if entry.kind == "admission"]

    assert "refused by limits: 10 a minute, 3 times" in texts


class _Deaf:
    """Nobody is woken here."""

    def subscribe(self, _callback: object) -> None: ...

    def tell(self, *_told: object) -> None: ...


async def _erase(_connection: Tx, _thread: bytes, _runs: set[str]) -> None: ...


def _run(thread_id: str) -> NewRun:
    return NewRun(id=uuid4(), thread_id=thread_id, agent="support", input={}, config={}, metadata={})


async def _rows(pool: Pool, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(statement.encode(), parameters)).fetchall()
