"""A saver bound to a lease: once the run has another owner, nothing of the old one is stored."""

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest
from checkpoint_helpers import Log, at, counts, id_of, put, rows, values
from langgraph.graph import END, START, StateGraph

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.errors import LeaseLost
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.checkpoints import thread_key
from savers import OpenSaver
from waiting import until

TASK = str(uuid4())


async def running_run(database: DatabaseSettings, thread: str, *, epoch: int = 1) -> Fence:
    """A run as it is while a worker executes it."""
    run_id = uuid4()
    key = UUID(bytes=thread_key(thread))
    await rows(database.url, "INSERT INTO threads (key, thread_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", key, thread)
    await rows(
        database.url,
        "INSERT INTO runs (id, thread_key, agent, status, worker_id, epoch) VALUES (%s, %s, 'a', 'running', %s, %s)",
        run_id, key, uuid4(), epoch,
    )  # fmt: skip
    return Fence(run_id=run_id, epoch=epoch)


async def take_away(database: DatabaseSettings, fence: Fence) -> None:
    await rows(database.url, "UPDATE runs SET epoch = epoch + 1 WHERE id = %s", fence.run_id)


async def test_the_owner_writes_and_the_former_owner_is_refused_everything(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    fence = await running_run(database, "t")
    owner = saver.fenced(fence)
    head = await put(owner, at("t"), {"x": "stored"})
    await owner.aput_writes(head, [("x", "stored write")], TASK)
    before = await counts(database.url, "t")

    await take_away(database, fence)

    with pytest.raises(LeaseLost, match=str(fence.run_id)):
        await put(owner, head, {"x": "late " * 50}, step=1)
    with pytest.raises(LeaseLost):
        await owner.aput_writes(head, [("x", "late write " * 50)], str(uuid4()))
    assert await counts(database.url, "t") == before
    assert await values(saver, at("t")) == {"x": "stored"}
    await put(saver.fenced(Fence(run_id=fence.run_id, epoch=2)), head, {"x": "next owner"}, step=1)


@pytest.mark.parametrize("status", ["queued", "waiting"])
async def test_a_run_that_is_not_running_can_write_nothing(
    saver: Checkpointer, database: DatabaseSettings, status: str
) -> None:
    fence = await running_run(database, "t")
    await rows(database.url, "UPDATE runs SET status = %s, worker_id = NULL WHERE id = %s", status, fence.run_id)

    with pytest.raises(LeaseLost):
        await put(saver.fenced(fence), at("t"), {"x": 1})
    assert (await counts(database.url, "t"))["checkpoints"] == 0


async def test_a_refused_owner_leaves_no_trace_of_a_thread(saver: Checkpointer, database: DatabaseSettings) -> None:
    fence = Fence(run_id=uuid4(), epoch=1)

    with pytest.raises(LeaseLost):
        await put(saver.fenced(fence), at("never seen"), {"x": "x" * 100})

    assert await rows(database.url, "SELECT * FROM threads") == []
    assert not any((await counts(database.url, "never seen")).values())


async def test_a_refused_owner_does_not_lift_the_tombstone_of_a_thread(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    fence = await running_run(database, "t")
    await put(saver.fenced(fence), at("t"), {"x": 1})
    await take_away(database, fence)
    await saver.adelete_thread("t")

    with pytest.raises(LeaseLost):
        await put(saver.fenced(fence), at("t"), {"x": 1})

    assert await rows(database.url, "SELECT deleted_at IS NOT NULL FROM threads") == [(True,)]


async def test_in_a_batch_only_the_rows_of_the_lost_run_are_refused(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    fences = {f"t{n}": await running_run(database, f"t{n}") for n in range(8)}
    lost = {"t2", "t5"}
    for thread in lost:
        await take_away(database, fences[thread])

    results = await asyncio.gather(
        *(put(saver.fenced(fence), at(thread), {"x": thread}) for thread, fence in fences.items()),
        return_exceptions=True,
    )

    assert {thread for thread, result in zip(fences, results, strict=True) if isinstance(result, LeaseLost)} == lost
    for thread in fences.keys() - lost:
        assert await values(saver, at(thread)) == {"x": thread}


async def test_a_graph_of_a_former_owner_stops_at_its_next_step(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    saver = await open_saver()
    fence = await running_run(database, "t")
    executed: list[str] = []

    async def node(_state: Log) -> Log:
        executed.append("node")
        await take_away(database, fence)
        return {"log": ["node"]}

    builder = StateGraph(Log).add_node("node", node).add_node("after", lambda _: executed.append("after"))
    builder.add_edge(START, "node").add_edge("node", "after").add_edge("after", END)

    with pytest.raises(LeaseLost):
        await builder.compile(checkpointer=saver.fenced(fence)).ainvoke({"log": []}, at("t"), durability="sync")

    assert executed == ["node"]
    assert (await values(await open_saver(), at("t"))).get("log", []) == []


async def blocked_by(database: DatabaseSettings, pid: int) -> bool:
    found = await rows(database.url, "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", pid)
    return bool(found)


async def test_taking_a_run_away_waits_for_a_write_that_is_under_way(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    fence = await running_run(database, "t")
    owner = saver.fenced(fence)
    head = await put(owner, at("t"), {"x": 0})
    writer_pid = (
        await rows(database.url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'outlast-checkpoints'")
    )[0][0]
    async with await psycopg.AsyncConnection.connect(database.url) as holder:
        # The write stops in the middle, with the run's row locked: somebody holds the head.
        await holder.execute("SELECT FROM outlast.checkpoint_heads FOR UPDATE")
        write = asyncio.create_task(put(owner, head, {"x": 1}, step=1))
        await until(lambda: blocked_by(database, holder.info.backend_pid), message="the write does not wait")
        reap = asyncio.create_task(take_away(database, fence))
        await until(lambda: blocked_by(database, writer_pid), message="the reaper does not wait for the write")
        assert not reap.done()
        await holder.rollback()

    after = await write
    await reap
    assert await values(saver, at("t")) == {"x": 1}
    with pytest.raises(LeaseLost):
        await put(owner, after, {"x": 2}, step=2)


async def test_a_write_that_waited_for_the_reaper_sees_the_new_epoch(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    fence = await running_run(database, "t")
    owner = saver.fenced(fence)
    head = await put(owner, at("t"), {"x": 0})
    async with await psycopg.AsyncConnection.connect(database.url) as reaper:
        await reaper.execute("UPDATE outlast.runs SET epoch = epoch + 1 WHERE id = %s", [fence.run_id])
        write = asyncio.create_task(put(owner, head, {"x": 1}, step=1))
        await until(lambda: blocked_by(database, reaper.info.backend_pid), message="the write does not wait")
        await reaper.commit()

    with pytest.raises(LeaseLost):
        await write
    assert id_of(head) == str((await rows(database.url, "SELECT checkpoint_id FROM checkpoint_heads"))[0][0])
