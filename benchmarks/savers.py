"""The contenders of the checkpoint benchmarks, on one PostgreSQL with one durability.

`DATABASE_URL` says which; without it a private server is started for the time of the benchmark, with `fsync` on. Each
saver has a schema of its own, made new and dropped at the end.
"""

import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, LiteralString, Self, TypeAlias

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

import report
from outlast import Checkpointer
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.embedded_cluster import SUPERUSER

OUTLAST = "Outlast"
LANGGRAPH = "AsyncPostgresSaver"
Saver: TypeAlias = BaseCheckpointSaver[Any]

SCHEMAS = {OUTLAST: "bench_outlast", LANGGRAPH: "bench_langgraph"}

# Any fixed number: one benchmark at a time, since two would measure each other.
_LOCK_KEY = 0x62656E6368


class Database:
    """The server under both savers, and what is done to it while nobody is measured."""

    def __init__(self, url: str, admin_url: str) -> None:
        self.url = url
        self._admin = psycopg.connect(admin_url, autocommit=True)
        if not self._value("SELECT pg_try_advisory_lock(%s)", _LOCK_KEY):
            self._admin.close()
            msg = "another benchmark is running on this database; wait for it, or set DATABASE_URL to another one"
            raise SystemExit(msg)

    def close(self) -> None:
        self.drop_schemas()
        self._admin.close()

    def drop_schemas(self) -> None:
        """Remove what this benchmark makes, also what a killed one left."""
        for schema in SCHEMAS.values():
            self._admin.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))

    def settle(self, saver: str) -> None:
        """Do the housekeeping that a saver's rows cause now, so that the next one does not pay for it."""
        if saver not in SCHEMAS:
            return
        if tables := self._tables(saver):
            self._admin.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.SQL(", ").join(tables)))
        # A managed server may not allow it: then everybody pays.
        if self._value(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(oid, 'USAGE'))"
        ):
            self._admin.execute("CHECKPOINT")

    def size(self, saver: str) -> int:
        """Return the bytes of a saver's tables with their indexes and TOAST."""
        return self._value(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint "
            "FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'",
            SCHEMAS[saver],
        )

    def facts(self, *, loop: str, connections: int) -> dict[str, str]:
        """Return what a reader has to know to repeat a benchmark."""
        return {
            "database": self._settings(),
            "software": report.versions("outlast", "langgraph", "langgraph-checkpoint-postgres", "psycopg", loop),
            "peer": f"{LANGGRAPH} on a pool of {connections} connections",
        }

    def _settings(self) -> str:
        settings = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        shown = {name: self._value("SELECT current_setting(%s)", name) for name in settings}
        others = ", ".join(f"{name} {value}" for name, value in list(shown.items())[1:])
        return f"PostgreSQL {shown['server_version'].split()[0]}, {others}, one empty commit {self._commit_ms():.2f} ms"

    def _commit_ms(self) -> float:
        """Return what a round trip and a flush of the log cost."""
        taken: list[float] = []
        for _ in range(200):
            started = time.perf_counter()
            self._admin.execute("SELECT pg_logical_emit_message(true, 'benchmark', '')")
            taken.append(time.perf_counter() - started)
        return median(taken) * 1000

    def _tables(self, saver: str) -> list[sql.Identifier]:
        rows = self._admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [SCHEMAS[saver]])
        return [sql.Identifier(SCHEMAS[saver], name) for (name,) in rows.fetchall()]

    def _value(self, query: LiteralString, *parameters: object) -> Any:
        row = self._admin.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]


@contextmanager
def database() -> Iterator[Database]:
    """Use the server of DATABASE_URL, or start one."""
    with _server() as (url, admin_url):
        server = Database(url, admin_url)
        try:
            server.drop_schemas()
            yield server
        finally:
            server.close()


@contextmanager
def _server() -> Iterator[tuple[str, str]]:
    if url := os.environ.get("DATABASE_URL"):
        yield url, url
        return
    # Not /tmp, which may be in memory, where a flush costs nothing.
    on_disk = "/var/tmp" if Path("/var/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="outlast-bench-", dir=on_disk, ignore_cleanup_errors=True) as directory:
        with EmbeddedPostgres.start(Path(directory)) as postgres:
            # The password is the same for all of its roles.
            yield postgres.url, make_conninfo(postgres.url, user=SUPERUSER)
        _wait_until_stopped(Path(directory) / "data" / "postmaster.pid")


def _wait_until_stopped(pid_file: Path) -> None:
    deadline = time.monotonic() + 15
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


class Savers:
    """The savers in use; each can be closed and opened again. `connections` is for AsyncPostgresSaver's pool."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._url = url
        self._connections = connections
        self._open: dict[str, tuple[Saver, AsyncExitStack]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self._open):
            await self.close(name)

    async def get(self, name: str) -> Saver:
        """Return a saver, opened as its documentation says."""
        if name not in self._open:
            stack = AsyncExitStack()
            schema = SCHEMAS[name]
            opening = Checkpointer.open(self._url, schema=schema) if name == OUTLAST else self._langgraph(schema)
            self._open[name] = await stack.enter_async_context(opening), stack
        return self._open[name][0]

    async def close(self, name: str) -> None:
        _, stack = self._open.pop(name)
        await stack.aclose()

    @asynccontextmanager
    async def _langgraph(self, schema: str) -> AsyncIterator[AsyncPostgresSaver]:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        async with AsyncConnectionPool(
            make_conninfo(self._url, options=f"-c search_path={schema}"),
            # All of them at once: opening one takes longer than a step.
            min_size=self._connections,
            max_size=self._connections,
            open=False,
            kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        ) as pool:
            await pool.wait()
            saver = AsyncPostgresSaver(pool)
            await saver.setup()
            yield saver
