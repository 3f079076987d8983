"""A step that is executed again gets what it was answered, and nothing else does."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
import remembered
from engine import Engine
from langgraph.types import interrupt
from remembered import MODEL, NODES, Gate, ask, heard

import outlast
from outlast.calls import scope
from outlast.calls.memory import JournalMismatch
from outlast.domain.intake import Intake, Resume
from outlast.domain.options import RunOptions
from outlast.domain.run import NewRun, RunStatus
from outlast.errors import LeaseLost
from outlast.settings import DatabaseSettings
from waiting import until


@pytest.fixture
async def engine(database: DatabaseSettings) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        yield Engine(database, stack)


async def taken_away(engine: Engine, run_id: UUID) -> None:
    """As if its worker had died: another one executes it again."""
    await engine.rows(
        "UPDATE runs SET status = 'queued', worker_id = NULL, epoch = epoch + 1, crashes = crashes + 1"
        " WHERE id = %s AND status = 'running'", run_id
    )  # fmt: skip


async def interrupted_at(gate: Gate, engine: Engine, run_id: UUID) -> None:
    async def come() -> bool:
        view = await engine.view(run_id)
        assert not view.ended, f"{view.status}: {view.error_message}"
        return gate.come.is_set()

    await until(come, 15)
    await taken_away(engine, run_id)
    await engine.stands(run_id, RunStatus.SUCCEEDED)
    gate.open.set()


async def said(engine: Engine, run_id: UUID) -> list[Any]:
    return (await engine.view(run_id)).output["said"]


@pytest.mark.parametrize("agent", ["one", "nested", "forgetful", "functional", "wide"])
async def test_an_answered_call_is_never_made_twice_when_its_step_is_executed_again(engine: Engine, agent: str) -> None:
    gate = Gate()

    async def step(state: dict[str, Any], config: Any) -> str:
        answer = await ask(f"question {state.get('number', '')}")
        await gate()
        return answer

    async def with_errands(given: Any, config: Any) -> list[str]:
        return [await remembered.errand("first errand"), await remembered.errand("second errand")]

    name = {"one": "step", "nested": "inner2", "forgetful": "inner2", "functional": "second errand", "wide": "branch"}
    NODES[name[agent]] = step
    NODES["functional"] = with_errands
    NODES["first errand"] = lambda state, config: ask("errand")
    async with engine.working(agents=remembered.project()):
        # With `sync`, LangGraph itself fails in a subgraph without a checkpointer.
        run_id = await engine.start(agent, options=RunOptions(durability="async" if agent == "forgetful" else "sync"))
        with heard("call.replayed") as replayed:
            await interrupted_at(gate, engine, run_id)

    assert sorted(MODEL.asked) == sorted(set(MODEL.asked)), "nothing was asked twice"
    assert len(replayed) >= 1
    assert all("#1" in str(text) for text in await said(engine, run_id) if "question" in str(text))


async def test_calls_that_run_side_by_side_find_their_answers_in_any_order(engine: Engine) -> None:
    gate, order = Gate(), [["a", "b", "c"], ["c", "a", "b"]]

    async def step(state: dict[str, Any], config: Any) -> list[str]:
        questions = order.pop(0)
        answers = await asyncio.gather(*map(ask, questions))
        await gate()
        return sorted(answers)

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await interrupted_at(gate, engine, run_id)

    assert sorted(MODEL.asked) == ["a", "b", "c"]
    assert await said(engine, run_id) == ["first", ["a #1", "b #1", "c #1"], "last"]


async def test_the_same_question_asked_thrice_has_three_answers_in_their_order(engine: Engine) -> None:
    gate = Gate()

    async def step(state: dict[str, Any], config: Any) -> list[str]:
        answers = [await ask("again"), await ask("again")]
        await gate()
        return [*answers, await ask("again")]

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await interrupted_at(gate, engine, run_id)

    assert await said(engine, run_id) == ["first", ["again #1", "again #2", "again #3"], "last"]


async def test_a_step_that_asks_something_else_is_told_so_and_gets_a_fresh_answer(engine: Engine) -> None:
    gate, questions = Gate(), ["before", "after"]

    async def step(state: dict[str, Any], config: Any) -> str:
        answer = await ask(questions.pop(0))
        await gate()
        return answer

    NODES["step"] = step
    with warnings.catch_warnings(record=True) as caught, heard("call.mismatch") as mismatches:
        warnings.simplefilter("always")
        async with engine.working(agents=remembered.project()):
            run_id = await engine.start("one")
            await interrupted_at(gate, engine, run_id)

    assert await said(engine, run_id) == ["first", "after #1", "last"]
    (warning,) = [item for item in caught if item.category is JournalMismatch]
    assert str(run_id) in str(warning.message)
    assert [fields["ordinal"] for _, fields in mismatches] == [0]


async def test_after_an_error_the_last_answer_is_asked_anew_and_no_other(engine: Engine) -> None:
    async def step(state: dict[str, Any], config: Any) -> list[str]:
        answers = [await ask("plan"), await ask("number")]
        if answers[1].endswith("#1"):
            raise ValueError("not a number")
        return answers

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await engine.stands(run_id, RunStatus.SUCCEEDED)

    assert MODEL.asked == ["plan", "number", "number"]
    assert await said(engine, run_id) == ["first", ["plan #1", "number #2"], "last"]


async def test_a_node_that_langgraph_executes_again_asks_its_last_question_anew(engine: Engine) -> None:
    async def step(state: dict[str, Any], config: Any) -> list[str]:
        answers = [await ask("plan"), await ask("number")]
        if answers[1].endswith("#1"):
            raise OSError("not a number")
        return answers

    NODES["stubborn"] = step
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("stubborn")
        await engine.stands(run_id, RunStatus.SUCCEEDED)

    assert remembered.BEGUN.count("first") == 1
    assert MODEL.asked == ["plan", "number", "number"]


async def test_a_call_that_failed_for_good_is_what_is_asked_anew_and_nothing_that_was_paid(engine: Engine) -> None:
    MODEL.fails["hard"] = [ValueError("no")]

    async def step(state: dict[str, Any], config: Any) -> list[str]:
        return [await ask("easy"), await ask("hard")]

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await engine.stands(run_id, RunStatus.SUCCEEDED)

    assert MODEL.asked.count("easy") == 1
    assert await said(engine, run_id) == ["first", ["easy #1", "hard #2"], "last"]


async def test_a_node_that_asked_a_person_finds_what_it_was_answered_before(engine: Engine) -> None:
    async def step(state: dict[str, Any], config: Any) -> list[Any]:
        return [await ask("draft"), interrupt("good?")]

    NODES["step"] = step
    async with engine.working(agents=remembered.project()) as running:
        run_id = await engine.start("one")
        await engine.stands(run_id, RunStatus.WAITING)
        await running.runtime.queue.answer(run_id, "yes")
        await engine.stands(run_id, RunStatus.SUCCEEDED)

    assert MODEL.asked == ["draft"]
    assert await said(engine, run_id) == ["first", ["draft #1", "yes"], "last"]


async def admitted(engine: Engine, run_id: UUID, **options: Any) -> UUID:
    command = options.get("command") or {}
    resume = Resume(command["resume"]) if "resume" in command else None
    run = NewRun(
        id=run_id, thread_id="t", agent="one", input=None if command else {}, config={}, metadata={},
        options=RunOptions(protocol="v1", **options),
    )  # fmt: skip
    await (await engine.client()).queue.admit(run, Intake(resume=resume))
    return run_id


async def test_a_run_that_answers_another_one_finds_what_its_node_was_answered_before(engine: Engine) -> None:
    async def step(state: dict[str, Any], config: Any) -> list[Any]:
        draft = await ask("draft")
        first = interrupt("good?")
        return [draft, first, await ask("final"), interrupt("sure?")]

    NODES["step"] = step
    asking, answering, again = UUID(int=1), UUID(int=2), UUID(int=3)
    async with engine.working(agents=remembered.project()):
        await engine.stands(await admitted(engine, asking), RunStatus.INTERRUPTED)
        await engine.stands(await admitted(engine, answering, command={"resume": "yes"}), RunStatus.INTERRUPTED)
        await engine.stands(await admitted(engine, again, command={"resume": "very"}), RunStatus.SUCCEEDED)

    assert MODEL.asked == ["draft", "final"]
    lineages = await engine.rows("SELECT run_id, lineage FROM run_details ORDER BY run_id")
    assert lineages == [(asking, None), (answering, asking), (again, asking)]


async def test_a_run_that_goes_on_where_a_failed_one_stopped_finds_what_that_was_answered(engine: Engine) -> None:
    """All but the last answer, which the error may have come from."""

    async def step(state: dict[str, Any], config: Any) -> list[str]:
        answers = [await ask("plan"), await ask("number")]
        if not answers[1].endswith("#2"):
            raise TypeError("no number")
        return answers

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        await engine.stands(await admitted(engine, UUID(int=1)), RunStatus.FAILED)
        run = NewRun(
            id=UUID(int=2), thread_id="t", agent="one", input=None, config={}, metadata={},
            options=RunOptions(protocol="v1"),
        )  # fmt: skip
        await (await engine.client()).queue.admit(run, Intake())
        await engine.stands(run.id, RunStatus.SUCCEEDED)

    assert MODEL.asked == ["plan", "number", "number"]


async def test_an_answer_that_an_effect_followed_from_is_given_again_after_an_error(engine: Engine) -> None:
    """Another answer might lead to another effect, and the first one is applied already."""
    applied: list[str] = []

    @outlast.effect
    async def pay(what: str, *, idempotency_key: str) -> str:
        applied.append(what)
        return "paid"

    async def step(state: dict[str, Any], config: Any) -> str:
        answer = await ask("what to pay")
        await pay(answer)
        if remembered.BEGUN.count("step") == 1:
            raise ConnectionError
        return answer

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        await engine.stands(await engine.start("one"), RunStatus.SUCCEEDED)

    assert remembered.BEGUN.count("step") == 2
    assert MODEL.asked == ["what to pay"]
    assert applied == ["what to pay #1"]


async def test_a_run_that_starts_from_an_older_checkpoint_is_answered_anew(engine: Engine) -> None:
    NODES["step"] = lambda state, config: ask("question")
    async with engine.working(agents=remembered.project()):
        await engine.stands(await admitted(engine, UUID(int=1)), RunStatus.SUCCEEDED)
        ((checkpoint,),) = await engine.rows(
            "SELECT checkpoint_id::text FROM checkpoints WHERE ns = '' AND metadata->>'step' = '1'"
        )
        options = {"checkpoint": {"checkpoint_id": checkpoint, "checkpoint_ns": ""}}
        run = NewRun(
            id=UUID(int=2), thread_id="t", agent="one", input=None, config={}, metadata={},
            options=RunOptions(protocol="v1", **options),
        )  # fmt: skip
        await (await engine.client()).queue.admit(run, Intake())
        await engine.stands(run.id, RunStatus.SUCCEEDED)

    assert MODEL.asked == ["question", "question"]


async def test_an_answer_is_refused_once_the_run_belongs_to_another(engine: Engine) -> None:
    gate, errors = Gate(), []

    async def step(state: dict[str, Any], config: Any) -> str:
        await gate()
        try:
            return await ask("late")
        except LeaseLost as error:
            errors.append(error)
            raise

    NODES["step"] = step
    # The one whose place is taken by the held call cannot claim the run again.
    alone = {"agents": remembered.project(), "worker": {"concurrency": 1}}
    async with engine.working(**alone), engine.working(**alone):
        run_id = await engine.start("one")
        await interrupted_at(gate, engine, run_id)

        async def refused() -> bool:
            return bool(errors)

        await until(refused)
    # Asked once by the new owner, once by the old one, whose answer and usage are refused.
    assert len(MODEL.asked) == 2
    assert await engine.rows("SELECT count(*) FROM call_journal WHERE epoch = 1 AND lineage = %s", run_id) == [(0,)]


async def test_a_sync_node_gets_its_answers_again_too(engine: Engine) -> None:
    times = []

    def node(state: dict[str, Any], config: Any) -> str:
        answer = remembered.model.invoke("from a thread")
        times.append(answer)
        return str(answer.content) + str(interrupt("?"))

    NODES["thread"] = node
    async with engine.working(agents=remembered.project()) as running:
        run_id = await engine.start("thread")
        await engine.stands(run_id, RunStatus.WAITING)
        await running.runtime.queue.answer(run_id, "!")
        await engine.stands(run_id, RunStatus.SUCCEEDED)

    assert MODEL.asked == ["from a thread"]
    assert await said(engine, run_id) == ["first", "from a thread #1!"]


async def test_an_answer_that_is_streamed_again_comes_as_one_chunk_with_the_same_id(engine: Engine) -> None:
    gate, streams = Gate(), []

    async def step(state: dict[str, Any], config: Any) -> str:
        chunks = [chunk async for chunk in remembered.model.astream("stream")]
        streams.append(chunks)
        await gate()
        return "".join(str(chunk.content) for chunk in chunks)

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await interrupted_at(gate, engine, run_id)

    assert MODEL.asked == ["stream"]
    first, second = streams
    assert "".join(str(chunk.content) for chunk in second) == "stream #1"
    assert {chunk.id for chunk in first} == {chunk.id for chunk in second}


async def test_nothing_is_asked_before_the_checkpoint_of_its_task_is_durable(engine: Engine) -> None:
    """Else the answer would be stored under the id of a task that may be lost with the process."""
    gate = Gate()

    async def first(state: dict[str, Any], config: Any) -> str:
        await gate()
        return "first"

    NODES["first"] = first
    NODES["step"] = lambda state, config: ask("question")
    async with engine.working(agents=remembered.project()) as running:
        run_id = await engine.start("one", options=RunOptions(durability="async"))
        await asyncio.wait_for(gate.come.wait(), 15)
        async with running.runtime.pool.transaction() as connection:
            await connection.execute("LOCK TABLE checkpoints IN SHARE MODE")
            gate.open.set()

            async def held() -> bool:
                blocked = await engine.rows(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'checkpoints'::regclass"
                )
                return bool(blocked) and "step" in remembered.BEGUN

            await until(held)
            for number in range(20):
                await ask(f"outside of the run {number}")
            assert "question" not in MODEL.asked
        await engine.stands(run_id, RunStatus.SUCCEEDED)
    assert MODEL.asked[20:] == ["question"]


async def test_what_a_call_cost_is_stored_once_with_its_answer(engine: Engine) -> None:
    gate = Gate()
    MODEL.fails["question"] = [ConnectionError("reset")]

    async def step(state: dict[str, Any], config: Any) -> str:
        answer = await ask("question")
        await gate()
        return answer

    NODES["step"] = step
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await interrupted_at(gate, engine, run_id)
        rows = await engine.rows(
            "SELECT lineage, agent, tenant, input_tokens, output_tokens, outcome FROM call_usage"
            " WHERE run_id = %s AND outcome = 'answered'", run_id
        )  # fmt: skip
    assert rows == [(run_id, "one", "default", 3, 2, "answered")]


async def test_without_a_run_a_model_is_just_asked() -> None:
    assert scope.current.get() is None
    assert await ask("alone") == "alone #1"
    assert await ask("alone") == "alone #2"
