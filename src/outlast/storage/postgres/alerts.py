"""Alerts, silences, and whose turn it is to look."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg import AsyncConnection

from outlast.domain.acting import across_tenants
from outlast.domain.alert import TEST_RULE, Alert, AlertNotice, AlertState, Decision, Silence, Standing, Watch, alert_of
from outlast.errors import Conflict, NotFound
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.telemetry import emit

_SQL = Queries("alerts")
_OUTBOX_SQL = Queries("notifications")
_NOT_STORED: Final = frozenset({"acknowledged_at", "acknowledged_by"})
_STORED: Final = tuple(name for name in Alert.__dataclass_fields__ if name not in _NOT_STORED)


class AlertStore:
    """Rounds act for all tenants; what people ask for is that of the context's tenant."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, *, every: timedelta) -> int | None:
        """Return the number of the round that this process is to do; None: it is nobody's turn, or another's."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.claim, {"every": every.total_seconds()})).fetchone()
        return None if row is None else row[0]

    async def settle(
        self, round_: int, decide: Callable[[Standing], Decision], *, flapping: timedelta
    ) -> Decision | None:
        """Decide, and store what was decided with the notices about it: all of it or nothing.

        None, and nothing is stored, when another process has begun a later round meanwhile.
        """
        with across_tenants():
            async with self._pool.transaction() as connection:
                row = await (await connection.execute(_SQL.begin, {"round": round_})).fetchone()
                if row is None:
                    return None
                decision = decide(await _standing(connection, row[0], flapping))
                await _store(connection, decision)
                if decision.notices:
                    emit("alert.before_commit", notices=len(decision.notices))
        return decision

    async def standing(self) -> Watch:
        """Return when somebody last looked, and how many alerts of all tenants fire, by severity."""
        with across_tenants():
            async with self._pool.connection() as connection:
                row = await (await connection.execute(_SQL.standing)).fetchone()
        assert row is not None  # noqa: S101 - a statement without FROM has a row
        return Watch(evaluated_at=row[0], firing=row[1])

    async def find(
        self, *, states: Sequence[AlertState] | None = None, rule: str | None = None, limit: int = 100
    ) -> list[Alert]:
        """Return alerts, open ones first, then the newest; None does not filter."""
        parameters = {"states": None if states is None else list(states), "rule": rule, "limit": limit}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.find, parameters)).fetchall()
        return [alert_of(row) for row in rows]

    async def get(self, ids: Sequence[UUID]) -> list[Alert]:
        """Return those of them that are there, oldest first."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.get, {"ids": list(ids)})).fetchall()
        return [alert_of(row) for row in rows]

    async def acknowledge(self, prefix: str, *, who: str) -> Alert:
        """Say that somebody takes care of it: it is not told again, only that it is over.

        `prefix`: the beginning of its id. Raises NotFound, and Conflict where it fits several or somebody has it.
        """
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.by_prefix, {"prefix": prefix})).fetchall()
            if not rows:
                raise NotFound("open alert", prefix, hint="; `outlast alerts list` shows them")
            if len(rows) > 1:
                raise Conflict(f"several alerts begin with {prefix!r}; give more of the id")
            alert = alert_of(rows[0])
            parameters = {"id": alert.id, "who": who}
            if await (await connection.execute(_SQL.acknowledge, parameters)).fetchone() is None:
                raise Conflict(f"alert {alert.id} was acknowledged by {alert.acknowledged_by}, or is over")
        return alert

    async def silence(self, rule: str, *, subject: str | None, seconds: float, why: str, who: str) -> Silence:
        """Tell nobody of a rule, or of one subject of it, for so long."""
        parameters = {"rule": rule, "subject": subject, "seconds": seconds, "why": why, "who": who}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.silence, parameters)).fetchall()
        return _silence(rows[0])

    async def unsilence(self, what: str) -> list[Silence]:
        """End silences, by the beginning of an id or by the name of the rule; return those that were ended."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.unsilence, {"what": what})).fetchall()
        return [_silence(row) for row in rows]

    async def silences(self) -> list[Silence]:
        """Return those that last, the first to end first."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.silences)).fetchall()
        return [_silence(row) for row in rows]

    async def test(self, text: str) -> UUID:
        """Make an alert that tells of nothing, with its notice; return its id. `end_test` ends it."""
        made = uuid4()
        notice = AlertNotice(
            event="alert", tenant="", key=f"alert:{made}:1", rule=TEST_RULE, agent="outlast", severity="error",
            group=made, alerts=[made],
        )  # fmt: skip
        async with self._pool.transaction() as connection:
            await connection.execute(_SQL.test, {"id": made, "text": text})
            await _put(connection, notice, own=True)
        return made

    async def end_test(self, alert: UUID) -> None:
        """End it; what it has opened is closed."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.end_test, {"id": alert})

    async def told(self, group: UUID) -> tuple[bool, list[tuple[str, str, int, str | None]]]:
        """Return whether it was decided who is told, and of each channel: its name, state, attempts and last error."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.told, {"group": group})).fetchall()
        return bool(rows and rows[0][0]), [(row[1], row[2], row[3], row[4]) for row in rows if row[1] is not None]

    async def is_heartbeat_due(self, round_: int, *, every: timedelta) -> bool:
        """Whether this round is to say that somebody looks."""
        async with self._pool.connection() as connection:
            parameters = {"round": round_, "every": every.total_seconds()}
            row = await (await connection.execute(_SQL.heartbeat_due, parameters)).fetchone()
        return row is not None and row[0]

    async def heartbeat_sent(self) -> None:
        """Write down that somebody was told that somebody looks."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.heartbeat_sent)

    async def signal(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        """Add to what processes count: by tenant, name and subject."""
        rows = [(*key, count) for key, count in counts.items()]
        names = ("tenants", "names", "subjects", "counts")
        with across_tenants():
            async with self._pool.connection() as connection:
                await connection.execute(_SQL.signal, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))

    async def forget(self, *, age: timedelta) -> int:
        """Delete alerts and silences that are over for so long, and old counts."""
        parameters = {"age": age.total_seconds()}
        with across_tenants():
            async with self._pool.connection() as connection:
                deleted = (await connection.execute(_SQL.forget, parameters)).rowcount
                await connection.execute(_SQL.forget_silences, parameters)
                await connection.execute(_SQL.forget_signals)
        return deleted


async def _standing(connection: AsyncConnection[Any], now: datetime, flapping: timedelta) -> Standing:
    opened = await (await connection.execute(_SQL.open)).fetchall()
    silences = await (await connection.execute(_SQL.silences)).fetchall()
    flaps = await (await connection.execute(_SQL.flaps, {"window": flapping.total_seconds()})).fetchall()
    return Standing(
        now=now,
        open=[alert_of(row) for row in opened],
        silences=[_silence(row) for row in silences],
        flaps={(row[0], row[1], row[2]): row[3] for row in flaps},
    )


async def _store(connection: AsyncConnection[Any], decision: Decision) -> None:
    if decision.changed:
        rows = [asdict(alert) for alert in decision.changed]
        columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in _STORED}
        columns["labels"] = [jsonb(labels) for labels in columns["labels"]]
        await connection.execute(_SQL.store, columns)
    if decision.gone:
        await connection.execute(_SQL.drop_pending, {"ids": list(decision.gone)})
    for notice in decision.notices:
        await _put(connection, notice)


async def _put(connection: AsyncConnection[Any], notice: AlertNotice, *, own: bool = False) -> None:
    parameters = {**asdict(notice), "alerts": list(notice.alerts), "tenant": None if own else notice.tenant}
    await connection.execute(_OUTBOX_SQL.put_alert, parameters)


def _silence(row: Sequence[Any]) -> Silence:
    return Silence(**dict(zip(Silence.__dataclass_fields__, row, strict=True)))
