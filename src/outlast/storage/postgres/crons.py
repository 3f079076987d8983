"""Crons in the database. `access` is a jsonpath that the metadata has to match; what it does not match is not found."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, cast
from uuid import UUID

import orjson
from psycopg import AsyncConnection, errors

from outlast.domain.acting import across_tenants
from outlast.domain.assistant import Assistant
from outlast.domain.cron import Cron, Timing
from outlast.errors import Conflict, NotFound
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.listing import Listing, Page
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import CRON_PAYLOAD, CRON_TEMPLATE
from outlast.storage.postgres.sealing import Sealing

_SQL = Queries("crons")
_KIND: Final = "cron"
Tx = AsyncConnection[Any]

CronSort = Literal[
    "cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"
]  # fmt: skip
Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronQuery:
    """Which crons are wanted; None is any."""

    assistant_id: UUID | None = None
    thread_id: str | None = None
    enabled: bool | None = None
    metadata: Mapping[str, Any] | None = None
    access: str | None = None

    @property
    def flags(self) -> set[str]:
        """The parts of the statement that are needed."""
        given = {
            "assistant_id": self.assistant_id, "thread_key": self.thread_id, "enabled": self.enabled,
            "metadata": self.metadata or None, "access": self.access,
        }  # fmt: skip
        return {part for part, value in given.items() if value is not None}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all parts."""
        return {
            "assistant_id": self.assistant_id,
            "thread_key": _key(self.thread_id),
            "enabled": self.enabled,
            "metadata": jsonb(dict(self.metadata or {})),
            "access": self.access,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CronContent:
    """What a client decides of a cron.

    `template` is what the runs are made of, as `crons.template` writes it, and `user_id` whose they are; a change that
    leaves the template out leaves both.
    """

    timing: Timing
    next_run_at: datetime | None
    payload: Mapping[str, Any]
    metadata: Mapping[str, Any]
    on_run_completed: Literal["delete", "keep"] | None
    template: bytes | None = None
    user_id: str | None = None


class Due(NamedTuple):
    """A cron whose time has come, and its thread if it has one."""

    id: UUID
    thread_key: UUID | None
    tenant: str
    user_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A cron that is due and locked, with its assistant as it is now."""

    cron_id: UUID
    due_at: datetime
    now: datetime
    thread_id: str | None
    timing: Timing
    template: bytes
    assistant: Assistant


class CronStore:
    """The table of crons."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._list = Listing(pool, ("crons", "search"), ("crons", "count"), _cron, _opened)

    async def now(self) -> datetime:
        """Return the time by which crons are due: the database's."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.now)
            return cast("tuple[datetime]", await cursor.fetchone())[0]

    async def create(self, cron_id: UUID, content: CronContent, *, assistant_id: UUID, thread_id: str | None) -> Cron:
        """Store a cron; raises NotFound when its assistant or thread has gone meanwhile, Conflict for a known id."""
        parameters = {
            **await self._content(content, cron_id), "assistant_id": assistant_id, "thread_key": _key(thread_id)
        }  # fmt: skip
        try:
            async with self._pool.connection() as connection:
                await connection.execute(_SQL.create, parameters)
        except errors.ForeignKeyViolation as error:
            kind, name = ("thread", thread_id) if "thread_key" in str(error) else ("assistant", assistant_id)
            raise NotFound(kind, str(name)) from error
        except errors.UniqueViolation as error:
            msg = f"Cron with ID {cron_id} already exists"
            raise Conflict(msg) from error
        return await self.get(cron_id)

    async def get(self, cron_id: UUID, *, access: str | None = None) -> Cron:
        """Return a cron; raises NotFound."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.get, {"id": cron_id, "access": access})
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(_KIND, str(cron_id))
        return _cron(await _opened(self._pool.sealing, row))

    async def update(self, seen: Cron, content: CronContent) -> Cron:
        """Store a change of the cron that was seen; raises Conflict when somebody else has changed it since."""
        parameters = {
            **await self._content(content, seen.id), "seen": seen.updated_at, "retimed": content.timing != seen.timing
        }  # fmt: skip
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.update, parameters)
            changed = await cursor.fetchone() is not None
        cron = await self.get(seen.id)
        if not changed:
            msg = f"cron {seen.id} was changed by somebody else at the same time; read it and try again"
            raise Conflict(msg)
        return cron

    async def _content(self, content: CronContent, cron_id: UUID) -> dict[str, Any]:
        sealing, plain = self._pool.sealing, _content(content)
        return {
            **plain,
            "id": cron_id,
            "payload": await sealing.seal(CRON_PAYLOAD, plain["payload"], cron_id),
            "template": await sealing.seal(CRON_TEMPLATE, plain["template"], cron_id),
        }

    async def delete(self, cron_id: UUID, *, access: str | None = None) -> None:
        """Delete a cron; its runs stay. Raises NotFound."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.delete, {"id": cron_id, "access": access})
            if await cursor.fetchone() is None:
                raise NotFound(_KIND, str(cron_id))

    async def search(self, query: CronQuery, *, sort_by: CronSort, order: Order, page: Page) -> tuple[list[Cron], int]:
        """Return one page, and how many match."""
        return await self._list.search(query, f"{sort_by}_{order}", page=page)

    async def count(self, query: CronQuery) -> int:
        """Return how many match."""
        return await self._list.count(query)

    # the scheduler's side

    async def due(self, *, agents: Sequence[str], limit: int) -> list[Due]:
        """Return crons of these agents whose time has come, the oldest ones first."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.due, {"agents": list(agents), "limit": limit})
                return [Due(*row) for row in await cursor.fetchall()]

    async def next_due(self, *, agents: Sequence[str]) -> float | None:
        """Return the seconds until the next tick (negative: it is due), None when there is none."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.next_due, {"agents": list(agents)})
                row = await cursor.fetchone()
        return row[0] if row else None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        """Open the transaction in which one tick is decided: its run is stored and the cron moved on, or neither."""
        async with self._pool.transaction() as connection:
            yield connection

    async def lock_in(self, connection: Tx, due: Due) -> Tick | None:
        """Lock a cron that is due, with its thread; None when another scheduler has this tick."""
        if due.thread_key is not None:
            await connection.execute(_SQL.lock_thread, {"thread_key": due.thread_key})
        cursor = await connection.execute(_SQL.lock_due, {"id": due.id})
        row = await cursor.fetchone()
        if row is None:
            return None
        template = await self._pool.sealing.open(CRON_TEMPLATE, row[7], row[0])
        return _tick((*row[:7], template, *row[8:]))

    async def advance_in(self, connection: Tx, cron_id: UUID, *, next_run_at: datetime | None) -> None:
        """Say when a locked cron is due again."""
        await connection.execute(_SQL.advance, {"id": cron_id, "next_run_at": next_run_at})


async def _opened(sealing: Sealing, row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:9], await sealing.open(CRON_PAYLOAD, row[9], row[0]), *row[10:])


def _key(thread_id: str | None) -> UUID | None:
    return None if thread_id is None else UUID(bytes=thread_key(thread_id))


def _content(content: CronContent) -> dict[str, Any]:
    timing = content.timing
    return {
        "schedule": timing.schedule,
        "timezone": timing.timezone,
        "end_at": timing.end_at,
        "enabled": timing.enabled,
        "next_run_at": content.next_run_at,
        "payload": orjson.dumps(content.payload),
        "template": content.template,
        "user_id": content.user_id,
        "metadata": jsonb(dict(content.metadata)),
        "on_run_completed": content.on_run_completed,
    }


def _cron(row: tuple[Any, ...]) -> Cron:
    return Cron(
        id=row[0], assistant_id=row[1], thread_id=row[2], user_id=row[3],
        timing=Timing(schedule=row[4], timezone=row[5], end_at=row[6], enabled=row[7]),
        next_run_at=row[8], payload=orjson.loads(row[9]), metadata=row[10], on_run_completed=row[11],
        created_at=row[12], updated_at=row[13],
    )  # fmt: skip


def _tick(row: tuple[Any, ...]) -> Tick:
    return Tick(
        cron_id=row[0], due_at=row[1], now=row[2], thread_id=row[3],
        timing=Timing(schedule=row[4], timezone=row[5], end_at=row[6]), template=row[7],
        assistant=Assistant(
            id=row[8], graph_id=row[9], name=row[10], description=row[11], config=row[12], context=row[13],
            metadata=row[14], version=row[15], created_at=row[16], updated_at=row[17],
        ),
    )  # fmt: skip
