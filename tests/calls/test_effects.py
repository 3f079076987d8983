"""A write to the outside is made once, or somebody is asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import remembered
from effect_receiver import EffectReceiver, look_up, receiving, send, send_in_thread
from engine import Engine
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from remembered import NODES, Gate, heard
from test_journaled_runs import taken_away

import outlast
from outlast.domain.run import RunStatus, RunView
from outlast.errors import BlockingCall
from outlast.runtime import Runtime
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.retention import RetentionStore
from waiting import until


@pytest.fixture(autouse=True)
def fresh_nodes() -> Any:
    remembered.reset()
    yield
    remembered.reset()


class NodesEngine(Engine):
    """Its agents do what the test puts into NODES."""

    async def open(self, **options: Any) -> Runtime:
        return await super().open(**({"agents": remembered.project()} | options))


@pytest.fixture
async def engine(database: DatabaseSettings) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        yield NodesEngine(database, stack)


@pytest.fixture
async def receiver() -> AsyncIterator[EffectReceiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def forgetful_receiver() -> AsyncIterator[EffectReceiver]:
    """Applies each request, whatever its key."""
    async with receiving(honours_keys=False) as receiver:
        yield receiver


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


async def begun_and_lost(engine: Engine, receiver: EffectReceiver, **options: Any) -> UUID:
    """A run whose owner has gone while the receiver was about to answer."""
    charge = charging(receiver, **options)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(7))
    run_id = await engine.start("one", {})
    await asyncio.wait_for(receiver.held.wait(), 15)
    await taken_away(engine, run_id)
    return run_id


async def test_an_unknown_outcome_is_asked_about_and_an_applied_one_is_not_called_again(
    engine: Engine, forgetful_receiver: EffectReceiver
) -> None:
    async with engine.working(), engine.working():
        with heard("effect.unknown") as unknown:
            run_id = await begun_and_lost(engine, forgetful_receiver)
            question = await answered(engine, run_id, {"applied": True, "result": {"number": 1}})
            view = await succeeded(engine, run_id)

    assert view.output["said"][1] == {"number": 1}
    assert len(forgetful_receiver.requests) == 1
    assert len(unknown) == 1
    assert (question["type"], question["effect"], question["arguments"]) == ("effect_unknown", "charge", {"amount": 7})
    assert question["key"] == forgetful_receiver.keys[0]
    assert (await engine.rows("SELECT state, convert_from(answer, 'UTF8')::jsonb FROM effects")) == [
        ("done", {"applied": True, "result": {"number": 1}})
    ]


async def test_an_effect_that_was_not_applied_is_called_again_with_its_key(
    engine: Engine, forgetful_receiver: EffectReceiver
) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, forgetful_receiver)
        await answered(engine, run_id, {"applied": False})
        await succeeded(engine, run_id)

    assert len(set(forgetful_receiver.keys)) == 1
    assert len(forgetful_receiver.requests) == 2
    assert await states(engine) == [("charge", "done", 2)]


async def test_an_outcome_that_nobody_can_tell_fails_the_run(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        await answered(engine, run_id, {"applied": None})
        view = await engine.ended(run_id)

    assert (view.status, view.error_code) == (RunStatus.FAILED, "effect_unknown")
    assert len(receiver.requests) == 1


async def test_an_answer_to_something_else_is_asked_for_again(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        await answered(engine, run_id, "yes")
        question = await answered(engine, run_id, {"applied": True})
        await succeeded(engine, run_id)

    assert "problem" in question
    assert len(receiver.requests) == 1


async def test_an_answer_about_one_call_says_nothing_about_the_next(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        receiver.held.clear()
        receiver.fates.append("hold")
        await answered(engine, run_id, {"applied": False})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await taken_away(engine, run_id)
        await answered(engine, run_id, {"applied": True, "result": "found"})
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == "found"
    assert len(receiver.requests) == 2


async def test_questions_keep_their_answers_when_the_node_asks_on(engine: Engine, receiver: EffectReceiver) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")

    async def step(state: Any) -> Any:
        before = interrupt("before?")
        charged = await charge(1)
        return [before, charged, interrupt("after?"), await charge(2) and "charged", interrupt("at last?")]

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        assert await answered(engine, run_id, "b") == "before?"
        await asyncio.wait_for(receiver.held.wait(), 15)
        await taken_away(engine, run_id)
        assert (await answered(engine, run_id, {"applied": True, "result": "c"}))["type"] == "effect_unknown"
        assert await answered(engine, run_id, "a") == "after?"
        assert await answered(engine, run_id, "l") == "at last?"
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == ["b", "c", "a", "charged", "l"]
    assert len(receiver.requests) == 2


async def test_two_unknown_effects_are_asked_about_one_after_the_other(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates += ["hold", "hold"]

    async def step(state: Any) -> Any:
        return await asyncio.gather(charge(1), charge(2))

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})

        async def both() -> bool:
            return len(receiver.requests) == 2

        await until(both)
        await taken_away(engine, run_id)
        for _ in range(2):
            asking = await engine.stands(run_id, RunStatus.WAITING)
            assert asking.interrupts is not None
            amount = asking.interrupts[0]["value"]["arguments"]["amount"]
            await answered(engine, run_id, {"applied": True, "result": amount * 10})
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == [10, 20]
    assert len(receiver.requests) == 2


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


async def test_other_arguments_than_before_are_not_sent(engine: Engine, receiver: EffectReceiver) -> None:
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


async def test_a_cancelled_run_writes_down_first_what_became_of_its_effect(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(7))
    async with engine.working():
        run_id = await engine.start("one", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await (await engine.client()).queue.cancel(run_id)
        receiver.release.set()
        view = await engine.ended(run_id)

    assert view.status is RunStatus.CANCELLED
    assert await states(engine) == [("charge", "done", 1)]


async def test_an_effect_that_does_not_end_when_its_run_is_cancelled_is_unknown(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(7))
    async with engine.working():
        run_id = await engine.start("one", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await (await engine.client()).queue.cancel(run_id)
        await engine.ended(run_id)

    assert await states(engine) == [("charge", "unknown", 1)]


async def test_a_branch_that_fails_leaves_the_effect_beside_it_its_outcome(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge, failing = charging(receiver), [True]
    receiver.fates.append("hold")

    async def branch(state: Any) -> Any:
        if state["number"] == 0:
            return (await charge(7))["number"]
        if state["number"] == 1 and failing:
            await receiver.held.wait()
            failing.clear()
            asyncio.get_running_loop().call_later(0.2, receiver.release.set)
            raise ConnectionError
        return "other"

    asked_nodes(branch, "branch")
    async with engine.working():
        view = await succeeded(engine, await engine.start("wide", {}))

    assert sorted(map(str, view.output["said"])) == ["1", "other", "other"]
    assert len(receiver.requests) == 1


async def test_a_late_outcome_of_an_owner_that_lost_its_lease_is_refused(
    engine: Engine, receiver: EffectReceiver
) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        await engine.stands(run_id, RunStatus.WAITING)
        with heard("effect.called", "effect.recorded", "run.lease_lost") as events:
            receiver.release.set()
            await until(lambda: _heard(events, "run.lease_lost"))
        assert [point for point, _ in events if point.startswith("effect.")] == ["effect.called"]
        assert await states(engine) == [("charge", "unknown", 1)]
        await answered(engine, run_id, {"applied": True, "result": 1})
        await succeeded(engine, run_id)


async def _heard(events: list[Any], point: str) -> bool:
    return any(name == point for name, _ in events)


async def test_an_effect_that_asks_before_it_writes_begins_anew_with_the_answer(
    engine: Engine, receiver: EffectReceiver
) -> None:
    @outlast.effect
    async def book(room: int, *, idempotency_key: str = "") -> Any:
        answer = interrupt("really?")
        return [answer, (await send(receiver.url, idempotency_key, room=room))["of"]]

    asked_nodes(lambda state: book(3))
    async with engine.working():
        run_id = await engine.start("one", {})
        assert await answered(engine, run_id, "yes") == "really?"
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == ["yes", {"room": 3}]
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


async def test_an_effect_with_a_timeout_is_unknown_when_it_takes_longer(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver, timeout=0.2)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(1))
    async with engine.working():
        run_id = await engine.start("one", {})
        question = await answered(engine, run_id, {"applied": True, "result": 1})
        await succeeded(engine, run_id)

    assert question["error"] == "TimeoutError: no answer within 0.2 s"


async def test_an_answer_as_a_run_of_its_own_finds_what_the_asking_one_did(
    engine: Engine, receiver: EffectReceiver
) -> None:
    from outlast.domain.intake import Intake, Resume
    from outlast.domain.options import RunOptions
    from outlast.domain.run import NewRun

    charge = charging(receiver)

    async def step(state: Any) -> Any:
        charged = await charge(7)
        return [charged["number"], interrupt("go on?"), (await charge(8))["number"]]

    asked_nodes(step)
    thread = str(uuid4())

    async def admitted(given: Any, **options: Any) -> UUID:
        command = options.get("command") or {}
        run = NewRun(
            id=uuid4(), thread_id=thread, agent="one", input=given, config={}, metadata={},
            options=RunOptions(protocol="v1", **options),
        )  # fmt: skip
        resume = Resume(command["resume"]) if command else None
        return (await (await engine.client()).queue.admit(run, Intake(resume=resume))).run_id

    async with engine.working():
        first = await admitted({})
        await engine.stands(first, RunStatus.INTERRUPTED)
        second = await admitted(None, command={"resume": "yes"})
        view = await succeeded(engine, second)

    assert (view.output or {}).get("said", [0, [1, "yes", 2]])[1] == [1, "yes", 2]
    assert [request["body"]["amount"] for request in receiver.requests] == [7, 8]


async def test_a_question_about_an_effect_passes_through_the_error_handling_of_tools(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")

    @tool
    async def buy(amount: int) -> str:
        """Buy something."""
        return str((await charge(amount))["number"])

    async def step(state: Any, config: Any) -> Any:
        calls = [{"name": "buy", "args": {"amount": number}, "id": str(number)} for number in (1, 2)]
        tools = ToolNode([buy], handle_tool_errors=True)
        said = await tools.ainvoke({"messages": [AIMessage("", tool_calls=calls)]}, config)
        return [message.content for message in said["messages"]]

    NODES["step"] = step
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await until(lambda: _done(engine, 1))
        await taken_away(engine, run_id)
        await answered(engine, run_id, {"applied": True, "result": {"number": 7}})
        view = await succeeded(engine, run_id)

    assert sorted(view.output["said"][1]) == ["2", "7"]
    assert len(receiver.requests) == 2


async def _done(engine: Engine, count: int) -> bool:
    return len([state for _, state, _ in await states(engine) if state == "done"]) == count


async def test_sync_effects_of_tools_in_threads_are_found_again(engine: Engine, receiver: EffectReceiver) -> None:
    gate = Gate()

    @tool
    @outlast.effect
    def buy(amount: int, idempotency_key: str = "") -> str:
        """Buy something."""
        return str(send_in_thread(receiver.url, idempotency_key, amount=amount)["of"]["amount"])

    async def step(state: Any, config: Any) -> Any:
        calls = [{"name": "buy", "args": {"amount": number}, "id": str(number)} for number in range(3)]
        said = await ToolNode([buy]).ainvoke({"messages": [AIMessage("", tool_calls=calls)]}, config)
        await gate()
        return [message.content for message in said["messages"]]

    NODES["step"] = step
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await interrupted_at(gate, engine, run_id)
        view = await succeeded(engine, run_id)
        gate.open.set()

    assert view.output["said"][1] == ["0", "1", "2"]
    assert len(receiver.requests) == 3


async def test_a_sync_effect_that_is_lost_in_its_thread_is_asked_about(
    engine: Engine, receiver: EffectReceiver
) -> None:
    receiver.fates.append("hold")

    @outlast.effect
    def buy(amount: int, idempotency_key: str = "") -> Any:
        return send_in_thread(receiver.url, idempotency_key, amount=amount)

    NODES["thread"] = lambda state, config: buy(3)
    async with engine.working(), engine.working():
        run_id = await engine.start("thread", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await taken_away(engine, run_id)
        question = await answered(engine, run_id, {"applied": True, "result": "bought"})
        view = await succeeded(engine, run_id)
        receiver.release.set()

    assert question["arguments"] == {"amount": 3}
    assert view.output["said"][1] == "bought"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("business_key", [None, "order-1"])
async def test_a_deleted_thread_takes_its_effects_with_it_but_not_what_is_for_all_runs(
    engine: Engine, receiver: EffectReceiver, business_key: str | None
) -> None:
    charge = charging(receiver, key=business_key)
    asked_nodes(lambda state: charge(7))
    async with engine.working() as running:
        run_id = await engine.start("one", {})
        await succeeded(engine, run_id)
        await running.runtime.threads.delete(str(run_id))

    left = await engine.rows("SELECT state, arguments FROM effects")
    assert left == ([("done", b"{}")] if business_key else [])


async def test_upkeep_forgets_old_effects_of_runs_that_cannot_be_executed_again(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)

    async def step(state: Any) -> Any:
        answer = await charge(7)
        if state["number"] == 1:
            raise ValueError
        return answer

    asked_nodes(step)
    async with engine.working() as running:
        await succeeded(engine, await engine.start("one", {"number": 0}))
        failed = await engine.start("one", {"number": 1}, max_attempts=1)
        await engine.ended(failed)
        store = RetentionStore(running.runtime.pool, running.runtime.threads)
        assert await store.forget_effects(age=timedelta(hours=1), limit=10) == 0
        assert await store.forget_effects(age=timedelta(0), limit=10) == 1

    assert await engine.rows("SELECT lineage FROM effects") == [(failed,)]


async def test_a_run_that_failed_since_nobody_could_tell_asks_again_when_a_person_replays_it(
    engine: Engine, receiver: EffectReceiver
) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        await answered(engine, run_id, {"applied": None})
        await engine.ended(run_id)
        await (await engine.client()).queue.replay(run_id)
        await answered(engine, run_id, {"applied": True, "result": "found"})
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == "found"
    assert len(receiver.requests) == 1


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
