"""Effects in runs: what a test of them does again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from effect_receiver import EffectReceiver, send
from engine import Engine
from remembered import NODES, Gate
from test_journaled_runs import taken_away

import outlast
from outlast.domain.run import RunStatus, RunView
from waiting import until


def charging(receiver: EffectReceiver, **options: Any) -> Callable[..., Awaitable[Any]]:
    @outlast.effect(**options)
    async def charge(amount: int, *, idempotency_key: str = "") -> Any:
        return await send(receiver.url, idempotency_key, amount=amount)

    return charge


def asked_nodes(node: Callable[[dict[str, Any]], Awaitable[Any]], name: str = "step") -> None:
    async def called(state: dict[str, Any], config: Any) -> Any:
        return await node(state)

    NODES[name] = called


async def interrupted_at(gate: Gate, engine: Engine, run_id: UUID) -> None:
    """Its worker dies while it waits at the gate, as far as the database knows."""

    async def come() -> bool:
        view = await engine.view(run_id)
        assert not view.ended, f"{view.status}: {view.error_message}"
        return gate.come.is_set()

    await until(come, 15)
    await taken_away(engine, run_id)


async def answered(engine: Engine, run_id: UUID, answer: Any) -> dict[str, Any]:
    """Answer the question that the run asks, and return the question."""
    view = await engine.stands(run_id, RunStatus.WAITING)
    await (await engine.client()).queue.answer(run_id, answer)
    assert view.interrupts is not None
    return view.interrupts[0]["value"]


async def states(engine: Engine) -> list[tuple[str, str, int]]:
    return await engine.rows("SELECT name, state, calls FROM effects ORDER BY begun_at")


async def succeeded(engine: Engine, run_id: UUID) -> RunView:
    return await engine.stands(run_id, RunStatus.SUCCEEDED)


async def begun_and_lost(engine: Engine, receiver: EffectReceiver, **options: Any) -> UUID:
    """A run whose owner has gone while the receiver was about to answer."""
    charge = charging(receiver, **options)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(7))
    run_id = await engine.start("one", {})
    await asyncio.wait_for(receiver.held.wait(), 15)
    await taken_away(engine, run_id)
    return run_id
