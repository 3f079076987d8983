"""Failed runs in the database: what there is, how each came to fail, and which are discarded.

Replaying one is `RunStore.replay`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from outlast.domain.acting import across_tenants, principal
from outlast.domain.dead_letter import Attempt, DeadLetter, DeadLetterQuery, LastCheckpoint
from outlast.errors import Conflict, NotFound
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.listing import Listing, Page, fetch
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries, numbered
from outlast.storage.postgres.sealed_columns import ATTEMPT_ERROR, DISCARD_REASON, RUN_ERROR
from outlast.storage.postgres.sealing import Sealing

_SQL = Queries("dead_letters")
_MESSAGE, _REASON = 4, 12
#: What the error of a run is called that has none.
_UNNAMED: Final = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorClass:
    """Dead letters of one agent with one error."""

    agent: str
    code: str
    count: int
    oldest_at: datetime
    newest_at: datetime


#: Behind which letter to go on: when it failed, and its id.
Place = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class _Wanted:
    query: DeadLetterQuery

    @property
    def flags(self) -> set[str]:
        """The parts of the statement that are needed."""
        query = self.query
        given: dict[str, object] = {
            "agent": query.agent, "code": query.code, "thread": query.thread_id, "since": query.since,
            "until": query.until, "without": query.without or None,
        }  # fmt: skip
        return {name for name, value in given.items() if value is not None} | (
            {"discarded"} if query.discarded else set()
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all parts."""
        query = self.query
        return {
            "agent": query.agent,
            "code": query.code,
            "without": list(query.without),
            "thread_key": None if query.thread_id is None else UUID(bytes=thread_key(query.thread_id)),
            "since": query.since,
            "until": query.until,
        }


class DeadLetterStore:
    """Acts for the tenant of the context, but for `to_replay`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._list = Listing(pool, ("dead_letters", "find"), ("dead_letters", "count"), _letter, _opened)

    async def find(self, query: DeadLetterQuery, *, page: Page) -> tuple[list[DeadLetter], int]:
        """Return one page, newest first, and how many match."""
        return await self._list.search(_Wanted(query), page=page)

    async def count(self, query: DeadLetterQuery) -> int:
        """Return how many match."""
        return await self._list.count(_Wanted(query))

    async def get(self, run_id: UUID) -> DeadLetter:
        """Return one, discarded or not; raises NotFound when there is no such run, or it has not failed."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.get, {"id": run_id})).fetchone()
        if row is None:
            raise NotFound("dead letter", str(run_id), hint="; see `outlast dlq list`")
        return _letter(await _opened(self._pool.sealing, row))

    async def classes(self, query: DeadLetterQuery, *, limit: int) -> list[ErrorClass]:
        """Return how many there are of each agent and error, most first."""
        wanted = _Wanted(query)
        statement = numbered("dead_letters", "classes", *sorted(wanted.flags))
        async with self._pool.connection() as connection:
            rows = await fetch(connection, statement, {**wanted.parameters, "limit": limit})
        return [
            ErrorClass(agent=row[0], code=row[1] or _UNNAMED, count=row[2], oldest_at=row[3], newest_at=row[4])
            for row in rows
        ]

    async def now(self) -> datetime:
        """Return the database's time."""
        async with self._pool.connection() as connection:
            row: Any = await (await connection.execute(_SQL.now, {})).fetchone()
        return row[0]

    async def oldest(self, query: DeadLetterQuery, *, after: Place | None, limit: int) -> list[Place]:
        """Return the next ones in the order in which they failed."""
        wanted = _Wanted(query)
        flags = wanted.flags | ({"after"} if after is not None else set[str]())
        statement = numbered("dead_letters", "oldest", *sorted(flags))
        behind = {"after": None, "after_id": None} if after is None else {"after": after[0], "after_id": after[1]}
        async with self._pool.connection() as connection:
            rows = await fetch(connection, statement, {**wanted.parameters, **behind, "limit": limit})
        return [(row[1], row[0]) for row in rows]

    async def attempts(self, run_id: UUID) -> list[Attempt]:
        """Return the attempts of a run that ended badly, in order."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.attempts, {"id": run_id})).fetchall()
        sealing = self._pool.sealing
        return [
            Attempt(
                epoch=row[0], kind=row[1], code=row[2],
                message=await sealing.open_text(ATTEMPT_ERROR, row[3], run_id, row[0]),
                worker=None if row[4] is None else f"{row[4]}:{row[5]}", began_at=row[6], ended_at=row[7],
            )
            for row in rows
        ]  # fmt: skip

    async def last_checkpoint(self, run_id: UUID) -> LastCheckpoint | None:
        """Return where a replay goes on; None: it begins."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.last_checkpoint, {"id": run_id})).fetchone()
        return None if row is None else LastCheckpoint(checkpoint_id=row[0], step=row[1], of_run=bool(row[2]))

    async def effects(self, run_id: UUID) -> Mapping[str, int]:
        """Return how many effects the run has begun, by state."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.effects, {"id": run_id})).fetchall()
        return {row[0]: row[1] for row in rows}

    async def owner(self, run_id: UUID) -> tuple[str | None, str | None]:
        """Return on whose behalf a run was asked for: the user, and the id of the API key."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.owner, {"id": run_id})).fetchone()
        return (None, None) if row is None else (row[0], row[1])

    async def discard(self, run_id: UUID, *, reason: str | None) -> DeadLetter:
        """Mark one as not to be replayed; raises NotFound, Conflict when it was discarded before."""
        sealed = await self._pool.sealing.seal_text(DISCARD_REASON, reason, run_id)
        who = principal()
        parameters = {"id": run_id, "by": who.user or who.key_id, "reason": sealed}
        async with self._pool.connection() as connection:
            done = await (await connection.execute(_SQL.discard, parameters)).fetchone()
        letter = await self.get(run_id)
        if done is None:
            msg = f"run {run_id} was discarded at {letter.discarded_at:%Y-%m-%d %H:%M:%S} UTC already"
            raise Conflict(msg, details={"run_id": str(run_id), "discarded_by": letter.discarded_by})
        return letter

    async def to_replay(
        self, codes: Sequence[str], *, most: int, after: timedelta, limit: int
    ) -> list[tuple[UUID, str]]:  # fmt: skip
        """Return letters of all tenants, with their tenants, that recovery may replay by itself."""
        parameters = {"codes": list(codes), "most": most, "after": after.total_seconds(), "limit": limit}
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.to_replay, parameters)).fetchall()
        return [(row[0], row[1]) for row in rows]


async def _opened(sealing: Sealing, row: tuple[Any, ...]) -> tuple[Any, ...]:
    if not sealing.on:
        return row
    changed = {
        _MESSAGE: await sealing.open_text(RUN_ERROR, row[_MESSAGE], row[0]),
        _REASON: await sealing.open_text(DISCARD_REASON, row[_REASON], row[0]),
    }
    return tuple(changed.get(number, value) for number, value in enumerate(row))


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    return DeadLetter(
        run_id=row[0], thread_id=row[1], agent=row[2], code=row[3] or _UNNAMED, message=row[_MESSAGE], attempts=row[5],
        created_at=row[6], failed_at=row[7], user=row[8], replays=row[9], discarded_at=row[10], discarded_by=row[11],
        discard_reason=row[_REASON],
    )  # fmt: skip
