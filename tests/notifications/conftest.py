"""A worker that runs agents and tells nobody, and senders that a test lets do one round at a time."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from outlast.agents.project import Project, find_project
from outlast.domain.question import Question
from outlast.domain.run import NewRun, RunStatus
from outlast.notifications.sender import NotificationSender
from outlast.runtime import Runtime
from outlast.settings import RetrySettings, WebhookSettings
from outlast.settings_inbox import InboxSettings
from outlast.settings_notifications import NotificationSettings
from outlast.storage.postgres.notifications import NotificationStore
from outlast.testing.postgres import Databases
from outlast.webhooks.guard import Outbound
from outlast.workers import notifying
from runtimes import opener
from waiting import until

LOOPBACK = (ip_network("127.0.0.0/8"),)
QUICK = {"base": timedelta(milliseconds=10), "cap": timedelta(milliseconds=20), "incidents": timedelta(0)}


@dataclass
class Desk:
    """What a test works with."""

    runtime: Runtime
    outbounds: list[Outbound] = field(default_factory=list)

    async def start(self, agent: str, given: Any) -> UUID:
        run = uuid4()
        new = NewRun(id=run, thread_id=str(run), agent=agent, input=given, config={}, metadata={}, max_attempts=1)
        await self.runtime.queue.enqueue(new)
        return run

    async def ask(self, value: Any) -> Question:
        """Have an agent ask this; it waits when this returns."""
        run = await self.start("asks", value)
        await self.is_now(run, RunStatus.WAITING)
        ((question,), _) = await self.runtime.inbox().find(run_id=run)
        return question

    async def fail(self, say: str) -> UUID:
        run = await self.start("breaks", {"say": say})
        await self.is_now(run, RunStatus.FAILED)
        return run

    async def is_now(self, run: UUID, status: RunStatus) -> None:
        async def there() -> bool:
            return (await self.runtime.queue.store.get(run)).status is status

        await until(there, 15, f"run {run} is not {status}")

    def sender(self, channels: dict[str, Any], **more: Any) -> NotificationSender:
        """Return one with these channels; each is another process's, so to say."""
        told = NotificationSettings.model_validate({**QUICK, **more, "channels": channels})
        settings = self.runtime.settings.model_copy(update={"notifications": told})
        outbound = Outbound(LOOPBACK, limit=timedelta(seconds=5))
        self.outbounds.append(outbound)
        return notifying.notification_sender(
            settings, self.runtime.pool, outbound, runs=self.runtime.queue.store, secrets=self.runtime.secrets
        )

    @property
    def store(self) -> NotificationStore:
        return NotificationStore(self.runtime.pool)

    async def let_pass(self) -> None:
        """Have the time come of everything that gathers."""
        async with self.runtime.pool.transaction() as connection:
            await connection.execute("UPDATE notification_messages SET due_at = now() WHERE state = 'pending'")

    async def states(self) -> list[str]:
        return sorted(message.state for message in await self.store.find(limit=1000))

    async def sent(self, sender: NotificationSender, *states: str) -> None:
        """Let a sender work until the messages are in these states."""

        async def there() -> bool:
            await sender.round()
            return await self.states() == sorted(states)

        await until(there, 10, f"messages are not {states}")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("notifications")
    shutil.copy(Path(__file__).parent / "notify_agents.py", root / "notify_agents.py")
    (root / "outlast.toml").write_text(
        '[agents]\nasks = "./notify_agents.py:asks"\nbreaks = "./notify_agents.py:breaks"\n'
    )
    return find_project(root)


@pytest.fixture
async def desk(databases: Databases, project: Project) -> AsyncIterator[Desk]:
    open_runtime = opener(
        project,
        application_name="outlast-test-notifications",
        pool_timeout_seconds=5,
        retry=RetrySettings(base=timedelta(0)),
        webhooks=WebhookSettings(networks=LOOPBACK),
        inbox=InboxSettings(url="https://agents.example.com/"),
    )
    url = await databases.create()
    async with open_runtime(url) as runtime, _executing(runtime):
        desk = Desk(runtime)
        yield desk
        for outbound in desk.outbounds:
            await outbound.aclose()
    await databases.leave(url)


@asynccontextmanager
async def _executing(runtime: Runtime) -> AsyncIterator[None]:
    """The worker alone: no sender runs beside it."""
    worker = runtime.worker()
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.drain()
        await task
