"""Notifications, put together: their outbox, the channels of the settings, and what reaches the outside."""

import asyncio
from datetime import timedelta
from random import SystemRandom

from outlast.notifications.building import Outside, channels_of
from outlast.notifications.channel import Post
from outlast.notifications.describing import Describing
from outlast.notifications.sender import NotificationSender
from outlast.recovery.upkeep import Job
from outlast.settings import Settings
from outlast.storage.postgres.alerts import AlertStore
from outlast.storage.postgres.inbox import InboxStore
from outlast.storage.postgres.notifications import NotificationStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.secrets import SharedSecrets
from outlast.storage.postgres.workers import WorkerStore
from outlast.telemetry import emit
from outlast.webhooks.signing import WEBHOOK_SECRET, parse_secret, signed

_BATCH = 1000


def outside_of(settings: Settings, secrets: SharedSecrets, post: Post) -> Outside:
    """Return how channels reach the outside: as webhooks do, with the same secret unless they have their own."""
    given = settings.webhooks.secret

    async def shared_secret() -> bytes:
        return parse_secret(given.reveal()) if given else await secrets.get(WEBHOOK_SECRET)

    return Outside(
        post=post,
        networks=settings.webhooks.networks,
        signed=signed,
        parse_secret=parse_secret,
        shared_secret=shared_secret,
    )


def notification_sender(
    settings: Settings, pool: Pool, post: Post, *, runs: RunStore, secrets: SharedSecrets
) -> NotificationSender:
    """Build what tells people; raises ConfigurationError that names the channel that is wrong."""
    return NotificationSender(
        NotificationStore(pool),
        channels_of(settings.notifications, outside_of(settings, secrets, post)),
        Describing(InboxStore(pool, runs).get, runs.get, AlertStore(pool).get, url=settings.inbox.url),
        settings=settings.notifications,
        rng=SystemRandom(),
    )


async def tell_when_alone(sender: NotificationSender, workers: WorkerStore, settings: Settings) -> None:
    """Send, until cancelled, while no live worker does: an API that is left alone still says so."""
    lease, poll = settings.worker.lease.total_seconds(), settings.notifications.poll.total_seconds()
    while True:
        await asyncio.sleep(poll)
        try:
            if not any(worker.age_seconds < lease for worker in await workers.live()):
                await sender.round()
        # The loop must outlive whatever one round meets, or nobody is ever told anything.
        except Exception as error:  # noqa: BLE001
            emit("loop.failed", loop="notifications", error=type(error).__name__)


def forgetting(settings: Settings, pool: Pool) -> Job:
    """Return the job that deletes what was told long ago."""
    store, retention = NotificationStore(pool), settings.retention

    async def forget() -> int:
        return await _forget(store, retention.deliveries)

    return Job("notifications", retention.sweep, forget)


async def _forget(store: NotificationStore, age: timedelta) -> int:
    deleted = done = await store.forget(age=age, limit=_BATCH)
    while done >= _BATCH:
        deleted += (done := await store.forget(age=age, limit=_BATCH))
    return deleted
