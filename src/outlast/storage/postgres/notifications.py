"""The outbox of notifications, and the messages that go out of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg import AsyncConnection

from outlast.domain.acting import across_tenants
from outlast.domain.notification import Incident, Item, MessageState, MessageView, Sending, Unrouted
from outlast.domain.redaction import redacted
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.together import Executes
from outlast.telemetry import emit

_SQL = Queries("notifications")
_LOCK_CLASS: Final = 0x6F756E6F
_LONGEST_ERROR: Final = 1000
#: The channels that are told of something.
Route = Callable[[Unrouted], Iterable[str]]
#: A tenant and a channel: what a message belongs to.
_Way = tuple[str, str]
#: Id, tenant, channel, key, whether it is a group, and seconds until it is due.
_MessageRow = tuple[UUID, str, str, str, bool, float]


class NotificationStore:
    """Gives notifications to channels, takes messages that are due and writes down what became of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def route(self, route: Route, *, burst: int, window: timedelta, limit: int) -> int:
        """Make messages of the oldest notifications that have none; return how many notifications that were.

        A channel gets `burst` messages in a window; what comes beyond that gathers in one, which is sent when the
        window is over. One process at a time does this, the others return 0. All of it happens or nothing.
        """
        with across_tenants():
            async with self._pool.connection() as connection:
                if not await _holds(connection, _SQL.are_new):
                    return 0
            async with self._pool.transaction() as connection:
                if not await _holds(connection, _SQL.is_alone, {"class_id": _LOCK_CLASS}):
                    return 0
                rows = await (await connection.execute(_SQL.unrouted, {"limit": limit})).fetchall()
                if not rows:
                    return 0
                found = [Unrouted._make(row) for row in rows]
                told = [(item, channel) for item in found for channel in dict.fromkeys(route(item))]
                await _make_messages(connection, told, burst=burst, window=window)
                await connection.execute(_SQL.routed, {"ids": [item.id for item in found]})
                emit("notification.before_commit", count=len(found))
        return len(found)

    async def take(self, *, limit: int, lease: timedelta) -> list[Sending]:
        """Take due messages of all tenants, the longest due first."""
        with across_tenants():
            async with self._pool.connection() as connection:
                parameters = {"limit": limit, "lease_seconds": lease.total_seconds()}
                rows = await (await connection.execute(_SQL.take, parameters)).fetchall()
        return [
            Sending(
                id=id_, tenant=tenant, channel=channel, key=key, grouped=grouped, incident=incident, attempts=attempts,
                age=timedelta(seconds=age),
            ) for id_, tenant, channel, key, grouped, incident, attempts, age in rows
        ]  # fmt: skip

    async def items(self, message: UUID, *, limit: int) -> tuple[list[Item], int]:
        """Return what a message tells that still matters, the first of it, and how many things that are."""
        async with self._pool.connection() as connection:
            parameters = {"message": message, "limit": limit}
            rows = await (await connection.execute(_SQL.items, parameters)).fetchall()
        return [Item._make(row[:7]) for row in rows], rows[0][7] if rows else 0

    async def settled(
        self, sending: Sending, state: MessageState, *, incident: Incident | None = None, error: str | None = None
    ) -> None:
        """Write down what became of a message for good."""
        await self._write(_SQL.settled, sending, error, {"state": state, "incident": incident or sending.incident})

    async def retry_later(self, sending: Sending, error: str, *, retry_in: timedelta) -> None:
        """Write down why an attempt failed, and when the next one is due."""
        await self._write(_SQL.retry_later, sending, error, {"retry_seconds": retry_in.total_seconds()})

    async def _write(
        self, statement: bytes, sending: Sending, error: str | None, more: Mapping[str, Any]
    ) -> None:  # fmt: skip
        told = None if error is None else redacted(error).replace("\0", "")[:_LONGEST_ERROR]
        async with self._pool.connection() as connection:
            parameters = {"id": sending.id, "attempts": sending.attempts, "error": told, **more}
            await connection.execute(statement, parameters)

    async def close_incidents(self) -> int:
        """Make due again what has to be closed at its receiver; return how much that was."""
        with across_tenants():
            async with self._pool.connection() as connection:
                return (await connection.execute(_SQL.close_incidents)).rowcount

    async def find(
        self, *, state: MessageState | None = None, channel: str | None = None, limit: int = 20
    ) -> list[MessageView]:
        """Return messages of this tenant, newest first; None does not filter."""
        async with self._pool.connection() as connection:
            parameters = {"state": state, "channel": channel, "limit": limit}
            rows = await (await connection.execute(_SQL.find, parameters)).fetchall()
        return [MessageView(*row) for row in rows]

    async def send_again(self, message: UUID) -> str | None:
        """Make a message due that was given up; return its channel, None where there is no such message."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.send_again, {"id": message})).fetchone()
        return None if row is None else row[0]

    async def forget(self, *, age: timedelta, limit: int = 1000) -> int:
        """Delete messages, and notifications that nobody was told or whose messages are gone, by their age."""
        parameters = {"age": age.total_seconds(), "limit": limit}
        with across_tenants():
            async with self._pool.connection() as connection:
                deleted = (await connection.execute(_SQL.forget_messages, parameters)).rowcount
                return deleted + (await connection.execute(_SQL.forget_told, parameters)).rowcount


@dataclass(slots=True)
class _Rows:
    """New rows of messages and of what they tell, by column."""

    messages: list[_MessageRow] = field(default_factory=list[_MessageRow])
    items: list[tuple[str, UUID, str, UUID]] = field(default_factory=list[tuple[str, UUID, str, UUID]])

    def add(self, way: _Way, key: str) -> UUID:
        """Add a message about one thing."""
        self.messages.append((made := uuid4(), *way, key, False, 0.0))
        return made

    def add_group(self, way: _Way, *, delay: timedelta) -> UUID:
        """Add a message that gathers for so long."""
        made = uuid4()
        self.messages.append((made, *way, f"message:{made}", True, delay.total_seconds()))
        return made


async def _make_messages(
    connection: AsyncConnection[Any], told: Sequence[tuple[Unrouted, str]], *, burst: int, window: timedelta
) -> None:
    if not told:
        return
    ways: list[_Way] = list(dict.fromkeys((item.tenant, channel) for item, channel in told))
    parameters = {
        "tenants": [tenant for tenant, _ in ways], "channels": [channel for _, channel in ways],
        "window_seconds": window.total_seconds(),
    }  # fmt: skip
    rows = await (await connection.execute(_SQL.lately, parameters)).fetchall()
    sent, group = Counter({(row[0], row[1]): row[2] for row in rows}), {(row[0], row[1]): row[3] for row in rows}
    new = _Rows()
    for item, channel in told:
        way = (item.tenant, channel)
        if sent[way] < burst and group[way] is None:
            sent[way] += 1
            message = new.add(way, item.key)
        else:
            # What comes while a group gathers goes with it: it is still the same storm.
            message = group[way] = group[way] or new.add_group(way, delay=window)
        new.items.append((item.tenant, item.id, channel, message))
    messages = _columns(("ids", "tenants", "channels", "keys", "grouped", "delays"), new.messages)
    await connection.execute(_SQL.add_messages, messages)
    await connection.execute(_SQL.add_items, _columns(("tenants", "notifications", "channels", "messages"), new.items))


async def _holds(connection: Executes, statement: bytes, parameters: Mapping[str, Any] | None = None) -> bool:
    row = await (await connection.execute(statement, parameters or {})).fetchone()
    return row is not None and row[0]


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
