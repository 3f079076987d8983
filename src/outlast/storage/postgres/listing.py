"""Statements that have parts: a list is filtered and sorted by what the request names, and by nothing else.

A part is chosen in the SQL file, between `--if` and `--end` (see `queries.numbered`), so the planner sees the condition
and the order alone, and takes the index that serves them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from psycopg import AsyncRawCursor

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Numbered, numbered
from outlast.storage.postgres.sealing import Sealing
from outlast.storage.postgres.together import Alone, Executes

T = TypeVar("T")


class Query(Protocol):
    """Which rows are wanted, by the parts of the statements."""

    @property
    def flags(self) -> set[str]:
        """The parts of the statement that are needed."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all parts."""
        ...


class Page(NamedTuple):
    """Which part of a list is wanted."""

    limit: int
    offset: int = 0


async def fetch(connection: Executes, statement: Numbered, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows; parameters that the chosen parts do not name are left out."""
    if isinstance(connection, Alone):
        return await (await connection.execute(statement, parameters)).fetchall()
    async with AsyncRawCursor(connection) as cursor:
        await cursor.execute(statement.text, statement.arguments(parameters))
        return await cursor.fetchall()


def containing(text: str) -> str:
    """Return the pattern for ILIKE that finds the text anywhere."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


class Listing(Generic[T]):
    """A list that is shown in pages: the statement that finds, the one that counts, and what a row becomes."""

    def __init__(
        self,
        pool: Pool,
        find: tuple[str, str],
        count: tuple[str, str],
        shown: Callable[[tuple[Any, ...]], T],
        opened: "Callable[[Sealing, tuple[Any, ...]], Awaitable[tuple[Any, ...]]] | None" = None,
    ) -> None:
        self._pool = pool
        self._find = find
        self._count = count
        self._shown = shown
        #: Decrypts a row, where rows are encrypted.
        self._opened = opened

    async def search(self, query: Query, *flags: str, page: Page) -> tuple[list[T], int]:
        """Return one page, and how many match; the flags are those beside the query's own."""
        statement = numbered(*self._find, *sorted({*query.flags, *flags}))
        async with self._pool.connection() as connection:
            rows = await fetch(connection, statement, {**query.parameters, **page._asdict()})
        if self._opened is not None and self._pool.sealing.on:
            rows = [await self._opened(self._pool.sealing, row) for row in rows]
        found = [self._shown(row) for row in rows]
        if page.offset == 0 and len(found) < page.limit:
            return found, len(found)
        return found, await self.count(query)

    async def count(self, query: Query) -> int:
        """Return how many match."""
        statement = numbered(*self._count, *sorted(query.flags))
        async with self._pool.connection() as connection:
            rows = await fetch(connection, statement, query.parameters)
        return rows[0][0]
