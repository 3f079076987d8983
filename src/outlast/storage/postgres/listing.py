"""Statements that have parts: a list is filtered and sorted by what the request names, and by nothing else.

A part is chosen in the SQL file, between `--if` and `--end` (see `queries.numbered`), so the planner sees the condition
and the order alone, and takes the index that serves them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncRawCursor

from outlast.storage.postgres.queries import Numbered


class Page(NamedTuple):
    """Which part of a list is wanted."""

    limit: int
    offset: int = 0


async def fetch(
    connection: AsyncConnection[Any], statement: Numbered, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Return the rows; parameters that the chosen parts do not name are left out."""
    async with AsyncRawCursor(connection) as cursor:
        await cursor.execute(statement.text, statement.arguments(parameters))
        return await cursor.fetchall()


def containing(text: str) -> str:
    """Return the pattern for ILIKE that finds the text anywhere."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
