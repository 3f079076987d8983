"""What a channel is, and what those that speak HTTP have in common."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

from outlast.domain.notification import Message
from outlast.domain.webhook import Networks, WebhookPolicy, WebhookTarget, check_webhook
from outlast.errors import InvalidInput
from outlast.secret import Secret

#: Posts to a public address, and returns the status of the answer.
Post = Callable[[WebhookTarget, Mapping[str, str], bytes], Awaitable[int]]
JSON: Final = {"content-type": "application/json"}
_GONE: Final = 410
#: What a receiver says of a message that it will not take the next time either.
REFUSED: Final = frozenset({400, _GONE, 413, 422})
GONE: Final = frozenset({_GONE})


class Undeliverable(Exception):
    """The receiver will never take this message."""


class Channel(Protocol):
    """One way to people."""

    @property
    def holds_incidents(self) -> bool:
        """Whether what it is told stays open there until it is told that it is over."""
        ...

    async def send(self, message: Message) -> None:
        """Return when the receiver has it; raises Undeliverable, or anything else: then it is tried again."""
        ...

    async def close(self, key: str) -> None:
        """Tell that what messages with this key were about is over, to a channel that holds incidents."""
        ...


def target_of(url: Secret, networks: Networks) -> WebhookTarget:
    """Return where an address of the settings leads; raises InvalidInput that does not repeat it.

    Any port will do, since an operator has chosen it; that it is a public address is looked at for each connection.
    """
    text = url.reveal()
    try:
        port = urlsplit(text).port
    except ValueError as error:
        raise InvalidInput("this is no URL", field="url") from error
    target = check_webhook(text, WebhookPolicy(allowed_ports=(port,) if port else (), networks=networks))
    if not target.host:
        raise InvalidInput("the address has to begin with https:// or http://", field="url")
    return target


def require_taken(status: int, *, refused: frozenset[int]) -> None:
    """Raise unless the receiver has taken a message."""
    if status in refused:
        msg = f"the receiver answered {status}: it does not take this message"
        raise Undeliverable(msg)
    if not 200 <= status < 300:  # noqa: PLR2004 - HTTP's own class
        msg = f"the receiver answered {status}"
        raise ConnectionError(msg)
