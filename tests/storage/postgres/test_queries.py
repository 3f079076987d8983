"""The named statements: each is used, and each is valid against the migrated schema."""

import re
from pathlib import Path

import psycopg
import pytest

import outlast
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoint_rows import batch_parameters
from outlast.storage.postgres.queries import Queries, numbered, statements

SOURCE = Path(outlast.__file__).parent
CONCEPTS = sorted(path.stem for path in (SOURCE / "storage/postgres/sql").glob("*.sql"))
TYPES = {1000: "bool[]", 1001: "bytea[]", 1007: "int[]", 1009: "text[]", 1016: "bigint[]", 2951: "uuid[]"}
STATEMENTS = [(concept, name) for concept in CONCEPTS for name in statements(concept)]


def code() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))


def test_every_statement_is_used() -> None:
    text = code()
    unused = [
        f"{concept}.{name}"
        for concept, name in STATEMENTS
        if not re.search(rf"\b_?\w*(SQL|QUERIES)\.{name}\b|\(\"{concept}\", \"{name}\"\)", text)
    ]

    assert unused == []


@pytest.mark.parametrize(("concept", "name"), STATEMENTS)
async def test_every_statement_fits_the_schema(database_of_module: DatabaseSettings, concept: str, name: str) -> None:
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    text = re.sub(r"%\((\w+)\)[sb]", number, statements(concept)[name].decode()).replace("%%", "%")
    async with await psycopg.AsyncConnection.connect(database_of_module.url, autocommit=True) as connection:
        await connection.execute("SET search_path = outlast")
        # The batch is sent with the types of its arrays; elsewhere the server infers them.
        arrays = batch_parameters([])
        declared = (TYPES[arrays[name].array_oid] if name in arrays else "unknown" for name in numbers)
        types = f" ({', '.join(declared)})" if numbers else ""
        await connection.execute(f"PREPARE statement{types} AS {text}".encode(), prepare=False)


def test_the_batch_has_a_value_for_each_parameter_and_no_other() -> None:
    assert set(numbered("checkpoints", "commit_batch").names) == batch_parameters([]).keys()


def test_an_unknown_name_is_an_error_that_says_where_it_was_looked_for() -> None:
    with pytest.raises(AttributeError, match=r"checkpoints\.sql has no statement named 'no_such'"):
        _ = Queries("checkpoints").no_such
