"""A room from which a test watches: rules, rounds and senders that do one thing at a time, on a database of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from outlast.domain.acting import across_tenants, acting_for
from outlast.domain.alert import Alert, Decision
from outlast.domain.run import NewRun
from outlast.monitoring.alerts.evaluator import Evaluator
from outlast.notifications.sender import NotificationSender
from outlast.settings import DatabaseSettings, Settings, WebhookSettings
from outlast.settings_alerts import AlertSettings
from outlast.settings_notifications import NotificationSettings
from outlast.storage.postgres.alerts import AlertStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.secrets import SharedSecrets
from outlast.webhooks.guard import Outbound
from outlast.workers import alerting, notifying

LOOPBACK = (ip_network("127.0.0.0/8"),)
QUICK = {"base": timedelta(milliseconds=10), "cap": timedelta(milliseconds=20), "incidents": timedelta(0)}


@dataclass
class Room:
    """What a test works with."""

    pool: Pool
    database: DatabaseSettings
    outbound: Outbound
    rng: Random = field(default_factory=lambda: Random(7))

    @property
    def store(self) -> AlertStore:
        return AlertStore(self.pool)

    def settings(self, alerts: dict[str, Any] | None = None, notifications: dict[str, Any] | None = None) -> Settings:
        return Settings(
            database=self.database,
            webhooks=WebhookSettings(networks=LOOPBACK),
            alerts=AlertSettings.model_validate(alerts or {}),
            notifications=NotificationSettings.model_validate({**QUICK, **(notifications or {})}),
        )

    def evaluator(self, **alerts: Any) -> Evaluator:
        """Return one with these settings; each is another process's, so to say."""
        return alerting.evaluator(self.settings(alerts), self.pool, self.outbound)

    def sender(self, channels: dict[str, Any], **more: Any) -> NotificationSender:
        settings = self.settings(notifications={**more, "channels": channels})
        runs, secrets = RunStore(self.pool), SharedSecrets(self.pool)
        return notifying.notification_sender(settings, self.pool, self.outbound, runs=runs, secrets=secrets)

    async def round(self, evaluator: Evaluator) -> Decision:
        """Have the time come of the next round, and do it."""
        await self.execute("UPDATE alert_clock SET due_at = now() - interval '1 second'")
        decision = await evaluator.round()
        assert decision is not None
        return decision

    async def let_pass(self, **time: float) -> None:
        """Have all that is known of alerts have happened so much earlier."""
        seconds = timedelta(**time).total_seconds()
        names = ("started_at", "fired_at", "clear_since", "resolved_at", "notified_at")
        shifted = ", ".join(f"{name} = {name} - make_interval(secs => {seconds})" for name in names)
        await self.execute(f"UPDATE alerts SET {shifted}")

    async def loops_fail(self, count: int = 20, loop: str = "claim", tenant: str = "default") -> None:
        await self.store.signal({(tenant, "loop_failures", loop): count})

    async def loops_are_well(self) -> None:
        await self.execute("DELETE FROM alert_signals")

    async def due(self, agent: str, tenant: str = "default") -> UUID:
        """Put a run into the queue; nobody takes it."""
        run = uuid4()
        with acting_for(tenant):
            await RunStore(self.pool).enqueue(
                NewRun(id=run, thread_id=str(run), agent=agent, input=None, config={}, metadata={})
            )
        return run

    async def alerts(self, rule: str | None = None) -> list[Alert]:
        with across_tenants():
            return await self.store.find(rule=rule, limit=1000)

    async def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with across_tenants():
            async with self.pool.transaction() as connection:
                cursor = await connection.execute(statement.encode(), parameters)
                return await cursor.fetchall() if cursor.description else []

    async def notices(self) -> list[tuple[Any, ...]]:
        """Return what is in the outbox, oldest first: event, rule, agent, severity."""
        return await self.execute("SELECT event, kind, agent, severity FROM notifications ORDER BY created_at, key")


@pytest.fixture
async def room(pool: Pool, database: DatabaseSettings) -> AsyncIterator[Room]:
    outbound = Outbound(LOOPBACK, limit=timedelta(seconds=5))
    yield Room(pool, database, outbound)
    await outbound.aclose()
