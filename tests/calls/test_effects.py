"""A write to the outside is made once, however often its step is executed."""

import asyncio
from typing import Any

import httpx
import pytest
import remembered
from effect_receiver import EffectReceiver, look_up, send
from effecting import answered, asked_nodes, begun_and_lost, charging, interrupted_at, states, succeeded
from engine import Engine
from remembered import NODES, Gate
from test_journaled_runs import taken_away

import outlast
from outlast.calls import effect_ledger
from outlast.errors import BlockingCall
from waiting import until


@pytest.mark.parametrize("agent", ["one", "nested", "functional", "wide", "thread"])
async def test_an_effect_is_applied_once_when_its_step_is_executed_again(
    engine: Engine, receiver: EffectReceiver, agent: str
) -> None:
    gate, charge = Gate(), charging(receiver)
    waits = asyncio.get_running_loop()

    async def step(state: dict[str, Any], config: Any = None) -> Any:
        answer = await charge(state.get("number", 1))
        await gate()
        return answer["number"]

    @outlast.effect
    def pay(amount: int, idempotency_key: str = "") -> Any:
        return asyncio.run_coroutine_threadsafe(send(receiver.url, idempotency_key, amount=amount), waits).result()

    def in_thread(state: dict[str, Any], config: Any) -> Any:
        answer = pay(1)
        asyncio.run_coroutine_threadsafe(gate(), waits).result()
        return answer["number"]

    async def with_errand(given: Any, config: Any) -> Any:
        return await remembered.errand("errand")

    NODES.update({"step": step, "inner2": step, "branch": step, "errand": step, "functional": with_errand})
    NODES["thread"] = in_thread
    async with engine.working(), engine.working():
        run_id = await engine.start(agent, {})
        await interrupted_at(gate, engine, run_id)
        await succeeded(engine, run_id)
        gate.open.set()

    assert set(receiver.applied.values()) == {1}
    assert len(receiver.requests) == (3 if agent == "wide" else 1)
    assert all(len(key) == 64 for key in receiver.keys)


async def test_a_loop_applies_each_of_its_effects_once(engine: Engine, receiver: EffectReceiver) -> None:
    gate, charge = Gate(), charging(receiver)

    async def step(state: Any) -> Any:
        answers = []
        for number in range(4):
            answers.append(await charge(5))
            if number == 2:
                await gate()
        return [answer["number"] for answer in answers]

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await interrupted_at(gate, engine, run_id)
        view = await succeeded(engine, run_id)
        gate.open.set()

    assert view.output["said"][1] == [1, 2, 3, 4]
    assert len(set(receiver.keys)) == len(receiver.keys) == 4


async def test_parallel_effects_are_found_again_whatever_their_order(engine: Engine, receiver: EffectReceiver) -> None:
    charge, first = charging(receiver), [True]
    gates = {number: Gate() for number in range(3)}
    hold = Gate()

    async def branch(number: int) -> Any:
        # The second execution comes to them in the opposite order.
        turn = number if first[0] else 2 - number
        if turn > 0:
            await gates[turn - 1].come.wait()
        answer = await charge(number)
        gates[turn].come.set()
        return answer["of"]["amount"]

    async def step(state: Any) -> Any:
        said = await asyncio.gather(*(branch(number) for number in range(3)))
        if first[0]:
            first[0] = False
            for gate in gates.values():
                gate.come.clear()
            await hold()
        return said

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await interrupted_at(hold, engine, run_id)
        view = await succeeded(engine, run_id)
        hold.open.set()

    assert view.output["said"][1] == [0, 1, 2]
    assert len(receiver.requests) == 3


async def test_retry_calls_again_with_the_same_key_after_a_crash(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver, on_unknown="retry")
        view = await succeeded(engine, run_id)

    assert view.output["said"][1]["number"] == 1
    assert receiver.applied == {receiver.keys[0]: 1}
    assert len(receiver.requests) == 2


async def test_retry_calls_again_after_a_reset_and_not_for_ever(engine: Engine, receiver: EffectReceiver) -> None:
    charge = charging(receiver, on_unknown="retry")
    receiver.fates += ["reset", "drop"]
    asked_nodes(lambda state: charge(7))
    async with engine.working(max_attempts=1):
        run_id = await engine.start("one", {}, max_attempts=1)
        await succeeded(engine, run_id)
        assert receiver.applied == {receiver.keys[0]: 1}

        receiver.fates += ["drop"] * 3
        run_id = await engine.start("one", {}, max_attempts=1)
        view = await engine.ended(run_id)

    assert view.error_code == "RemoteProtocolError"
    assert len(receiver.requests) == 6
    assert [state for _, state, _ in await states(engine)] == ["done", "unknown"]


async def test_a_refusal_of_a_second_call_does_not_make_the_first_one_undone(
    engine: Engine, forgetful_receiver: EffectReceiver
) -> None:
    charge = charging(forgetful_receiver, on_unknown="retry")
    forgetful_receiver.fates += ["reset", 403, 403]
    asked_nodes(lambda state: charge(7))
    async with engine.working():
        run_id = await engine.start("one", {}, max_attempts=1)
        await engine.ended(run_id)

    assert await states(engine) == [("charge", "unknown", 3)]


async def test_a_key_that_the_receiver_has_forgotten_is_never_retried(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver, on_unknown="retry", key_ttl=0.001)
        await answered(engine, run_id, {"applied": True, "result": 1})
        await succeeded(engine, run_id)

    assert len(receiver.requests) == 1


@pytest.mark.parametrize("known", ["applied", "not applied", "unsure"])
async def test_a_lookup_decides(engine: Engine, forgetful_receiver: EffectReceiver, known: str) -> None:
    looked_up = []

    async def lookup(key: str, amount: int) -> Any:
        looked_up.append(amount)
        if known == "not applied":
            return outlast.NotApplied()
        found = await look_up(forgetful_receiver.url, key)
        return outlast.Applied(found) if known == "applied" else None

    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, forgetful_receiver, on_unknown=lookup)
        if known == "unsure":
            await answered(engine, run_id, {"applied": True, "result": "seen"})
        view = await succeeded(engine, run_id)

    said = view.output["said"][1]
    assert (
        said == ("seen" if known == "unsure" else {"number": 2 if known == "not applied" else 1, "of": {"amount": 7}})
        or known == "not applied"
    )
    assert looked_up[0] == 7
    assert len(forgetful_receiver.requests) == (2 if known == "not applied" else 1)


async def test_a_refused_effect_raises_its_error_and_is_called_again_by_the_next_attempt(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append(422)
    asked_nodes(lambda state: charge(7))
    async with engine.working():
        run_id = await engine.start("one", {}, max_attempts=2)
        await succeeded(engine, run_id)

    assert len(set(receiver.keys)) == 1
    assert await states(engine) == [("charge", "done", 2)]


async def test_a_refused_effect_is_called_again_by_the_nodes_retry_policy(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge, error = charging(receiver), ConnectionError

    async def step(state: Any) -> Any:
        try:
            return await charge(7)
        except Exception as refused:
            raise error(str(refused)) from refused

    receiver.fates += [503 - 100, 403]
    asked_nodes(step, "stubborn")
    async with engine.working():
        run_id = await engine.start("stubborn", {}, max_attempts=1)
        await succeeded(engine, run_id)

    assert receiver.applied == {receiver.keys[0]: 1}
    assert len(receiver.requests) == 3


async def test_a_person_who_replays_the_run_has_a_refused_effect_called_again(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append(422)
    asked_nodes(lambda state: charge(7))
    async with engine.working():
        run_id = await engine.start("one", {}, max_attempts=1)
        await engine.ended(run_id)
        await (await engine.client()).queue.replay(run_id)
        await succeeded(engine, run_id)

    assert len(set(receiver.keys)) == 1
    assert len(receiver.requests) == 2


async def test_what_was_done_instead_of_a_refused_effect_stays_instead_of_it(
    engine: Engine, receiver: EffectReceiver
) -> None:
    gate, charge = Gate(), charging(receiver)
    failing = [True]

    @outlast.effect
    async def charge_elsewhere(amount: int, *, idempotency_key: str) -> Any:
        return await send(receiver.url, idempotency_key, elsewhere=amount)

    async def step(state: Any) -> Any:
        try:
            answer = await charge(7)
        except httpx.HTTPStatusError as error:
            answer = [type(error).__name__, (await charge_elsewhere(7))["of"]]
        await gate()
        if failing.pop(0):
            failing.append(False)
            raise ConnectionError
        return answer

    receiver.fates.append(402)
    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await interrupted_at(gate, engine, run_id)
        view = await succeeded(engine, run_id)
        gate.open.set()

    assert view.output["said"][1] == ["HTTPStatusError", {"elsewhere": 7}]
    assert len(receiver.requests) == 2


async def test_other_arguments_than_before_are_not_sent(
    engine: Engine, receiver: EffectReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long it waits for a parallel branch that may have written this.
    monkeypatch.setattr(effect_ledger, "_PATIENCE_SECONDS", 0.3)
    gate, charge, amounts = Gate(), charging(receiver), iter((1, 2))

    async def step(state: Any) -> Any:
        answer = await charge(next(amounts))
        await gate()
        return answer

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await interrupted_at(gate, engine, run_id)
        view = await engine.ended(run_id)
        gate.open.set()

    assert view.error_code == "effect_mismatch"
    assert [request["body"] for request in receiver.requests] == [{"amount": 1}]


async def test_a_key_of_the_projects_own_is_applied_once_in_all_runs(engine: Engine, receiver: EffectReceiver) -> None:
    charge = charging(receiver, key=lambda amount: f"order-{amount}")
    asked_nodes(lambda state: charge(7))
    async with engine.working():
        views = [await succeeded(engine, await engine.start("one", {})) for _ in range(2)]
        both = [await engine.start("one", {"number": 1}) for _ in range(4)]
        views += [await succeeded(engine, run_id) for run_id in both]

    assert {view.output["said"][1]["number"] for view in views} == {1}
    assert len(receiver.requests) == 1


async def test_a_key_of_the_projects_own_has_the_same_arguments_each_time(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge, amounts = charging(receiver, key="order-1"), iter((1, 2))
    asked_nodes(lambda state: charge(next(amounts)))
    async with engine.working():
        await succeeded(engine, await engine.start("one", {}))
        view = await engine.ended(await engine.start("one", {}))

    assert view.error_code == "effect_mismatch"
    assert len(receiver.requests) == 1


async def test_a_result_that_cannot_be_stored_fails_and_is_not_called_again(engine: Engine) -> None:
    calls = []

    @outlast.effect
    async def odd() -> Any:
        calls.append(1)
        return object()

    asked_nodes(lambda state: odd())
    async with engine.working():
        view = await engine.ended(await engine.start("one", {}))

    assert view.error_code == "state_not_serializable"
    assert "of effect 'odd'" in (view.error_message or "")
    assert await states(engine) == [("odd", "done", 1)]


async def test_the_call_form_takes_functions_of_somebody_else(engine: Engine, receiver: EffectReceiver) -> None:
    gate, threads = Gate(), []

    def sync_client(amount: int, *, idempotency_key: str) -> str:
        threads.append(idempotency_key)
        return f"paid {amount}"

    async def step(state: Any) -> Any:
        sent = await outlast.effect.call("send", lambda idempotency_key: send(receiver.url, idempotency_key, a=1))
        paid = await outlast.effect.call("pay", sync_client, 3, on_unknown="retry")
        await gate()
        return [sent["of"], paid]

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await interrupted_at(gate, engine, run_id)
        view = await succeeded(engine, run_id)
        gate.open.set()

    assert view.output["said"][1] == [{"a": 1}, "paid 3"]
    assert len(receiver.requests) == len(threads) == 1


async def test_a_sync_effect_on_the_event_loop_is_refused_before_anything_is_announced(engine: Engine) -> None:
    @outlast.effect
    def pay() -> None:
        raise AssertionError

    async def step(state: Any) -> Any:
        with pytest.raises(BlockingCall, match="effect 'pay'"):
            pay()

    asked_nodes(step)
    async with engine.working():
        await succeeded(engine, await engine.start("one", {}))

    assert await states(engine) == []


async def test_a_refused_effect_with_a_key_of_the_projects_own_may_have_other_arguments(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge, amounts = charging(receiver, key="order-1"), iter((1, 2, 2))
    receiver.fates.append(422)
    asked_nodes(lambda state: charge(next(amounts)))
    async with engine.working():
        await succeeded(engine, await engine.start("one", {}))
        await succeeded(engine, await engine.start("one", {}))

    assert [request["body"] for request in receiver.requests] == [{"amount": 1}, {"amount": 2}]


async def test_an_effect_that_was_announced_and_not_called_is_called_by_the_next_owner(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge, announced = charging(receiver), asyncio.Event()
    asked_nodes(lambda state: charge(7))
    async with engine.working() as first:
        store, loop = first.runtime.calls.effects, asyncio.get_running_loop()
        assert store is not None
        intend = type(store).intend

        async def slow(self: Any, *given: Any) -> Any:
            row = await intend(self, *given)
            if not announced.is_set():
                announced.set()
                # The worker is told to stop just now.
                loop.call_soon(next(iter(first.worker._executions.values())).task.cancel)
                await asyncio.sleep(0.05)
            return row

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(store), "intend", slow)
            run_id = await engine.start("one", {})
            await asyncio.wait_for(announced.wait(), 15)
            await until(lambda: _failed(engine))
        assert receiver.requests == []
        await taken_away(engine, run_id)
        await succeeded(engine, run_id)

    assert len(receiver.requests) == 1


async def _failed(engine: Engine) -> bool:
    return [state for _, state, _ in await states(engine)] == ["failed"]
