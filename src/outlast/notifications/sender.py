"""Gives notifications to channels and sends what is due: any number of senders may run at once.

A message is at least once at its receiver, with one id for all attempts. Nothing is locked while a receiver thinks; a
sender that dies holds its messages up for the length of a lease. What a message says is read when it is sent, and what
nobody has to look at any more by then is not sent.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Final

from outlast.domain.acting import acting_for
from outlast.domain.backoff import full_jitter
from outlast.domain.notification import Item, Message, Notice, Sending
from outlast.notifications import wording
from outlast.notifications.channel import Channel, Undeliverable
from outlast.notifications.routing import channels_for
from outlast.queues.outbox import BATCH, LEASE_MARGIN, send_for_ever
from outlast.queues.wakeup import Wakeup
from outlast.settings_notifications import NotificationSettings
from outlast.storage.postgres.notifications import NotificationStore
from outlast.telemetry import emit

_MOST_ROUTED: Final = 1000
#: So many things of a group are told one by one.
_SHOWN: Final = 20


class NotificationSender:
    """Routes and sends; `run` until cancelled."""

    def __init__(
        self,
        store: NotificationStore,
        channels: Mapping[str, Channel],
        describe: Callable[[Item], Awaitable[Notice | None]],
        *,
        settings: NotificationSettings,
        rng: Random,
    ) -> None:
        self._store = store
        self._channels = channels
        self._describe = describe
        self._settings = settings
        self._rng = rng
        self._holds_incidents = any(channel.holds_incidents for channel in channels.values())
        self._incidents_due_at = 0.0

    async def run(self, wakeup: Wakeup) -> None:
        """Look for ever: when a run has ended or asks something, and at least as often as the settings say."""
        await send_for_ever(wakeup, self.round, poll=self._settings.poll, loop="notifications")

    async def round(self) -> int:
        """Route what is new and send what is due, up to a batch; return a batch's size when more is waiting."""
        settings = self._settings
        route = partial(channels_for, settings=settings)
        routed = await self._store.route(route, burst=settings.burst, window=settings.window, limit=_MOST_ROUTED)
        if self._holds_incidents and time.monotonic() >= self._incidents_due_at:
            await self._store.close_incidents()
            self._incidents_due_at = time.monotonic() + settings.incidents.total_seconds()
        taken = await self._store.take(limit=BATCH, lease=settings.timeout + LEASE_MARGIN)
        await asyncio.gather(*(self._deliver(sending) for sending in taken))
        return BATCH if routed == _MOST_ROUTED else len(taken)

    async def _deliver(self, sending: Sending) -> None:
        with acting_for(sending.tenant):
            try:
                async with asyncio.timeout(self._settings.timeout.total_seconds()):
                    await self._attempt(sending)
            except Undeliverable as error:
                await self._give_up(sending, str(error))
            # Whatever a network does, and whatever a receiver answers.
            except Exception as error:  # noqa: BLE001
                await self._failed(sending, f"{type(error).__name__}: {error}")

    async def _attempt(self, sending: Sending) -> None:
        channel = self._channels.get(sending.channel)
        if channel is None:
            # Another process may know it: settings change while a deployment rolls.
            msg = f"there is no channel {sending.channel!r} in [notifications.channels]"
            raise LookupError(msg)
        if sending.incident == "closing":
            await self._close(channel, sending)
            return
        message = await self._written(sending)
        if message is not None:
            await channel.send(
                message if self._settings.channels[sending.channel].content else wording.without_content(message)
            )
            emit("notification.sent", message=str(sending.id), channel=sending.channel)
            await self._store.settled(sending, "sent", incident="open" if channel.holds_incidents else None)
            emit("notification.delivered", channel=sending.channel, attempts=sending.attempts, count=message.count)
        elif channel.holds_incidents and sending.attempts > 1:
            # It may have arrived, although we never learned of it.
            await self._close(channel, sending)
        else:
            await self._store.settled(sending, "dropped")

    async def _written(self, sending: Sending) -> Message | None:
        """Return the message; None: nobody has to look any more."""
        items, count = await self._store.items(sending.id, limit=_SHOWN)
        notices = [notice for item in items if (notice := await self._describe(item)) is not None]
        if not notices:
            return None
        return Message(
            id=sending.id, tenant=sending.tenant, key=sending.key, notices=tuple(notices), grouped=sending.grouped,
            count=count - (len(items) - len(notices)), sent_at=datetime.now(UTC),
        )  # fmt: skip

    async def _close(self, channel: Channel, sending: Sending) -> None:
        await channel.close(sending.key)
        await self._store.settled(sending, "sent", incident="closed")

    async def _failed(self, sending: Sending, error: str) -> None:
        if sending.age >= self._settings.give_up:
            await self._give_up(sending, error)
            return
        settings = self._settings
        wait = full_jitter(sending.attempts, base=settings.base, cap=settings.cap, rng=self._rng)
        await self._store.retry_later(sending, error, retry_in=wait)

    async def _give_up(self, sending: Sending, error: str) -> None:
        await self._store.settled(sending, "failed", error=error)
        emit("notification.failed", channel=sending.channel, attempts=sending.attempts, error=error)
