"""The writing side of streams: one line into the database for everything that the runs of this process say.

Records gather while a statement is on its way, and go out at the pace of hints (see `pace`). One connection writes in
order and each statement is one commit, so whoever reads behind a position always sees a prefix of what a claim said.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from outlast.domain.records import Record
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pace import MOST_IDS, Pace
from outlast.storage.postgres.pool import connect, is_transient
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.scoping import Scope
from outlast.storage.postgres.sealed_columns import EVENT
from outlast.storage.postgres.sealing import OFF, Sealing
from outlast.storage.postgres.together import Alone
from outlast.telemetry import emit

_SQL = Queries("events")
_BATCH_RECORDS = 512
_BATCH_BYTES = 1 << 20
# What waits for the database at most; what is said beyond that is lost for others.
_WAITING_BYTES = 32 << 20
# Of a record beside its data: the row, its place in the batch.
_OVERHEAD_BYTES = 100
#: While the database is away, records wait this long. A run goes on without its stream.
PATIENCE_SECONDS = 10.0


class Claim(Protocol):
    """Whose records they are, and who is told what became of them."""

    @property
    def run_id(self) -> UUID:
        """The run."""
        ...

    @property
    def epoch(self) -> int:
        """Under which it is owned."""
        ...

    def stored(self, pos: int) -> None:
        """Everything up to this position is in the database, or was given up."""
        ...

    def lost(self) -> None:
        """Another owner has the run; nothing of this claim is stored any more."""
        ...


class EventLog:
    """Writes records behind the runs that say them. `add` waits for nothing; `running` does the work."""

    def __init__(self, settings: DatabaseSettings, *, channel: str, sealing: Sealing = OFF) -> None:
        self._settings = settings
        self._channel = channel
        self._sealing = sealing
        self._waiting: deque[tuple[Claim, Record]] = deque()
        self._waiting_bytes = 0
        self._dirty = asyncio.Event()
        self._sent: list[tuple[Claim, Record]] = []
        self._failing_since: float | None = None
        #: The server process that writes; a hint that it sends is about records that this process knows.
        self.backend_pid: int | None = None

    def add(self, claim: Claim, record: Record, *, hurry: bool = True) -> bool:
        """Take a record to write; without hurry it goes with the next one. False when too much waits already."""
        if self._sealing.on:
            data = self._sealing.seal_now(EVENT, record.data, record.thread, record.pos)
            record = record._replace(data=data)
        size = len(record.data) + _OVERHEAD_BYTES
        if self._waiting_bytes + size > _WAITING_BYTES:
            emit("stream.dropped", run_id=record.run_id, records=1)
            return False
        self._waiting.append((claim, record))
        self._waiting_bytes += size
        if hurry:
            self._dirty.set()
        return True

    def hurry(self) -> None:
        """Write what was added without hurry."""
        self._dirty.set()

    async def run(self) -> None:
        """Write until cancelled; a connection that breaks is opened again and the batch repeated."""
        delay = 0.05
        while True:
            await self._dirty.wait()
            try:
                async with await connect(self._settings, application_name="outlast-stream") as connection:
                    # What is UNLOGGED gains nothing from a flush to the disk.
                    await connection.execute("SET synchronous_commit = off")
                    self.backend_pid = connection.info.backend_pid
                    delay = 0.05
                    await self._write(connection)
            # Whatever happens here, the runs go on and so does the loop.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="events", error=type(error).__name__)
                self._answer_for(error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)

    async def _write(self, connection: AsyncConnection[Any]) -> None:
        pace = Pace()
        while True:
            await self._dirty.wait()
            await pace.turn()
            batch = self._next_batch()
            if batch:
                await self._append(connection, batch)

    def _next_batch(self) -> list[tuple[Claim, Record]]:
        """Return what to send: first what was sent without an answer."""
        if not self._sent:
            size = 0
            while self._waiting and len(self._sent) < _BATCH_RECORDS and size < _BATCH_BYTES:
                entry = self._waiting.popleft()
                size += len(entry[1].data) + _OVERHEAD_BYTES
                self._sent.append(entry)
            self._waiting_bytes -= size
        if not self._waiting:
            self._dirty.clear()
        return self._sent

    async def _append(self, connection: AsyncConnection[Any], batch: Sequence[tuple[Claim, Record]]) -> None:
        claims = {claim.run_id: claim for claim, _ in batch}
        emit("stream.before_append", records=len(batch))
        parameters = _parameters(list(claims.values()), [record for _, record in batch])
        # One batch is of several tenants; each row has the tenant of its run.
        alone = Alone(connection, Scope.of(None, self._settings.schema_name))
        try:
            cursor = await alone.execute(_SQL.append, {**parameters, "channel": self._channel, "most": MOST_IDS})
        # Not cleared: the batch is still to be answered.
        except BaseException:
            self._dirty.set()
            raise
        owned = {row[0] for row in await cursor.fetchall()}
        last = {claim: record.pos for claim, record in batch}
        self._sent, self._failing_since = [], None
        for claim, pos in last.items():
            if claims[claim.run_id] is claim and claim.run_id in owned:
                claim.stored(pos)
            else:
                claim.lost()

    def _answer_for(self, error: Exception) -> None:
        """Decide what becomes of what waits."""
        now = asyncio.get_running_loop().time()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since > PATIENCE_SECONDS:
            everything = [*self._sent, *self._waiting]
            self._waiting.clear()
            self._waiting_bytes = 0
            self._give_up(everything)
        elif _is_refusal(error):
            self._give_up(self._sent)

    def _give_up(self, entries: Sequence[tuple[Claim, Record]]) -> None:
        """Let nobody wait for these any longer."""
        self._sent = []
        if entries:
            emit("stream.dropped", run_id=None, records=len(entries))
        for claim, pos in {claim: record.pos for claim, record in entries}.items():
            claim.stored(pos)


def _is_refusal(error: Exception) -> bool:
    """Whether it is the batch itself that is wrong, and not the connection or the server."""
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return not is_transient(error)
    return isinstance(error, psycopg.Error)


def _parameters(claims: Sequence[Claim], records: Sequence[Record]) -> dict[str, Any]:
    return {
        "runs": [claim.run_id for claim in claims],
        "epochs": [claim.epoch for claim in claims],
        "record_runs": [record.run_id for record in records],
        "positions": [record.pos for record in records],
        "modes": [record.mode for record in records],
        "namespaces": [record.ns for record in records],
        "data": [record.data for record in records],
    }
