"""Real worker processes to start, kill, freeze and wake; and the runs that they work on."""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from witness import PATH_VARIABLE

from outlast.domain.run import NewRun, RunStatus
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import embedded_watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.testing.postgres import Databases

HERE = Path(__file__).parent
PROJECT = HERE / "outlast.toml"
# A lease so short that a test can wait for its end.
SHRUNK = {
    "OUTLAST_WORKER__LEASE": "PT2S",
    "OUTLAST_WORKER__HEARTBEAT": "PT0.3S",
    "OUTLAST_WORKER__POLL": "PT0.2S",
    "OUTLAST_WORKER__DRAIN": "PT8S",
    "OUTLAST_RECOVERY__SCAN": "PT0.1S",
    "OUTLAST_RETRY__BASE": "PT0.1S",
}


@dataclass
class WorkerProcess:
    """One process; it was started by us, so it may be killed by us."""

    pid: int
    status: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    #: When we killed it, by this machine's clock, which is the database's.
    killed_at: datetime | None = None

    def signal(self, signum: signal.Signals) -> None:
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def kill(self) -> None:
        if self.killed_at is None and not self.ended.is_set():
            self.killed_at = datetime.now(UTC)
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    def drain(self) -> None:
        self.signal(signal.SIGTERM)

    def wait(self, timeout: float = 20.0) -> int:
        """Return the exit status: negative for a signal."""
        assert self.ended.wait(timeout), f"worker {self.pid} still runs after {timeout} s"
        assert self.status is not None
        return self.status


class Zygote:
    """The process that worker processes are forked from."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._started: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        self.workers: dict[int, WorkerProcess] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    @contextmanager
    def open(cls, project: Path = PROJECT, *modules: str) -> Iterator["Zygote"]:
        """Start one for a project; `modules` are imported once, and not by each worker."""
        command = [sys.executable, str(HERE / "zygote.py"), str(project), *modules]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTLAST_")}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment | {"LANGSMITH_TRACING": "false"}
        ) as process:
            zygote = cls(process)
            try:
                yield zygote
            finally:
                for worker in list(zygote.workers.values()):
                    worker.kill()
                    worker.ended.wait(10)
                assert process.stdin is not None
                process.stdin.close()
                zygote._reader.join(10)

    def fork(self, request: Mapping[str, Any]) -> WorkerProcess:
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        return self._started.get(timeout=30)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if "started" in event:
                worker = self.workers[event["started"]] = WorkerProcess(event["started"])
                self._started.put(worker)
            else:
                worker = self.workers[event["ended"]]
                worker.status = event["status"]
                worker.ended.set()


class Fleet:
    """Starts workers on one database; all are killed at the end."""

    def __init__(self, zygote: Zygote, url: str, directory: Path, settings: Mapping[str, str] = SHRUNK) -> None:
        self._zygote = zygote
        self._url = url
        self._settings = dict(settings)
        self.witness = directory / "witness.jsonl"
        self.log = directory / "workers.log"
        self.faults = directory / "faults.log"
        self.workers: list[WorkerProcess] = []

    @classmethod
    @contextmanager
    def open(
        cls, url: str, directory: Path, settings: Mapping[str, str] = SHRUNK, *, zygote: Zygote | None = None
    ) -> Iterator["Fleet"]:
        with ExitStack() as stack:
            fleet = cls(zygote or stack.enter_context(Zygote.open()), url, directory, settings)
            try:
                yield fleet
            finally:
                for worker in fleet.living:
                    worker.kill()
                for worker in fleet.workers:
                    worker.ended.wait(10)

    def start(self, *, fault: str = "", **environment: str) -> WorkerProcess:
        """Fork a worker; it registers a moment later (see `Runs.live_worker`)."""
        armed = {"OUTLAST_FAULT": f"{fault};log={self.faults}"} if fault else {}
        request = {
            "url": self._url,
            "log": str(self.log),
            "environment": {**self._settings, PATH_VARIABLE: str(self.witness), **armed, **environment},
        }
        worker = self._zygote.fork(request)
        self.workers.append(worker)
        return worker

    @property
    def living(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if not worker.ended.is_set()]

    def struck(self) -> list[tuple[str, int]]:
        """Return the fault points that acted, with the process in which they did."""
        if not self.faults.exists():
            return []
        return [(line.split()[0], int(line.split()[1])) for line in self.faults.read_text().splitlines()]


@dataclass
class Runs:
    """A client of the queue, with a view behind the scenes."""

    pool: Pool
    queue: RunQueue

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["Runs"]:
        settings = DatabaseSettings(url=url, pool_size=4)
        pool = Pool(settings, application_name="outlast-torture")
        await pool.open()
        try:
            async with Wakeup(settings).running() as wakeup:
                yield cls(pool, RunQueue(RunStore(pool), wakeup))
        finally:
            await pool.close()

    async def enqueue(self, agent: str, input: Any, **given: Any) -> UUID:  # noqa: A002 - the field's name
        run_id = given.pop("id", None) or uuid4()
        thread_id = given.pop("thread_id", None) or str(run_id)
        new = NewRun(id=run_id, thread_id=thread_id, agent=agent, input=input, config={}, metadata={}, **given)
        return await self.queue.enqueue(new)

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with self.pool.unscoped() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()

    async def live_worker(self, pid: int) -> bool:
        return bool(await self.rows("SELECT 1 FROM workers WHERE pid = %s AND state = 'live'", pid))

    async def status(self, run_id: UUID) -> RunStatus:
        return (await self.queue.store.get(run_id)).status

    async def epoch(self, run_id: UUID) -> int:
        return (await self.queue.store.get(run_id)).epoch


async def until(predicate: Callable[[], Awaitable[object]], timeout: float = 20.0, message: str = "") -> None:  # noqa: ASYNC109
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout
    while not await predicate():
        assert time.monotonic() < deadline, message or f"not true within {timeout} s"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def own_server() -> AsyncIterator[Databases]:
    """A server of this process alone, for programs outside the test suite."""
    with tempfile.TemporaryDirectory(prefix="outlast-") as name:
        directory = Path(name).resolve()  # noqa: ASYNC240 - once
        try:
            with EmbeddedPostgres.start(directory) as server:
                async with Databases.open(server.url) as databases:
                    yield databases
        finally:
            embedded_watchdog.stop_server(directory)
