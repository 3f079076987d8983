"""Everything else, through `apprise` (the extra of that name): Teams, Telegram, Matrix, SMS and a hundred more."""

import asyncio
from typing import Any, Final

from outlast.domain.notification import Message, Severity
from outlast.errors import ConfigurationError
from outlast.notifications import wording
from outlast.secret import Secret

_TYPES: Final[dict[Severity, str]] = {
    "info": "info",
    "warning": "warning",
    "error": "failure",
}


class ByApprise:
    """Hands messages to apprise, in a thread. It tells success from failure, and no more."""

    holds_incidents = False

    def __init__(self, url: Secret, *, timeout: float) -> None:
        """Raise ConfigurationError where the extra is not installed, or apprise does not know the address."""
        try:
            from apprise import Apprise  # noqa: PLC0415 - an extra
        except ImportError as error:
            msg = "a channel of type 'apprise' needs the extra `apprise`: pip install 'outlast[apprise]'"
            raise ConfigurationError(msg) from error
        # Its own annotations are incomplete.
        self._apprise: Any = Apprise()
        self._timeout = timeout
        if not self._apprise.add(url.reveal()):
            msg = "apprise does not understand the address; see https://github.com/caronc/apprise/wiki"
            raise ConfigurationError(msg)

    async def send(self, message: Message) -> None:
        """Hand it over."""
        if not await asyncio.to_thread(self._notify, message):
            msg = "apprise could not deliver it"
            raise ConnectionError(msg)

    async def close(self, key: str) -> None:
        """Do nothing: apprise closes nothing."""

    def _notify(self, message: Message) -> bool:
        parts = ["\n".join((wording.headline(notice), *wording.lines(notice), wording.place(notice)))
                 for notice in message.notices]  # fmt: skip
        more = wording.rest(message)
        body = "\n\n".join([*parts, *([more] if more else [])])
        kind = _TYPES[message.severity]
        return bool(
            self._apprise.notify(
                body, title=wording.title(message), notify_type=kind, body_format="text", timeout=self._timeout
            )
        )
