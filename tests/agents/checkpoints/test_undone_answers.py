"""What a run adds to the place where a thread stands goes with the run when it is rolled back."""

import operator
from typing import Annotated, Any, TypedDict
from uuid import UUID, uuid4

import psycopg
from checkpoint_helpers import at, broken_or_left_over
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from outlast.agents.checkpoints import erasing
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import writes_before
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool

THREAD = "t"
KEY = thread_key(THREAD)
LONG = "something long enough to be a blob of its own, which takes more than sixty-four bytes "


class State(TypedDict, total=False):
    answers: Annotated[list[str], operator.add]
    beside: Annotated[list[str], operator.add]


def asking(saver: Checkpointer, *, inside: bool) -> Any:
    def ask(_state: State) -> State:
        first = interrupt("first")
        return {"answers": [first, interrupt("second")]}

    def beside(_state: State) -> State:
        return {"beside": [LONG]}

    graph = StateGraph(State).add_node("ask", ask).add_node("beside", beside)
    graph.add_edge(START, "ask").add_edge(START, "beside")
    if not inside:
        return graph.compile(checkpointer=saver)
    outer = StateGraph(State).add_node("sub", graph.compile()).add_edge(START, "sub")
    return outer.compile(checkpointer=saver)


async def rolled_back(database: DatabaseSettings, graph: Any, given: Command[Any]) -> None:
    """Run the graph as one run, and take that run back."""
    run_id = uuid4()
    pool = Pool(database, application_name="test")
    await pool.open()
    try:
        async with pool.transaction() as connection:
            await connection.execute(
                "INSERT INTO runs (id, thread_key, agent, status) VALUES (%s, %s, 'a', 'queued')",
                [run_id, UUID(bytes=KEY)],
            )
            await writes_before.keep_in(connection, KEY, run_id)
        config: RunnableConfig = {**at(THREAD), "metadata": {"run_id": str(run_id)}}
        await graph.ainvoke(given, config, durability="sync")
        async with pool.transaction() as connection:
            await erasing.delete_runs_in(connection, KEY, {str(run_id)})
            await connection.execute("DELETE FROM runs WHERE id = %s", [run_id])
    finally:
        await pool.close()


async def stored(database: DatabaseSettings) -> list[list[Any]]:
    """All that is stored of the thread, row by row, but the blobs: an earlier question's may be left over before."""
    found: list[list[Any]] = []
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        for table in ("checkpoints", "checkpoint_writes", "checkpoint_lists", "writes_before"):
            cursor = await connection.execute(f"SELECT * FROM outlast.{table} x ORDER BY x::text".encode())
            found.append(await cursor.fetchall())
        cursor = await connection.execute("SELECT ns, checkpoint_id FROM outlast.checkpoint_heads ORDER BY ns")
        found.append(await cursor.fetchall())
    return found


async def open_question(graph: Any) -> str:
    (question,) = (await graph.aget_state(at(THREAD))).interrupts
    return question.value


async def test_an_answer_is_taken_back_and_can_be_given_again(saver: Checkpointer, database: DatabaseSettings) -> None:
    graph = asking(saver, inside=False)
    await graph.ainvoke({}, at(THREAD), durability="sync")
    before = await stored(database)

    await rolled_back(database, graph, Command(resume=LONG + "wrong"))

    assert await stored(database) == before
    assert await broken_or_left_over(database.url) == []
    assert await open_question(graph) == "first"
    await graph.ainvoke(Command(resume="one"), at(THREAD), durability="sync")
    assert await open_question(graph) == "second"


async def test_the_answer_before_stays_when_the_next_one_is_taken_back(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    graph = asking(saver, inside=False)
    await graph.ainvoke({}, at(THREAD), durability="sync")
    await graph.ainvoke(Command(resume="one"), at(THREAD), durability="sync")
    before = await stored(database)

    await rolled_back(database, graph, Command(resume="wrong"))

    assert await stored(database) == before
    assert await broken_or_left_over(database.url) == []
    assert await open_question(graph) == "second"
    result = await graph.ainvoke(Command(resume="two"), at(THREAD), durability="sync")
    assert result["answers"] == ["one", "two"]
    assert result["beside"] == [LONG], "the task that had finished is not executed again"


async def test_an_answer_inside_of_a_subgraph_is_taken_back(saver: Checkpointer, database: DatabaseSettings) -> None:
    graph = asking(saver, inside=True)
    await graph.ainvoke({}, at(THREAD), durability="sync")
    await graph.ainvoke(Command(resume="one"), at(THREAD), durability="sync")
    before = await stored(database)

    await rolled_back(database, graph, Command(resume="wrong"))

    assert await stored(database) == before
    assert await broken_or_left_over(database.url) == []
    result = await graph.ainvoke(Command(resume="two"), at(THREAD), durability="sync")
    assert result["answers"] == ["one", "two"]


async def test_a_run_that_nothing_was_kept_for_takes_nothing_else_along(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    graph = asking(saver, inside=False)
    await graph.ainvoke({}, at(THREAD), durability="sync")
    before = await stored(database)

    await saver.adelete_for_runs(["no such run", str(uuid4())])

    assert await stored(database) == before
