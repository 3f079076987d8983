"""The named statements: each is used, and each is valid against the migrated schema."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg import AsyncConnection

import outlast
from outlast.calls.call import Usage
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.call_log import Caller, CallRow, parameters_of
from outlast.storage.postgres.checkpoint_rows import Batch, CheckpointRow, Fence, Segment, WritesRow
from outlast.storage.postgres.lone_step import OIDS, LoneStep
from outlast.storage.postgres.queries import Queries, numbered, statements

Connection = AsyncConnection[Any]
SOURCE = Path(outlast.__file__).parent
CONCEPTS = sorted(path.stem for path in (SOURCE / "storage/postgres/sql").glob("*.sql"))
TYPES = {
    1000: "bool[]", 1001: "bytea[]", 1007: "int[]", 1009: "text[]", 1016: "bigint[]", 2951: "uuid[]",
    1005: "smallint[]", 1021: "real[]", 17: "bytea", 21: "smallint", 23: "int", 25: "text", 2950: "uuid",
}  # fmt: skip
STATEMENTS = [(concept, name) for concept in CONCEPTS for name in statements(concept)]
# Tables of LangGraph's own saver; tests/agents/importing executes these on a database of that saver.
ELSEWHERE = "langgraph_source"
BATCH = ("checkpoints", "commit_batch")
STEP = ("checkpoints", "commit_step")
CALLS = ("calls", "commit_calls")

USAGE = Usage(provider="openai", model="m", input_tokens=1, output_tokens=1, cost_micros=None)


def code() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))


def test_every_statement_is_used() -> None:
    text = code()
    # Once through the code, not once for each statement.
    used, named = set(re.findall(r"(?:SQL|QUERIES)\.(\w+)", text)), set(re.findall(r"\(\"(\w+)\", \"(\w+)\"", text))
    unused = [f"{concept}.{name}" for concept, name in STATEMENTS if name not in used and (concept, name) not in named]

    assert unused == []


@pytest.mark.parametrize(
    ("concept", "name"),
    [statement for statement in STATEMENTS if statement not in {BATCH, STEP, CALLS} and statement[0] != ELSEWHERE],
)
async def test_every_statement_fits_the_schema(connection: Connection, concept: str, name: str) -> None:
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    text = re.sub(r"%\((\w+)\)[sb]", number, statements(concept)[name].decode()).replace("%%", "%")
    await prepare(connection, text, ["unknown"] * len(numbers))


@pytest.fixture(scope="module")
async def connection(database_of_module: DatabaseSettings) -> AsyncIterator[Connection]:
    """One for all: there are hundreds of statements."""
    async with await Connection.connect(database_of_module.url, autocommit=True) as connection:
        yield connection


async def prepare(connection: Connection, text: str, types: list[str]) -> None:
    await connection.execute("SET search_path = outlast")
    if "::vector" in text:
        await connection.execute((await _vector(connection)).encode())
    declared = f" ({', '.join(types)})" if types else ""
    await connection.execute(f"PREPARE statement{declared} AS {text}".encode(), prepare=False)
    await connection.execute("DEALLOCATE statement")


async def _vector(connection: Connection) -> str:
    """Return what makes the extension's types known, as the store does where it is installed."""
    row = await (await connection.execute("SELECT store_vector_schema()")).fetchone()
    if row is None or row[0] is None:
        pytest.skip("this PostgreSQL has no extension `vector`")
    return f"SET search_path = outlast, {row[0]}"


def rows_of(*, fenced: bool, root: bool) -> tuple[WritesRow, CheckpointRow]:
    fence = Fence(run_id=uuid4(), epoch=1) if fenced else None
    parent = uuid4()
    writes = WritesRow(
        thread_key=bytes(16), ns="", checkpoint_id=parent, task_id=b"task", idx=0, writes=1, task_path="", body=b"",
        fence=fence,
    )  # fmt: skip
    checkpoint = CheckpointRow(
        thread_key=bytes(16), thread_id="1", ns="", checkpoint_id=uuid4(), parent_id=None if root else parent,
        fork=False, opens=True, generation=0, run_id=None, metadata=b"{}", body=b"", fence=fence,
    )  # fmt: skip
    return writes, checkpoint


@pytest.mark.parametrize("fenced", [False, True])
@pytest.mark.parametrize("root", [False, True])
async def test_every_variant_of_the_batch_fits_the_schema_and_its_parameters(
    connection: Connection, fenced: bool, root: bool
) -> None:
    rows = Batch.of(rows_of(fenced=fenced, root=root))
    statement = numbered(*BATCH, *rows.flags)

    assert set(statement.names) == rows.parameters.keys()
    types = [TYPES[array.oid] for array in statement.arguments(rows.parameters)]
    await prepare(connection, statement.text.decode(), types)


@pytest.mark.parametrize("fenced", [False, True])
@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("appended", [False, True])
@pytest.mark.parametrize("stored", [False, True])
async def test_every_variant_of_the_step_fits_the_schema_and_its_parameters(
    connection: Connection, fenced: bool, written: bool, appended: bool, stored: bool
) -> None:
    writes, checkpoint = rows_of(fenced=fenced, root=False)
    if appended:
        checkpoint = checkpoint._replace(segments=[Segment(list_id=1, start=0, length=1, items=b"")])
    if stored:
        checkpoint = checkpoint._replace(blobs={bytes(16): b""})
    step = LoneStep.of([writes, checkpoint] if written else [checkpoint])
    assert step is not None
    statement = numbered(*STEP, *step.flags)

    assert set(statement.names) <= step.parameters.keys()
    types = [TYPES[OIDS[name]] for name in statement.names]
    await prepare(connection, statement.text.decode(), types)


@pytest.mark.parametrize("spent", [False, True])
async def test_every_variant_of_the_call_log_fits_the_schema_and_its_parameters(
    connection: Connection, spent: bool
) -> None:
    flags = ("spent",) if spent else ()
    rows = [
        CallRow(
            bytes(16), Caller(uuid4(), 1, 0, uuid4(), bytes(16), "default", None, "a"), None, [USAGE] if spent else []
        )
    ]
    statement, parameters = numbered(*CALLS, *flags), parameters_of(rows)

    assert set(statement.names) == parameters.keys()
    await prepare(connection, statement.text.decode(), [TYPES[array.oid] for array in statement.arguments(parameters)])


def test_what_statements_have_in_common_is_put_into_each_of_them() -> None:
    assert [statement for statement in STATEMENTS if b"--include" in statements(statement[0])[statement[1]]] == []
    assert statements("threads")["count"].count(b"t.deleted_at IS NULL AND d.temporary IS NOT TRUE") == 1


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_part_is_used_and_no_part_is_a_statement(concept: str) -> None:
    text = (SOURCE / f"storage/postgres/sql/{concept}.sql").read_text(encoding="utf-8")
    parts = set(re.findall(r"^-- part: (\w+)$", text, re.MULTILINE))

    assert parts == set(re.findall(r"^--include (\w+)$", text, re.MULTILINE))
    assert not parts & statements(concept).keys()


def test_an_unknown_name_is_an_error_that_says_where_it_was_looked_for() -> None:
    with pytest.raises(AttributeError, match=r"checkpoints\.sql has no statement named 'no_such'"):
        _ = Queries("checkpoints").no_such
