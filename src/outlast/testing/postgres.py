"""A database of its own for each test, cloned from one that was migrated once.

    async with Databases.open("postgresql://localhost/postgres") as databases:
        url = await databases.create()

Migrating takes far longer than `CREATE DATABASE ... TEMPLATE` (about 30 ms), and a database of its own needs no
clean-up between tests: a test may kill connections, leave locks behind or break the schema.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, Final, Self

from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.migrate import migrate
from outlast.storage.postgres.pool import connect

_WAL_LOG_VERSION: Final = 150_000
#: Databases that wait to be dropped: each takes 10 MB.
_MOST_LEFT: Final = 8


class Databases:
    """Clones of one migrated template on one server; for one event loop, any number of tests at once."""

    def __init__(self, admin_url: str, connection: AsyncConnection[Any], *, copy_files: bool = False) -> None:
        self._admin_url = admin_url
        self._connection = connection
        self._prefix = f"outlast_test_{token_hex(4)}"
        self._template = f"{self._prefix}_template"
        self._made = 0
        self._existing: set[str] = set()
        self._left = asyncio.Queue[str](_MOST_LEFT)
        # PostgreSQL 15 has learned to write a new database into its log instead, and calls that the default.
        copies = copy_files and connection.info.server_version >= _WAL_LOG_VERSION
        self._strategy = sql.SQL("STRATEGY FILE_COPY" if copies else "")

    @classmethod
    @asynccontextmanager
    async def open(cls, admin_url: str, *, copy_files: bool = False) -> AsyncGenerator[Self]:
        """Make the template; drop it and every clone at the end, whoever is still connected.

        `admin_url` leads to any database of a running server, as a role that may create databases. `copy_files` is
        quicker (three times, on a server whose files are in memory) and makes the whole server write a checkpoint
        for each database: for a server of the tests alone.
        Raises DatabaseUnavailable when the server cannot be reached.
        """
        # No limit: a database comes and goes with a checkpoint of the whole server, which a busy machine makes slow.
        settings = DatabaseSettings(url=admin_url, statement_timeout_ms=0)
        connection = await connect(settings, application_name="outlast-testing")
        async with connection:
            databases = cls(admin_url, connection, copy_files=copy_files)
            dropping = asyncio.create_task(databases._drop_what_is_left(settings))
            try:
                await databases._make_template()
                yield databases
            finally:
                dropping.cancel()
                await asyncio.wait([dropping])
                for name in sorted(databases._existing):
                    await databases._drop(name)

    async def create(self) -> str:
        """Return the URL of a new database with a current, empty schema."""
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        await self._create(name, self._template)
        return self._url(name)

    async def create_empty(self) -> str:
        """Return the URL of a new database in which nothing has been migrated."""
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        await self._create(name, "template1")
        return self._url(name)

    async def drop(self, url: str) -> None:
        """Drop a database that `create` made, also under open connections; the end does it too."""
        await self._drop(str(conninfo_to_dict(url)["dbname"]))

    async def leave(self, url: str) -> None:
        """Have a database dropped beside whatever comes next.

        The server waits for all of its processes to notice, and for up to five seconds when one of them starts or ends
        in that moment.
        """
        await self._left.put(str(conninfo_to_dict(url)["dbname"]))

    async def _drop_what_is_left(self, settings: DatabaseSettings) -> None:
        async with await connect(settings, application_name="outlast-testing-drops") as connection:
            while True:
                await self._drop(await self._left.get(), connection)

    async def _make_template(self) -> None:
        await self._create(self._template, "template1")
        await migrate(DatabaseSettings(url=self._url(self._template)))

    async def _create(self, name: str, template: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}")
        names = sql.Identifier(name), sql.Identifier(template)
        await self._connection.execute(statement.format(*names, self._strategy))
        self._existing.add(name)

    async def _drop(self, name: str, connection: AsyncConnection[Any] | None = None) -> None:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        await (connection or self._connection).execute(statement.format(sql.Identifier(name)))
        self._existing.discard(name)

    def _url(self, name: str) -> str:
        return seeing_default(make_conninfo(self._admin_url, dbname=name))


def seeing_default(url: str) -> str:
    """Return a URL whose sessions see the rows of the default tenant, for what a test looks up by itself.

    The program says in each transaction whose rows it wants, and is not changed by it.
    """
    given = str(conninfo_to_dict(url).get("options") or "")
    return make_conninfo(url, options=f"{given} -c outlast.tenant=default".strip())
