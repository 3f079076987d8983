"""Connections that notice when the other side has gone.

Settings and their reasons (the figures were measured against a link that drops everything):
a client that only trusts `asyncio.wait_for` waits far longer than it asked for, since cancelling a
query opens a second connection into the same black hole. So the kernel gets the deadlines:
`tcp_user_timeout` bounds unacknowledged data, keepalives find a dead peer while nothing is sent,
`connect_timeout` bounds opening. The server gets its own, so that nothing of ours can sit in an
open transaction and hold back vacuum for everyone.
"""

import select
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from outlast.errors import ConfigurationError, DatabaseUnavailable
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import jsonb
from outlast.storage.postgres.pipelining import Encoded, Rows
from outlast.storage.postgres.scoping import SCOPE_NAMED, Scope
from outlast.storage.postgres.sealing import OFF, Sealing
from outlast.storage.postgres.together import Alone, Step, provided, together
from outlast.telemetry.spans import span

# Errors that say nothing about the statement: the connection, the server or the pool has gone.
CONNECTION_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    PoolTimeout,
    PoolClosed,
    OSError,
)
# psycopg's OperationalError also holds what a statement's own data causes. By SQLSTATE class: connection, transaction
# rolled back (deadlock), resources, lock not available, operator intervention, system error; and by code: the
# server is a standby now, the session was ended in an open transaction.
_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})
_TRANSIENT_CODES = frozenset({"25006", "25P03"})


def conninfo(settings: DatabaseSettings, *, application_name: str) -> str:
    """Return the connection string with our deadlines; what the user's own URL says wins.

    Raises ConfigurationError when the URL cannot be parsed; the text never repeats the URL,
    which may hold a password.
    """
    try:
        given = conninfo_to_dict(settings.url)
    except psycopg.ProgrammingError as error:
        msg = "the database URL cannot be parsed; expected postgresql://user:password@host:5432/name"
        raise ConfigurationError(msg) from error
    options = (
        f"-c search_path={settings.schema_name} "
        "-c idle_in_transaction_session_timeout=10000 "
        f"-c statement_timeout={settings.statement_timeout_ms} "
        # The planner has no business compiling what runs in a millisecond.
        "-c jit=off -c timezone=UTC"
    )
    ours: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": 3,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 5000,
    }
    merged = ours | {key: value for key, value in given.items() if value is not None}
    # The last one counts, so the user's own options come last.
    merged["options"] = " ".join(part for part in (options, str(given.get("options") or "")) if part)
    return make_conninfo("", **merged)


async def connect(settings: DatabaseSettings, *, application_name: str) -> AsyncConnection[Any]:
    """Open one connection of its own, outside any pool, in autocommit mode.

    Raises DatabaseUnavailable when the server cannot be reached within 3 seconds.
    """
    try:
        connection = await AsyncConnection[Any].connect(
            conninfo(settings, application_name=application_name),
            autocommit=True,
            prepare_threshold=None if settings.pooler else 0,
        )
    except CONNECTION_ERRORS as error:
        raise unavailable(error) from error
    jsonb.register(connection)
    return connection


class Pool:
    """Connections for short statements, checked when borrowed.

    Every transaction acts on behalf of the context's principal (`domain.acting`): it sees the rows of that tenant and
    no others, or under `across_tenants()` those of all. Never hold a connection over a model call or a stream: borrow,
    run one decision, give it back.

    `foreign`: a database that is not ours, without tenants.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application_name: str,
        size: int | None = None,
        foreign: bool = False,
    ) -> None:
        self.settings = settings
        self._foreign = foreign
        #: What encrypts content on its way into rows; see `data_keys.sealing_of`.
        self.sealing: Sealing = OFF
        self._pool = AsyncConnectionPool(
            conninfo(settings, application_name=application_name),
            min_size=1,
            max_size=size or settings.pool_size,
            timeout=settings.pool_timeout_seconds,
            # Connections die of age before a firewall forgets them.
            max_lifetime=1800,
            max_idle=300,
            open=False,
            # psycopg_pool doubles its wait between attempts: 18 s of 503 after an outage of 40 s.
            reconnect_timeout=2.0,
            kwargs={"autocommit": True, "prepare_threshold": None if settings.pooler else 0},
            configure=_configure,
            check=_check,
            name=application_name,
        )

    async def open(self) -> None:
        """Start the pool; raises DatabaseUnavailable when no connection can be made."""
        try:
            await self._pool.open(wait=True, timeout=self.settings.pool_timeout_seconds)
        except CONNECTION_ERRORS as error:
            await self._pool.close()
            raise unavailable(error) from error

    async def close(self) -> None:
        """Close every connection; nothing can be borrowed afterwards."""
        await self._pool.close(timeout=5)

    @property
    def use(self) -> tuple[int, int, int]:
        """How many connections are idle, how many are used, and how many tasks wait for one."""
        stats = self._pool.get_stats()
        idle, size = stats.get("pool_available", 0), stats.get("pool_size", 0)
        return idle, max(0, size - idle), stats.get("requests_waiting", 0)

    def _scope(self) -> Scope | None:
        return None if self._foreign else Scope.now(self.settings.schema_name)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Alone]:
        """Borrow a connection on which each statement is its own transaction."""
        async with self._borrowed() as connection:
            yield Alone(connection, self._scope())

    @asynccontextmanager
    async def unscoped(self) -> AsyncGenerator[Alone]:
        """Borrow a connection that acts as the role of the database's URL itself, and sees the rows of no tenant."""
        async with self._borrowed() as connection:
            yield Alone(connection, None)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection[Any]]:
        """Borrow a connection inside one transaction: all of the block or nothing."""
        async with self._borrowed("transaction") as connection, connection.transaction():
            if (scope := self._scope()) is not None:
                await connection.execute(SCOPE_NAMED, scope._asdict())
            yield connection

    async def together(self, steps: Sequence[Step], *, before_commit: Callable[[], None]) -> list[Rows]:
        """Execute statements in one round trip and one transaction; return the rows of each. See `together`."""
        async with self._borrowed([step.name for step in steps]) as connection:
            return await together(connection, steps, scope=self._scope(), before_commit=before_commit)

    async def provided(
        self, first: Encoded, provides: str, steps: Sequence[Step], *, before_commit: Callable[[], None]
    ) -> tuple[Rows, list[Rows] | None]:
        """Execute `first`, and in the same round trip `steps` if it has provided for them. See `together.provided`."""
        async with self._borrowed("admit") as connection:
            return await provided(connection, first, provides, steps, scope=self._scope(), before_commit=before_commit)

    @asynccontextmanager
    async def pipelined(self) -> AsyncGenerator[AsyncConnection[Any]]:
        """Like `transaction`, with all statements sent in one go; read the cursors after the block."""
        async with self._borrowed("transaction") as connection, connection.pipeline(), connection.transaction():
            if (scope := self._scope()) is not None:
                await connection.execute(SCOPE_NAMED, scope._asdict())
            yield connection

    @asynccontextmanager
    async def _borrowed(self, what: str | Sequence[str] | None = None) -> AsyncGenerator[AsyncConnection[Any]]:
        """Borrow a connection; `what` names the span of the block, which is over several statements."""
        with as_unavailable(), span("database", statement=what) if what is not None else nullcontext():
            async with self._pool.connection() as connection:
                yield connection


@contextmanager
def as_unavailable() -> Generator[None]:
    """Turn a lost connection into DatabaseUnavailable; what a statement's own data causes stays what it is."""
    try:
        yield
    except CONNECTION_ERRORS as error:
        if not is_transient(error):
            raise
        raise unavailable(error) from error


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later or on another connection."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is None or state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_CODES


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """Describe a lost or missing server without repeating connection details."""
    return DatabaseUnavailable(f"PostgreSQL does not answer ({type(error).__name__}); try again")


async def _configure(connection: AsyncConnection[Any]) -> None:
    jsonb.register(connection)


async def _check(connection: AsyncConnection[Any]) -> None:
    """Discard a connection that the server has ended, at no round trip for one that it has not."""
    watched = select.poll()
    watched.register(connection.fileno(), select.POLLIN)
    # An idle connection has nothing to say but good-bye.
    if watched.poll(0):
        await AsyncConnectionPool.check_connection(connection)
