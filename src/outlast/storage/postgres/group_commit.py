"""The group commit of checkpoints: one writer for all the checkpoints of a process (see `group_writer`).

A batch is one statement (`commit_batch`), the step of a lone run a shorter one (`commit_step`). At most one checkpoint
of a namespace is in a batch, since the next one needs the first as head. A row is refused when its epoch is over or its
parent is not the head.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import psycopg

from outlast.errors import InvalidInput, LeaseLost
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoint_rows import Batch, CheckpointRow, Row
from outlast.storage.postgres.checkpoint_sealing import sealed_row
from outlast.storage.postgres.group_writer import GIVE_UP_AFTER, GroupWriter
from outlast.storage.postgres.lone_step import OIDS, LoneStep
from outlast.storage.postgres.prepared import Scoped, Statement
from outlast.storage.postgres.queries import numbered
from outlast.storage.postgres.scoping import Scope
from outlast.storage.postgres.sealing import OFF, Sealing
from outlast.telemetry import emit


class Refused(Exception):
    """The head of the namespace is not the row's parent, or the thread was deleted: another was faster."""


class GroupCommit(GroupWriter[Row]):
    """The writer; `submit` raises Refused when the row's parent is not the head."""

    closed = "the checkpointer is closed; use it inside its `async with` block"

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application_name: str = "outlast-checkpoints",
        give_up_after: timedelta = GIVE_UP_AFTER,
        reply_within: timedelta | None = None,
    ) -> None:
        super().__init__(
            settings, application_name=application_name, give_up_after=give_up_after, reply_within=reply_within
        )
        #: What encrypts rows before they gather.
        self.sealing: Sealing = OFF
        # One batch at a time is on its way.
        self._sending: Sequence[Row] = ()
        self._sent_at = 0.0

    async def submit(self, row: Row) -> None:
        """Return once the row is durable; see `GroupWriter.submit`."""
        await super().submit(await sealed_row(self.sealing, row) if self.sealing.on else row)

    def key(self, row: Row) -> object:
        """Return the namespace of a checkpoint, or the task of an output."""
        if isinstance(row, CheckpointRow):
            return (row.thread_key, row.ns)
        return (row.thread_key, row.ns, row.checkpoint_id, row.task_id, row.idx)

    def size(self, row: Row) -> int:
        """Return what is variable about the row, in bytes."""
        segments = sum(len(segment.items) for segment in row.segments) if isinstance(row, CheckpointRow) else 0
        return len(row.body) + segments + sum(map(len, row.blobs.values()))

    async def store(self, parts: Sequence[tuple[Scope, Sequence[Row]]]) -> list[Mapping[int, bool]]:
        """Send rows, one statement for each tenant."""
        self._sending = [row for _, rows in parts for row in rows]
        if len(parts) == 1:
            ((scope, rows),) = parts
            step = LoneStep.of(rows)
            if step is not None and await self._all_is_well(scope, step):
                return [dict.fromkeys(range(len(rows)), True)]
        answers = await self.insist([Scoped(scope, _statement(rows)) for scope, rows in parts])
        # In binary: the row's number, and one byte for true or false.
        return [{int.from_bytes(number or b""): ok == b"\x01" for number, ok in answer} for answer in answers]

    async def _all_is_well(self, scope: Scope, step: LoneStep) -> bool:
        """Commit a lone step; False when nothing was stored, and the other statement has to say why."""
        statement = numbered("checkpoints", "commit_step", *step.flags)
        oids = [OIDS[name] for name in statement.names]
        sent = Statement(statement.text, oids, statement.arguments(step.parameters))
        try:
            (answer,) = await self.insist((Scoped(scope, sent),))
        except psycopg.errors.UniqueViolation:
            return False
        return bool(answer)

    def refusal(self, row: Row, *, stale: bool) -> Exception:
        """Return LeaseLost, or Refused."""
        if row.fence is not None and not stale:
            return LeaseLost(run_id=str(row.fence.run_id), epoch=row.fence.epoch)
        return Refused()

    def refused_by_database(self, error: Exception) -> Exception:
        """Say as one of our errors that a row's own content cannot be stored; other errors stay what they are."""
        if isinstance(error, psycopg.errors.NotNullViolation):
            # The statement's way to refuse other items in a place of a list that is taken.
            return Refused()
        if isinstance(error, UnicodeEncodeError | psycopg.DataError | psycopg.errors.ProgramLimitExceeded):
            what = error.diag.message_primary if isinstance(error, psycopg.Error) else error.reason
            return InvalidInput(f"PostgreSQL cannot store this checkpoint: {what}. Shorten or clean what names it")
        return error

    def before(self) -> None:
        """Say that a batch is about to be sent."""
        self._sent_at = time.perf_counter()
        emit("checkpoint.before_commit")

    def after(self) -> None:
        """Say that a batch is durable: its rows, the bytes of each checkpoint, and how long the database took."""
        sizes = [self.size(row) for row in self._sending if isinstance(row, CheckpointRow)]
        seconds = time.perf_counter() - self._sent_at
        emit("checkpoint.after_commit", rows=len(self._sending), sizes=sizes, seconds=seconds)

    def lost(self, error: str) -> None:
        """Say that the connection broke."""
        emit("checkpoint.connection_lost", error=error)


def _statement(rows: Sequence[Row]) -> Statement:
    batch = Batch.of(rows)
    statement = numbered("checkpoints", "commit_batch", *batch.flags)
    arrays = statement.arguments(batch.parameters)
    return Statement(statement.text, [array.oid for array in arrays], [array.to_binary() for array in arrays])
