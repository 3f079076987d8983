"""Runs as the clients of the Agent Server API see them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from outlast.domain.approval import approval_question
from outlast.domain.options import RunOptions
from outlast.domain.run import RunStatus, RunView
from outlast.domain.wire import WireStatus, wire_status
from outlast.errors import NotFound
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.run_sealing import opened_view, opened_views

_SQL = Queries("run_views")


class RunViews:
    """Reads runs with what they were started with; changes nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def one(self, thread_id: str | None, run_id: UUID, *, access: str | None = None) -> RunView:
        """Return a run (None: of whatever thread); raises NotFound when this caller has none like that."""
        key = None if thread_id is None else UUID(bytes=thread_key(thread_id))
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.one, {"id": run_id, "thread_key": key, "access": access})
            row = await cursor.fetchone()
        if row is None:
            raise NotFound("run", str(run_id))
        return view_of(await opened_view(self._pool.sealing, row))

    async def of_thread(
        self, thread_id: str, *, status: WireStatus | None = None, limit: int = 10, offset: int = 0
    ) -> list[RunView]:
        """Return runs of a thread without their outputs, newest first; none when there is no such thread."""
        parameters = {
            "thread_key": UUID(bytes=thread_key(thread_id)), "limit": limit, "offset": offset, **_with_status(status)
        }  # fmt: skip
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.of_thread, parameters)
            rows = await cursor.fetchall()
        return [view_of(row) for row in await opened_views(self._pool.sealing, rows)]

    async def of_ids(self, run_ids: Sequence[UUID]) -> list[RunView]:
        """Return these runs without their outputs, in the order of the ids; what is gone is left out."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.of_ids, {"ids": list(run_ids)})
            rows = await cursor.fetchall()
        found = {row[0]: view_of(row) for row in await opened_views(self._pool.sealing, rows)}
        return [found[run_id] for run_id in run_ids if run_id in found]


def _with_status(status: WireStatus | None) -> dict[str, Any]:
    if status is None:
        return {"statuses": None, "timed_out": None}
    if status in {"timeout", "error"}:
        return {"statuses": [RunStatus.FAILED], "timed_out": status == "timeout"}
    return {"statuses": [known for known in RunStatus if wire_status(known) == status], "timed_out": None}


def view_of(row: tuple[Any, ...]) -> RunView:
    """Return the run of a row with the columns of `one`."""
    return RunView(
        id=row[0], thread_id=row[1], agent=row[2], status=RunStatus(row[3]), priority=row[4], epoch=row[5],
        errors=row[6], crashes=row[7], max_attempts=row[8], created_at=row[9], available_at=row[10],
        started_at=row[11], ended_at=row[12], cancel_requested_at=row[13], metadata=row[14],
        output=None if row[15] is None else orjson.loads(row[15]), interrupts=_asked(row), error_code=row[17],
        error_message=row[18], completed=row[19], total=row[20], progress_at=row[21], worker_id=row[22],
        worker_pid=row[23], claimed_at=row[24], options=RunOptions.of_json(row[25]), assistant_id=row[26],
        multitask=row[27], cancel_action=row[28], cancel_reason=row[29], temporary=row[30], webhook=row[31],
        last_pos=row[32], input=None if row[33] is None else orjson.loads(row[33]), config=row[34] or {},
    )  # fmt: skip


def _asked(row: tuple[Any, ...]) -> list[dict[str, Any]] | None:
    """Return what a person is asked: by the graph, or by a policy before the run begins."""
    approval = row[35]
    if row[3] == RunStatus.WAITING and approval is not None and "approved" not in approval:
        return [approval_question(row[0], approval)]
    return row[16]
