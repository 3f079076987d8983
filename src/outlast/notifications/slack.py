"""Slack, by an incoming webhook, in Block Kit."""

from typing import Any, Final

import orjson

from outlast.domain.notification import Message, Notice
from outlast.domain.webhook import WebhookTarget
from outlast.notifications import wording
from outlast.notifications.channel import JSON, REFUSED, Post, require_taken

# Slack's own limits.
_LONGEST_TEXT: Final = 3000
_LONGEST_HEADER: Final = 150


class Slack:
    """Posts to a channel of Slack; at least once, and Slack does not know a second time for one."""

    holds_incidents = False

    def __init__(self, target: WebhookTarget, post: Post) -> None:
        self._target = target
        self._post = post

    async def send(self, message: Message) -> None:
        """Post it."""
        body = orjson.dumps(payload(message))
        require_taken(await self._post(self._target, JSON, body), refused=REFUSED)

    async def close(self, key: str) -> None:
        """Do nothing: nothing is open there."""


def payload(message: Message) -> dict[str, Any]:
    """Return what Slack is sent. What an agent says is plain text there, so it can mention and link nobody."""
    title = wording.title(message)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(wording.cut(title, _LONGEST_HEADER))}]
    for notice in message.notices:
        blocks += _blocks(notice, grouped=len(message.notices) > 1)
    if more := wording.rest(message):
        blocks.append({"type": "section", "text": _plain(more)})
    # What is shown in notifications of phones.
    return {"text": escaped(title), "blocks": blocks}


def _blocks(notice: Notice, *, grouped: bool) -> list[dict[str, Any]]:
    said = [wording.headline(notice)] if grouped else wording.lines(notice)
    blocks: list[dict[str, Any]] = []
    if said:
        blocks.append({"type": "section", "text": _plain(wording.cut("\n".join(said), _LONGEST_TEXT))})
    where = f"<{_in_link(notice.link)}|Open>" if notice.link else f"`{escaped(notice.command)}`"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": where}]})
    return blocks


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def escaped(text: str) -> str:
    """Return a text that Slack shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _in_link(url: str) -> str:
    return escaped(url).replace("|", "%7C")
