"""What tasks had written before a run went on from there, so that its rollback can put it back.

A run that starts anew writes checkpoints of its own, and deleting those undoes it. A run that goes on - with an
answer, or after a failure - writes to the place where the thread stands: answers replace questions there.
"""

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from outlast.storage.postgres.queries import Queries

_SQL = Queries("writes_before")
Connection = AsyncConnection[Any]


async def keep_in(connection: Connection, thread: bytes, run_id: UUID) -> None:
    """Keep what stands now, for a run that was just stored and goes on from here; under the thread's lock."""
    parameters = {"thread_key": UUID(bytes=thread), "run_id": run_id}
    await connection.execute(_SQL.forget, parameters)
    await connection.execute(_SQL.keep, parameters)


async def restore_in(connection: Connection, thread: bytes, run_ids: set[str]) -> bool:
    """Put back what stood before these runs; return whether anything was taken away for it."""
    known = [found for text in run_ids if (found := _uuid(text)) is not None]
    parameters = {"thread_key": UUID(bytes=thread), "run_ids": known}
    cleared = await connection.execute(_SQL.clear, parameters)
    await connection.execute(_SQL.restore, parameters)
    return cleared.rowcount > 0


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        # A caller of the checkpointer may name its runs as it likes.
        return None
