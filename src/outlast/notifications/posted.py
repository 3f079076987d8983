"""A signed webhook, by Standard Webhooks: for programs of your own."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from outlast.domain.notification import Message, Notice
from outlast.domain.webhook import WebhookTarget
from outlast.notifications import wording
from outlast.notifications.channel import GONE, JSON, Post, require_taken

#: Returns the headers that prove who has sent a body: the id of a message, when it was sent, the body.
Sign = Callable[[UUID, datetime, bytes], Awaitable[dict[str, str]]]


class SignedWebhook:
    """Posts to a program. All attempts of a message have one `webhook-id`."""

    holds_incidents = False

    def __init__(self, target: WebhookTarget, post: Post, sign: Sign) -> None:
        self._target = target
        self._post = post
        self._sign = sign

    async def send(self, message: Message) -> None:
        """Post it."""
        body = orjson.dumps(payload(message))
        headers = {**JSON, **await self._sign(message.id, message.sent_at, body)}
        require_taken(await self._post(self._target, headers, body), refused=GONE)

    async def close(self, key: str) -> None:
        """Do nothing: nothing is open there."""


def payload(message: Message) -> dict[str, Any]:
    """Return what is posted."""
    return {
        "type": "outlast.notification",
        "timestamp": message.sent_at,
        "data": {
            "id": str(message.id),
            "tenant": message.tenant,
            "title": wording.title(message),
            "severity": message.severity,
            "count": message.count,
            "notices": [_notice(notice) for notice in message.notices],
        },
    }


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "event": notice.event,
        "severity": notice.severity,
        "agent": notice.agent,
        "kind": notice.kind,
        "run_id": None if notice.run_id is None else str(notice.run_id),
        "question_id": None if notice.question_id is None else str(notice.question_id),
        "text": "\n".join(wording.lines(notice)),
        "assignee": notice.assignee,
        "due_at": notice.due_at,
        "default": notice.default,
        "link": notice.link,
    }
