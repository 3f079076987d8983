"""Runs of the Agent Server API as rows, and a thread whose state a test writes itself."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from run_rows import claim_one, new_run, rows

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.domain.intake import Intake, Resume
from outlast.domain.options import RunOptions
from outlast.domain.outcome import Outcome, Succeeded, Waiting, settle
from outlast.domain.run import ClaimedRun, NewRun
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore

QUESTION, OTHER = "a" * 32, "b" * 32


def api_run(thread_id: str = "t", **given: Any) -> NewRun:
    return new_run(thread_id, **{"options": RunOptions(protocol="v1"), "assistant_id": uuid4(), **given})


def answering(value: Any, **given: Any) -> tuple[NewRun, Intake]:
    options = RunOptions(protocol="v1", command={"resume": value})
    return api_run(options=options, input=None), Intake(resume=Resume(value), **given)


async def write(saver: Checkpointer, claimed: ClaimedRun, parent: UUID | None = None) -> UUID:
    """Write one checkpoint as the run's owner; return its id, where the thread now stands."""
    configurable: dict[str, Any] = {"thread_id": claimed.thread_id, "checkpoint_ns": ""}
    if parent is not None:
        configurable["checkpoint_id"] = str(parent)
    config: RunnableConfig = {"configurable": configurable, "metadata": {"run_id": str(claimed.id)}}
    checkpoint = empty_checkpoint()
    # Its id is a time; two of the same moment would not be told apart.
    checkpoint["id"] = str(uuid6())
    fenced = saver.fenced(Fence(run_id=claimed.id, epoch=claimed.epoch))
    written = await fenced.aput(config, checkpoint, {"source": "loop", "step": 1, "run_id": str(claimed.id)}, {})
    return UUID(written["configurable"]["checkpoint_id"])


async def end(store: RunStore, claimed: ClaimedRun, outcome: Outcome, **more: Any) -> Any:
    settlement = settle(
        outcome, errors=0, max_attempts=1, backoff=timedelta(0), protocol=claimed.options.protocol, **more
    )
    return await store.settle(claimed, settlement)


async def interrupted(
    store: RunStore,
    saver: Checkpointer,
    worker: UUID,
    *,
    questions: tuple[str, ...] = (QUESTION,),
    thread_id: str = "t",
) -> tuple[UUID, UUID]:
    """Let a run of the thread ask; return its id and the checkpoint that asks."""
    run = api_run(thread_id)
    await store.intake.admit(run, Intake())
    claimed = await claim_one(store, worker)
    at = await write(saver, claimed)
    asked = [{"id": question, "value": "?"} for question in questions]
    waiting = Waiting(
        interrupts=asked, checkpoint_id=at, output=None, values=b'{"asked": true}',
        tasks={f"task {number}": [question] for number, question in enumerate(asked)},
    )  # fmt: skip
    await end(store, claimed, waiting)
    return run.id, at


async def succeeded(store: RunStore, saver: Checkpointer, worker: UUID, *, values: bytes = b"{}") -> tuple[UUID, UUID]:
    run = api_run()
    await store.intake.admit(run, Intake())
    claimed = await claim_one(store, worker)
    at = await write(saver, claimed)
    await end(store, claimed, Succeeded(output=None, values=values, stands_at=at))
    return run.id, at


async def details(pool: Pool, *columns: str) -> tuple[Any, ...]:
    (found,) = await rows(pool, f"SELECT {', '.join(columns)} FROM thread_details")
    return found
