"""What the thread-centred protocol asks of a thread besides its stream."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from outlast.domain.run import RunStatus
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.run_sealing import opened_event

_SQL = Queries("protocol")
_LATE_SECONDS: Final = 60.0
_MOST: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The latest run of a thread that has begun, and up to where its clients have seen the thread."""

    floor: int = 0
    run_id: UUID | None = None
    status: RunStatus | None = None
    #: Nobody waits for its end any more.
    past: bool = False
    #: Where what is kept of the run begins; None when nothing is.
    first_pos: int | None = None


class ProtocolStore:
    """Short reads and writes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def standing(self, thread: bytes) -> Standing:
        """Return how a thread stands, which need not exist."""
        parameters = {**_key(thread), "seconds": _LATE_SECONDS}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.standing, parameters)
            row = await cursor.fetchone()
        if row is None or row[1] is None:
            return Standing(floor=row[0] if row else 0)
        floor, run_id, status, past, first_pos = row
        return Standing(
            floor=floor, run_id=run_id, status=RunStatus(status), past=bool(past),
            first_pos=first_pos,
        )  # fmt: skip

    async def raise_floor(self, thread: bytes, floor: int) -> None:
        """Note up to where the clients of a thread have seen it."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.raise_floor, {**_key(thread), "floor": floor})

    async def lifecycle(self, thread: bytes, run_id: UUID, *, mode: str) -> list[tuple[int, str, bytes]]:
        """Return what is kept of one mode of a run: position, namespace and data."""
        parameters: dict[str, Any] = {**_key(thread), "run_id": run_id, "mode": mode, "limit": _MOST}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.lifecycle, parameters)
            rows = await cursor.fetchall()
        sealing = self._pool.sealing
        return [
            (pos, ns, await opened_event(sealing, data, thread=UUID(bytes=thread), pos=pos, run_id=run_id, mode=mode))
            for pos, ns, data in rows
        ]


def _key(thread: bytes) -> dict[str, UUID]:
    return {"thread_key": UUID(bytes=thread)}
