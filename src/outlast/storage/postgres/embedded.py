"""A private PostgreSQL for development: started by the first process that needs it, stopped after the last.

How the processes agree is described in `embedded_watchdog`; the server's files are in `embedded_cluster`.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import sql

from outlast.errors import DatabaseSetupError
from outlast.storage.postgres import embedded_watchdog as watchdog
from outlast.storage.postgres.embedded_binaries import find_binaries
from outlast.storage.postgres.embedded_cluster import PORT, SUPERUSER, Cluster, server_environment, start_failure

DATABASE: Final = "outlast"
USER: Final = "outlast"

# Commands run one after the other should find the server still up.
_LINGER: Final = timedelta(seconds=1)
# A server that ends while it starts may have been killed, by the out-of-memory killer for one; it gets another try.
_LAUNCHES: Final = 3


class EmbeddedPostgres:
    """This process's use of the embedded server; the server runs while any process uses it.

    A process that ends in any way, also by kill -9, gives up its use. So does `close()`; garbage collection does not.
    A child made by `os.fork` without exec shares its parent's use until both have ended; a subprocess does not.
    """

    url: Final[str]

    def __init__(self, url: str, users_lock: int) -> None:
        self.url = url
        self._users_lock: int | None = users_lock

    @classmethod
    def start(cls, data_dir: Path, *, timeout: timedelta = timedelta(seconds=30)) -> "EmbeddedPostgres":
        """Join the server of `data_dir`, or start it; blocks until a real connection has succeeded.

        `url` leads to the database `outlast` as its owner, who is no superuser: what works here works in production.
        Raises DatabaseSetupError, with the server's last words, if there is no server within the timeout.
        """
        starter = _Starter(Cluster(data_dir.resolve()), timeout)
        try:
            url, users_lock = starter.run()
        except (OSError, subprocess.SubprocessError) as error:
            raise DatabaseSetupError(f"The database in {data_dir} could not be started: {error}") from error
        return cls(url, users_lock)

    def close(self) -> None:
        """Give up this process's use; safe to repeat. The server stops by itself after its last user."""
        users_lock, self._users_lock = self._users_lock, None
        if users_lock is not None:
            os.close(users_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _Starter:
    """One attempt to get a server that answers."""

    def __init__(self, cluster: Cluster, timeout: timedelta) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout.total_seconds()
        self._last_error = ""
        self._log_offset = 0

    def run(self) -> tuple[str, int]:
        """Return the server's URL and the descriptor whose closing ends this use."""
        self._cluster.create_directory()
        users_lock = self._wait_for_lock(watchdog.USERS_LOCK, fcntl.LOCK_SH)
        try:
            with self._locked(watchdog.START_LOCK):
                # First the watchdog: from here on, somebody clears up even if this process is killed half way.
                self._ensure_watchdog()
                url = self._ensure_server()
        # Whatever ends the start, an interrupt too: a lock left open would keep the server alive.
        except BaseException:
            os.close(users_lock)
            raise
        return url, users_lock

    def _ensure_watchdog(self) -> None:
        lock = watchdog.try_lock(self._path(watchdog.WATCHDOG_LOCK))
        if lock is None:
            return
        # Run from its file, not as a module: so it needs neither our sys.path nor any import of ours.
        program = [sys.executable, "-I", "-S", str(watchdog.__file__)]
        arguments = [str(self._cluster.directory), str(_LINGER.total_seconds()), str(lock)]
        self._spawn_holding(lock, [*program, *arguments])

    def _ensure_server(self) -> str:
        launches = 0
        while (url := self._connect()) is None:
            lock = watchdog.try_lock(self._path(watchdog.SERVER_LOCK))
            if lock is None:
                self._stop_if_unreachable()
            elif launches < _LAUNCHES:
                self._launch(lock)
                launches += 1
            else:
                os.close(lock)
                tail = self._cluster.log_tail(self._log_offset)
                raise start_failure(f"PostgreSQL in {self._cluster.directory} did not start", tail)
            self._pause("it did not answer")
        return url

    def _connect(self) -> str | None:
        """Return the URL if a connection with it succeeds now."""
        postmaster = watchdog.read_postmaster(self._cluster.pgdata)
        if postmaster is None or postmaster.status != "ready":
            return None  # an attempt would only fill the log with refusals; that it is ready is for us to see
        # Where the running server says it listens: the temp directory of the process that started it may not be ours.
        url = self._cluster.url(postmaster.socket_dir, user=USER, database=DATABASE)
        try:
            self._probe(url)
        except psycopg.OperationalError as error:
            self._last_error = str(error)
            return url if self._provision(postmaster.socket_dir) else None
        return url

    def _probe(self, url: str) -> None:
        with psycopg.connect(url, connect_timeout=self._connect_timeout()):
            pass

    def _provision(self, socket_dir: str) -> bool:
        """Create the role and the database if the server answers and lacks them; False if it does not answer."""
        url = self._cluster.url(socket_dir, user=SUPERUSER, database="template1")
        try:
            with psycopg.connect(url, connect_timeout=self._connect_timeout(), autocommit=True) as connection:
                _create_role(connection, self._cluster.read_password())
                _create_database(connection)
        except psycopg.OperationalError as error:
            self._last_error = str(error)
            if "password authentication failed" in self._last_error:
                raise DatabaseSetupError(
                    f"The password in {self._path('password')} is not the one of the data next to it. Put the right "
                    f"one back, or remove {self._cluster.directory} to start with an empty database."
                ) from error
            return False
        return True

    def _launch(self, server_lock: int) -> None:
        """Start the postmaster, which takes over server.lock."""
        try:
            binaries = find_binaries()
            self._cluster.prepare(binaries, server_lock, self._seconds_left())
            command = self._cluster.server_command(binaries)
        # Whatever ends it: a lock left open would keep others from starting the server.
        except BaseException:
            os.close(server_lock)
            raise
        log = self._cluster.log
        self._log_offset = log.stat().st_size if log.exists() else 0
        self._spawn_holding(server_lock, command)

    def _stop_if_unreachable(self) -> None:
        """Stop a server whose socket was removed under it: nobody can reach it any more, and it blocks a new one."""
        postmaster = watchdog.find_postmaster(self._cluster.pgdata)
        if postmaster is None or postmaster.status != "ready":
            return
        if not Path(postmaster.socket_dir, f".s.PGSQL.{PORT}").exists():
            watchdog.stop_server(self._cluster.directory)

    def _spawn_holding(self, lock: int, command: Sequence[str]) -> None:
        """Run the command detached from us; it keeps the lock, we give up our hold on it."""
        # The shell ends at once and leaves the command to init: no zombie of ours, and Ctrl-C does not reach it.
        detached = ["/bin/sh", "-c", '"$@" &', "sh", *command]
        try:
            with self._cluster.log.open("ab") as log:
                subprocess.run(  # noqa: S603 - our own command line
                    detached,
                    check=True,
                    cwd="/",
                    env=server_environment(),
                    pass_fds=[lock],
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        finally:
            os.close(lock)

    @contextmanager
    def _locked(self, name: str) -> Generator[None]:
        lock = self._wait_for_lock(name, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(lock)

    def _wait_for_lock(self, name: str, mode: int) -> int:
        while (lock := watchdog.try_lock(self._path(name), mode)) is None:
            self._pause(f"another process holds {name}")
        return lock

    def _pause(self, reason: str) -> None:
        """Wait a little, or raise DatabaseSetupError when the timeout is over."""
        if time.monotonic() > self._deadline:
            limit = f"{self._timeout.total_seconds():g} s"
            what = f"PostgreSQL in {self._cluster.directory} was not ready within {limit}: {reason}"
            raise start_failure(what, "\n".join(filter(None, [self._last_error, self._cluster.log_tail()])))
        time.sleep(watchdog.POLL_SECONDS)

    def _connect_timeout(self) -> int:
        return max(2, int(self._seconds_left()))  # libpq takes whole seconds, at least two

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _path(self, name: str) -> Path:
        return self._cluster.directory / name


def _create_role(connection: psycopg.Connection, password: str) -> None:
    with connection.transaction():
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [USER]).rowcount
        verb = sql.SQL("ALTER ROLE" if found else "CREATE ROLE")
        # No superuser: those pass by row security, which production relies on.
        options = sql.SQL("LOGIN CREATEDB CREATEROLE PASSWORD")
        connection.execute(sql.SQL(" ").join([verb, sql.Identifier(USER), options, sql.Literal(password)]))
        connection.execute(sql.SQL("GRANT pg_monitor, pg_signal_backend TO {}").format(sql.Identifier(USER)))


def _create_database(connection: psycopg.Connection) -> None:
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
        return
    # Only a superuser may create it, so every database is born with it, where the installation has it.
    if connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").rowcount:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    name = sql.Identifier(DATABASE)
    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template1").format(name, sql.Identifier(USER)))
