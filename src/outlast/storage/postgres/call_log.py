"""The call log: answers of model calls, journaled values and usage, group-committed under the run's fence.

Everything variable is bytes here; this module knows arrays and columns, nothing of models.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import psycopg

from outlast.errors import InvalidInput, LeaseLost
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.arrays import (
    Array,
    BigintArray,
    ByteaArray,
    IntArray,
    RealArray,
    SmallintArray,
    TextArray,
    UuidArray,
)
from outlast.storage.postgres.group_writer import GroupWriter
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.prepared import Scoped, Statement
from outlast.storage.postgres.queries import Queries, numbered
from outlast.storage.postgres.scoping import Scope
from outlast.storage.postgres.sealed_columns import JOURNAL
from outlast.storage.postgres.sealing import Part
from outlast.telemetry import emit

_SQL = Queries("calls")


class Spent(Protocol):
    """What one try cost; see `calls.call.Usage`."""

    @property
    def provider(self) -> str: ...  # noqa: D102 - told by Usage, like the others
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def input_tokens(self) -> int: ...  # noqa: D102
    @property
    def output_tokens(self) -> int: ...  # noqa: D102
    @property
    def cache_read_tokens(self) -> int: ...  # noqa: D102
    @property
    def cache_write_tokens(self) -> int: ...  # noqa: D102
    @property
    def reasoning_tokens(self) -> int: ...  # noqa: D102
    @property
    def cost_micros(self) -> int | None: ...  # noqa: D102
    @property
    def saved_micros(self) -> int | None: ...  # noqa: D102
    @property
    def outcome(self) -> str: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102


class Entry(NamedTuple):
    """An answer at its place; `body` None says that the call failed for good."""

    #: 16 bytes that stand for the task.
    task: bytes
    series: str
    ordinal: int
    #: 16 bytes that stand for what was asked.
    hash: bytes
    execution: int
    body: bytes | None


class Caller(NamedTuple):
    """The attempt of a run that calls."""

    run_id: UUID
    epoch: int
    errors: int
    lineage: UUID
    thread_key: bytes
    tenant: str
    user_id: str | None
    agent: str


class CallRow(NamedTuple):
    """What is stored of one call: its answer, what it cost, or both."""

    call_id: bytes
    caller: Caller
    entry: Entry | None
    spent: Sequence[Spent] = ()


class StoredEntry(NamedTuple):
    """An entry of the journal as it was found."""

    series: str
    ordinal: int
    hash: bytes
    body: bytes | None
    #: The attempt that made it has ended in an error since.
    tried: bool
    #: The task has begun an effect since.
    acted_on: bool


class CallLog(GroupWriter[CallRow]):
    """The writer of the call log, and how its journal is read; open it once per process and event loop."""

    closed = "the call log is closed; nothing more can be stored in this process"

    def __init__(self, settings: DatabaseSettings, pool: Pool) -> None:
        super().__init__(settings, application_name="outlast-calls")
        self._pool = pool

    async def entries(self, lineage: UUID, task: bytes) -> list[StoredEntry]:
        """Return what a task has in the journal, in the order of insertion; raises DatabaseUnavailable."""
        parameters = {"lineage": lineage, "task": UUID(bytes=task)}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.entries, parameters, binary=True)).fetchall()
        sealing, found = self._pool.sealing, list[StoredEntry]()
        for series, ordinal, hashed, body, *rest in rows:
            plain = await sealing.open(JOURNAL, body, lineage, task, series, ordinal, hashed)
            found.append(StoredEntry(series, ordinal, hashed.bytes, plain, *rest))
        return found

    async def submit(self, row: CallRow) -> None:
        """Return once the row is durable; see `GroupWriter.submit`."""
        await super().submit(await self._sealed(row) if self._pool.sealing.on else row)

    def submit_soon(self, row: CallRow) -> None:
        """Write the row without anybody waiting for it."""
        entry = row.entry
        if entry is not None and entry.body is not None and self._pool.sealing.on:
            body = self._pool.sealing.seal_now(JOURNAL, entry.body, *_place(row, entry))
            row = row._replace(entry=entry._replace(body=body))
        super().submit_soon(row)

    async def _sealed(self, row: CallRow) -> CallRow:
        if row.entry is None:
            return row
        body = await self._pool.sealing.seal(JOURNAL, row.entry.body, *_place(row, row.entry))
        return row._replace(entry=row.entry._replace(body=body))

    def key(self, row: CallRow) -> object:
        """Return the place of the answer: one statement cannot replace a row twice."""
        entry = row.entry
        if entry is None:
            return row.call_id
        return (row.caller.lineage, entry.task, entry.series, entry.ordinal, entry.hash)

    def size(self, row: CallRow) -> int:
        """Return the bytes of the answer."""
        return len(row.entry.body) if row.entry is not None and row.entry.body is not None else 0

    async def store(self, parts: Sequence[tuple[Scope, Sequence[CallRow]]]) -> list[Mapping[int, bool]]:
        """Send rows, one statement for each tenant."""
        answers = await self.insist([Scoped(scope, _statement(rows)) for scope, rows in parts])
        return [{int.from_bytes(number or b""): True for (number,) in answer} for answer in answers]

    def refusal(self, row: CallRow, *, stale: bool) -> Exception:  # noqa: ARG002 - nothing is stale here
        """Return LeaseLost."""
        return LeaseLost(run_id=str(row.caller.run_id), epoch=row.caller.epoch)

    def refused_by_database(self, error: Exception) -> Exception:
        """Say as one of our errors that a row's own content cannot be stored; other errors stay what they are."""
        if isinstance(error, UnicodeEncodeError | psycopg.DataError | psycopg.errors.ProgramLimitExceeded):
            what = error.diag.message_primary if isinstance(error, psycopg.Error) else error.reason
            return InvalidInput(f"PostgreSQL cannot store this call: {what}. Shorten or clean what names it")
        return error

    def before(self) -> None:
        """Say that a batch is about to be sent."""
        emit("call.before_commit")

    def after(self) -> None:
        """Say that a batch is durable."""
        emit("call.journaled")

    def lost(self, error: str) -> None:
        """Say that the connection broke."""
        emit("call.connection_lost", error=error)


def _statement(rows: Sequence[CallRow]) -> Statement:
    parameters = parameters_of(rows)
    statement = numbered("calls", "commit_calls", *(("spent",) if "u_n" in parameters else ()))
    arrays = statement.arguments(parameters)
    return Statement(statement.text, [array.oid for array in arrays], [array.to_binary() for array in arrays])


def _place(row: CallRow, entry: Entry) -> tuple[Part, ...]:
    return (row.caller.lineage, entry.task, entry.series, entry.ordinal, entry.hash)


def parameters_of(rows: Sequence[CallRow]) -> dict[str, Array]:
    """Return rows as parameters of `commit_calls`; those of usage only if there is any."""
    usage = _usage_parameters(rows) if any(row.spent for row in rows) else {}
    return _call_parameters(rows) | usage


def _call_parameters(rows: Sequence[CallRow]) -> dict[str, Array]:
    callers = [row.caller for row in rows]
    entries = [row.entry for row in rows]
    fences = {(caller.run_id, caller.epoch) for caller in callers}
    return {
        "fence_run": UuidArray.of(run_id for run_id, _ in fences),
        "fence_epoch": IntArray.of(epoch for _, epoch in fences),
        "c_n": IntArray.of(range(len(rows))),
        "c_run": UuidArray.of(caller.run_id for caller in callers),
        "c_epoch": IntArray.of(caller.epoch for caller in callers),
        "c_errors": SmallintArray.of(caller.errors for caller in callers),
        "c_lineage": UuidArray.of(caller.lineage for caller in callers),
        "c_task": UuidArray([entry.task if entry else None for entry in entries]),
        "c_series": TextArray.of(entry.series if entry else None for entry in entries),
        "c_ordinal": IntArray.of(entry.ordinal if entry else None for entry in entries),
        "c_hash": UuidArray([entry.hash if entry else None for entry in entries]),
        "c_execution": SmallintArray.of(entry.execution if entry else None for entry in entries),
        "c_body": ByteaArray([entry.body if entry else None for entry in entries]),
    }


def _usage_parameters(rows: Sequence[CallRow]) -> dict[str, Array]:
    callers = [row.caller for row in rows]
    spent = [(n, number, item) for n, row in enumerate(rows) for number, item in enumerate(row.spent, 1)]
    items = [item for _, _, item in spent]
    return {
        "c_call": UuidArray([row.call_id for row in rows]),
        "c_thread": UuidArray([caller.thread_key for caller in callers]),
        "c_tenant": TextArray.of(caller.tenant for caller in callers),
        "c_user": TextArray.of(caller.user_id for caller in callers),
        "c_agent": TextArray.of(caller.agent for caller in callers),
        "u_n": IntArray.of(n for n, _, _ in spent),
        "u_try": SmallintArray.of(number for _, number, _ in spent),
        "u_provider": TextArray.of(item.provider for item in items),
        "u_model": TextArray.of(item.model for item in items),
        "u_input": BigintArray.of(item.input_tokens for item in items),
        "u_output": BigintArray.of(item.output_tokens for item in items),
        "u_cache_read": BigintArray.of(item.cache_read_tokens for item in items),
        "u_cache_write": BigintArray.of(item.cache_write_tokens for item in items),
        "u_reasoning": BigintArray.of(item.reasoning_tokens for item in items),
        "u_cost": BigintArray.of(item.cost_micros for item in items),
        "u_saved": BigintArray.of(item.saved_micros for item in items),
        "u_outcome": TextArray.of(item.outcome for item in items),
        "u_seconds": RealArray.of(item.seconds for item in items),
    }
