"""A worker's sign of life, from a thread of its own with a connection of its own.

The thread goes on while user code blocks the event loop, so a slow parse costs nobody a lease; the connection is
outside the pool, so slow queries do not either. The session advisory lock on it tells the others at once when the
process is killed.

When this process may no longer own its runs - it could not renew in time, or was declared dead - it is *fenced*: the
worker cancels its runs, and if they do not end within three seconds the process ends itself. `deadline` is counted from
before the heartbeat was sent, since counting from the answer would overestimate.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg

from outlast.settings import DatabaseSettings, WorkerSettings
from outlast.storage.postgres.pool import conninfo
from outlast.storage.postgres.roles import as_role, claim_role
from outlast.storage.postgres.workers import Liveness
from outlast.telemetry import emit

# The worker stops itself well before others may take its runs.
_RENEW_WITHIN = 0.6
_LAST_WORDS_SECONDS = 3.0
#: Exit status of a process that ended itself because it could not be sure to own its runs.
EXIT_FENCED = 70


class Heartbeat(threading.Thread):
    """Beats until stopped; calls back on the event loop."""

    def __init__(
        self,
        database: DatabaseSettings,
        settings: WorkerSettings,
        *,
        worker_id: UUID,
        agents: Sequence[str],
        on_fenced: Callable[[], None],
        on_cancel: Callable[[list[tuple[UUID, int]]], None],
    ) -> None:
        super().__init__(name="outlast-heartbeat", daemon=True)
        self._database = database
        self._settings = settings
        self._worker_id = worker_id
        self._agents = list(agents)
        self._on_fenced = on_fenced
        self._on_cancel = on_cancel
        self._loop = asyncio.get_running_loop()
        self._stop_asked = threading.Event()
        self._connection: psycopg.Connection[Any] | None = None
        self._lock_key = 0
        self._holds_lock = False
        self._fenced = False
        self.running = 0
        self.deadline = 0.0
        self.loop_seen_at = time.monotonic()

    def register(self) -> None:
        """Insert the worker and take its lock; raises on a database that is away. Blocking: call it in a thread."""
        sent_at = time.monotonic()
        try:
            liveness = self._connect()
            self._lock_key = liveness.register(
                host=socket.gethostname(),
                pid=os.getpid(),
                concurrency=self._settings.concurrency,
                agents=self._agents,
            )
            self._holds_lock = liveness.hold(self._lock_key)
        # Whatever it was, the connection and its lock must not outlive the attempt.
        except BaseException:
            self._disconnect()
            raise
        self._renewed(sent_at)

    def stop(self) -> None:
        """Stop beating and give up the lock."""
        self._stop_asked.set()

    def run(self) -> None:
        """Beat."""
        interval = self._settings.heartbeat.total_seconds()
        while not self._stop_asked.wait(0.0 if self._connection is None else interval):
            try:
                self._round()
            # A heart that stops at a surprise costs all the runs of this process.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="heartbeat", error=type(error).__name__)
                self._disconnect()
                self._stop_asked.wait(min(0.2, interval))
            self._watch()
        self._disconnect()

    def _round(self) -> None:
        sent_at = time.monotonic()
        if self._connection is None or self._connection.closed:
            self._connect()
        liveness = Liveness(self._alive(), self._worker_id)
        if not self._holds_lock:
            # A new session: the lock may still be with the old one, so try again at each beat until it is ours.
            self._holds_lock = liveness.hold(self._lock_key)
        if not liveness.beat(running=self.running):
            self._fence()
            return
        self._renewed(sent_at)
        emit("worker.heartbeat", worker_id=self._worker_id)
        if cancelled := liveness.cancellations():
            self._loop.call_soon_threadsafe(self._on_cancel, cancelled)

    def _watch(self) -> None:
        """Fence a worker that cannot renew, and end a process whose event loop hangs or does not obey."""
        if self._stop_asked.is_set():
            # The worker has gone on under another id meanwhile; its new session is not ours to judge.
            return
        now = time.monotonic()
        if now > self.deadline:
            self._fence()
            if now > self.deadline + _LAST_WORDS_SECONDS:
                os._exit(EXIT_FENCED)
        if now - self.loop_seen_at > self._settings.hang.total_seconds():
            os._exit(EXIT_FENCED)

    def _fence(self) -> None:
        if not self._fenced and not self._stop_asked.is_set():
            self._fenced = True
            self.deadline = min(self.deadline, time.monotonic())
            self._loop.call_soon_threadsafe(self._on_fenced)

    def _renewed(self, sent_at: float) -> None:
        if not self._fenced:
            self.deadline = sent_at + self._settings.lease.total_seconds() * _RENEW_WITHIN

    def _connect(self) -> Liveness:
        self._disconnect()
        text = conninfo(self._database, application_name="outlast-heartbeat")
        self._connection = psycopg.connect(text, autocommit=True)
        # A session of its own for a lock of its own, so never behind a pooler: the role may last as long as it does.
        self._connection.execute(as_role(claim_role(self._database.schema_name)))
        return Liveness(self._connection, self._worker_id)

    def _alive(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            raise psycopg.OperationalError
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._holds_lock = False
        if connection is not None:
            connection.close()
