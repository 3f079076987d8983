"""Sends the reports of the outbox: as often as it takes, and any number of senders may run at once.

A report is at least once at its receiver, with one id for all attempts. A sender that dies while it sends holds its
report up for the length of a lease; nothing is locked while the receiver thinks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from random import Random
from typing import Any, Final
from uuid import UUID

import orjson

from outlast.domain.acting import acting_for
from outlast.domain.backoff import full_jitter
from outlast.domain.run import RunStatus, RunView
from outlast.domain.webhook import WebhookPolicy, WebhookTarget, check_webhook
from outlast.domain.wire import error_body, result_body, run_body
from outlast.errors import InvalidInput
from outlast.queues.outbox import BATCH, LEASE_MARGIN, send_for_ever
from outlast.queues.wakeup import Wakeup
from outlast.settings import WebhookSettings
from outlast.storage.postgres.webhooks import Delivery, WebhookStore
from outlast.telemetry import about, emit, span, trace_headers
from outlast.webhooks.signing import signed

#: Posts and returns the status of the answer.
Post = Callable[[WebhookTarget, Mapping[str, str], bytes], Awaitable[int]]

_GONE: Final = 410


class WebhookSender:
    """Sends what is due; `run` until cancelled. `own`: reports to paths of the API itself, and only those."""

    def __init__(
        self,
        store: WebhookStore,
        load: Callable[[UUID], Awaitable[RunView]],
        post: Post,
        *,
        own: bool,
        policy: WebhookPolicy,
        headers: Mapping[str, str],
        secret: Callable[[], Awaitable[bytes]],
        settings: WebhookSettings,
        rng: Random,
    ) -> None:
        self._store = store
        self._load = load
        self._post = post
        self._own = own
        self._policy = policy
        self._headers = {"user-agent": f"outlast/{version('outlast')}", **headers, "content-type": "application/json"}
        self._secret = secret
        self._settings = settings
        self._rng = rng

    async def run(self, wakeup: Wakeup) -> None:
        """Send for ever: when a run has ended somewhere, and at least as often as the settings say."""
        await send_for_ever(wakeup, self.round, poll=self._settings.poll, loop="webhooks")

    async def round(self) -> int:
        """Send what is due, up to a batch; return how many reports that was."""
        lease = self._settings.timeout + LEASE_MARGIN
        deliveries = await self._store.take(own=self._own, limit=BATCH, lease=lease)
        await asyncio.gather(*(self._deliver(delivery) for delivery in deliveries))
        return len(deliveries)

    async def _deliver(self, delivery: Delivery) -> None:
        with acting_for(delivery.tenant):
            await self._attempt(delivery)

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            status = await self._send(delivery)
        except InvalidInput as error:
            # The project's policy has changed since; trying again changes nothing.
            await self._give_up(delivery, str(error))
        # Whatever a network does, and whatever a receiver answers.
        except Exception as error:  # noqa: BLE001
            await self._failed(delivery, f"{type(error).__name__}: {error}")
        else:
            if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own class
                await self._store.delivered(delivery)
                emit("webhook.delivered", run=str(delivery.run_id), attempts=delivery.attempts)
            elif status == _GONE:
                await self._give_up(delivery, "the receiver answered 410: it wants no more")
            else:
                await self._failed(delivery, f"the receiver answered {status}")

    async def _send(self, delivery: Delivery) -> int:
        target = check_webhook(delivery.url, self._policy)
        sent_at = datetime.now(UTC)
        run = await self._load(delivery.run_id)
        body = orjson.dumps(report(run, sent_at), default=str)
        headers = {**self._headers, **signed(await self._secret(), delivery.id, sent_at, body)}
        traceparent = run.options.traceparent
        with (
            about(traceparent=traceparent),
            span(
                "webhook", run_id=run.id, thread_id=run.thread_id, agent=run.agent, attempt=delivery.attempts,
                traceparent=traceparent,
            ) as current,
        ):  # fmt: skip
            status = await self._post(target, {**trace_headers(), **headers}, body)
            current.set(status=status)
            return status

    async def _failed(self, delivery: Delivery, error: str) -> None:
        if delivery.age >= self._settings.give_up:
            await self._give_up(delivery, error)
            return
        wait = full_jitter(delivery.attempts, base=self._settings.base, cap=self._settings.cap, rng=self._rng)
        await self._store.failed(delivery, error, retry_in=wait)

    async def _give_up(self, delivery: Delivery, error: str) -> None:
        await self._store.failed(delivery, error, retry_in=None)
        emit("webhook.failed", run=str(delivery.run_id), attempts=delivery.attempts, error=error)


def report(run: RunView, sent_at: datetime) -> dict[str, Any]:
    """Return what a receiver reads: the run as the API shows it, with its values or its error."""
    body = {
        **run_body(run),
        "run_started_at": run.started_at,
        "run_ended_at": run.ended_at,
        "webhook_sent_at": sent_at,
    }
    if run.status is RunStatus.FAILED:
        return {**body, "values": None, "error": error_body(run.error_code or "error", run.error_message)["message"]}
    return {**body, "values": result_body(run, run.output)}
