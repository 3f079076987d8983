"""PagerDuty, by its Events API v2: an incident for each question and each failed run, which is closed with it."""

from typing import Any, Final

import orjson

from outlast.domain.notification import Message
from outlast.domain.webhook import WebhookTarget
from outlast.notifications import wording
from outlast.notifications.channel import JSON, REFUSED, Post, require_taken
from outlast.secret import Secret

EVENTS_URL: Final = "https://events.pagerduty.com/v2/enqueue"
# PagerDuty's own limit.
_LONGEST_SUMMARY: Final = 1024


class PagerDuty:
    """Opens incidents and closes them. What is told twice of one question is one incident there."""

    holds_incidents = True

    def __init__(self, target: WebhookTarget, post: Post, key: Secret) -> None:
        self._target = target
        self._post = post
        self._key = key

    async def send(self, message: Message) -> None:
        """Open the incident, or say more about one that is open."""
        await self._enqueue(opening(message))

    async def close(self, key: str) -> None:
        """Close the incident."""
        await self._enqueue({"event_action": "resolve", "dedup_key": _dedup(key)})

    async def _enqueue(self, event: dict[str, Any]) -> None:
        body = orjson.dumps({"routing_key": self._key.reveal(), **event})
        require_taken(await self._post(self._target, JSON, body), refused=REFUSED)


def opening(message: Message) -> dict[str, Any]:
    """Return the event that opens an incident."""
    first = message.notices[0]
    links = [{"href": notice.link, "text": wording.headline(notice)} for notice in message.notices if notice.link]
    return {
        "event_action": "trigger",
        "dedup_key": _dedup(message.key),
        "client": "Outlast",
        **({"client_url": first.link} if first.link else {}),
        "links": links,
        "payload": {
            "summary": wording.cut(wording.title(message), _LONGEST_SUMMARY),
            "source": "outlast",
            "severity": message.severity,
            "component": first.agent,
            "group": message.tenant,
            "class": first.kind,
            "custom_details": {
                "text": "\n".join(wording.lines(first)),
                "commands": [notice.command for notice in message.notices],
                "count": message.count,
            },
        },
    }


def _dedup(key: str) -> str:
    return f"outlast:{key}"
