"""outlast.journal: a step that is executed again reads what it read before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import remembered
from engine import Engine
from langgraph.types import interrupt
from remembered import NODES

import outlast
from outlast.domain.run import RunStatus
from outlast.errors import BlockingCall, InvalidInput
from outlast.settings import DatabaseSettings

READS: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_read() -> None:
    READS.clear()


@pytest.fixture
async def engine(database: DatabaseSettings) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        yield Engine(database, stack)


async def fetch(key: str, *, currency: str = "EUR") -> str:
    READS.append((key, currency))
    return f"{key} in {currency} #{len(READS)}"


def look_up(key: str) -> str:
    READS.append(key)
    return f"{key} #{len(READS)}"


@outlast.journal
async def decorated(key: str) -> str:
    return await fetch(key)


@outlast.journal("a name of its own")
def decorated_sync(key: str) -> str:
    return look_up(key)


async def twice(engine: Engine, agent: str, name: str, node: Any) -> list[Any]:
    """Execute a node, and again with the answer to what it asked; return what it read each time."""
    seen: list[Any] = []

    async def asking(state: dict[str, Any], config: Any) -> str:
        seen.append(await node())
        return str(interrupt("?"))

    def asking_in_thread(state: dict[str, Any], config: Any) -> str:
        seen.append(node())
        return str(interrupt("?"))

    NODES[name] = asking if asyncio.iscoroutinefunction(node) else asking_in_thread
    async with engine.working(agents=remembered.project()) as running:
        run_id = await engine.start(agent)
        await engine.stands(run_id, RunStatus.WAITING)
        await running.runtime.queue.answer(run_id, "!")
        await engine.stands(run_id, RunStatus.SUCCEEDED)
    assert len(seen) == 2
    return seen


async def test_a_node_that_is_executed_again_has_the_same_clock_ids_chance_and_reads(engine: Engine) -> None:
    async def node() -> Any:
        return [
            await outlast.journal.now(),
            await outlast.journal.uuid(),
            await outlast.journal.uuid(),
            await outlast.journal.random(),
            await outlast.journal("price", fetch, "apple", currency="USD"),
            await outlast.journal("price", fetch, "pear"),
            await outlast.journal("count", look_up, "sync"),
            await decorated("plum"),
        ]

    first, second = await twice(engine, "one", "step", node)
    assert first == second
    assert len(READS) == 4
    now, one, other, chance = first[:4]
    assert isinstance(now, datetime)
    assert now.tzinfo is UTC or now.utcoffset() is not None
    assert isinstance(one, UUID)
    assert one != other
    assert 0 <= chance < 1


async def test_a_sync_node_has_them_too_and_takes_them_without_await(engine: Engine) -> None:
    def node() -> Any:
        return [
            outlast.journal.now(),
            outlast.journal.uuid(),
            outlast.journal.random(),
            outlast.journal("price", fetch, "apple"),
            outlast.journal("count", look_up, "sync"),
            decorated_sync("plum"),
        ]

    first, second = await twice(engine, "thread", "thread", node)
    assert first == second
    assert len(READS) == 3


async def test_reads_that_run_side_by_side_keep_their_values(engine: Engine) -> None:
    keys = [["a", "b", "c"], ["b", "c", "a"]]

    async def node() -> Any:
        return dict(zip(order := keys.pop(0), await asyncio.gather(*(decorated(key) for key in order)), strict=True))

    first, second = await twice(engine, "one", "step", node)
    assert first == second


async def test_a_value_that_cannot_be_stored_fails_the_step_and_names_it(engine: Engine) -> None:
    async def node(state: dict[str, Any], config: Any) -> str:
        return str(await outlast.journal("socket", asyncio.Lock))

    NODES["step"] = node
    async with engine.working(agents=remembered.project()):
        view = await engine.stands(await engine.start("one"), RunStatus.FAILED)
    assert view.error_code == "state_not_serializable"
    assert "'socket'" in str(view.error_message)


async def test_what_a_read_raises_is_not_stored(engine: Engine) -> None:
    async def flaky() -> str:
        READS.append("flaky")
        if len(READS) == 1:
            raise ConnectionError
        return "read"

    async def node(state: dict[str, Any], config: Any) -> Any:
        return await outlast.journal("flaky", flaky)

    NODES["step"] = node
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await engine.stands(run_id, RunStatus.SUCCEEDED)
    assert (await engine.view(run_id)).output["said"][1] == "read"


async def test_the_last_read_is_made_anew_after_an_error_but_an_id_stays(engine: Engine) -> None:
    """The error may have come from what was read; of an id no error comes."""
    ids: list[Any] = []

    async def node(state: dict[str, Any], config: Any) -> Any:
        first = await outlast.journal("first", look_up, "first")
        second = await outlast.journal("second", look_up, "second")
        ids.append(await outlast.journal.uuid())
        if len(ids) == 1:
            raise ConnectionError
        return [first, second]

    NODES["step"] = node
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("one")
        await engine.stands(run_id, RunStatus.SUCCEEDED)
    assert READS == ["first", "second", "second"]
    assert ids[0] == ids[1]


async def test_on_the_event_loop_a_sync_read_is_refused_and_says_what_to_do(engine: Engine) -> None:
    errors: list[str] = []

    async def node(state: dict[str, Any], config: Any) -> str:
        for use in (
            lambda: decorated_sync("x"),
            lambda: outlast.journal.now().isoformat(),
            lambda: str(outlast.journal.uuid()),
        ):
            with pytest.raises(BlockingCall) as raised:
                use()
            errors.append(str(raised.value))
        return "done"

    NODES["step"] = node
    async with engine.working(agents=remembered.project()):
        await engine.stands(await engine.start("one"), RunStatus.SUCCEEDED)
    assert all("await" in message for message in errors)
    assert READS == []


async def test_outside_of_a_run_a_function_is_simply_called() -> None:
    assert await outlast.journal("price", fetch, "apple") == "apple in EUR #1"
    assert await decorated("pear") == "pear in EUR #2"
    assert decorated_sync("plum") == "plum #3"
    assert await asyncio.to_thread(lambda: outlast.journal("price", fetch, "fig")) == "fig in EUR #4"
    assert isinstance(await asyncio.to_thread(outlast.journal.uuid), UUID)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00b"])
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 200"):
        outlast.journal(name, fetch)
