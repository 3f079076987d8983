"""E-mail, by SMTP."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final

from outlast.domain.notification import Message
from outlast.notifications import wording
from outlast.notifications.channel import Undeliverable
from outlast.settings_notifications import ChannelSettings

_PORTS: Final = {"tls": 465, "starttls": 587, "none": 25}
_PERMANENT: Final = 500
_RULE: Final = "\n\n" + "-" * 20 + "\n\n"


class Mail:
    """Sends mails, each over a connection of its own. All attempts of a message have one `Message-ID`."""

    holds_incidents = False

    def __init__(self, settings: ChannelSettings, *, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout

    async def send(self, message: Message) -> None:
        """Hand the mail to the server; a thread does it, since smtplib waits."""
        await asyncio.to_thread(self._send, mail(message, self._settings))

    async def close(self, key: str) -> None:
        """Do nothing: nothing is open there."""

    def _send(self, written: EmailMessage) -> None:
        settings = self._settings
        try:
            with self._connected() as server:
                if settings.user:
                    server.login(settings.user, settings.password.reveal())
                server.send_message(written)
        except smtplib.SMTPRecipientsRefused as error:
            # Without the addresses: this is kept.
            codes = ", ".join(str(code) for code, _ in error.recipients.values())
            msg = f"the server takes no mail for these recipients: {codes}"
            if all(code >= _PERMANENT for code, _ in error.recipients.values()):
                raise Undeliverable(msg) from error
            raise ConnectionError(msg) from error
        except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
            if error.smtp_code >= _PERMANENT:
                msg = f"the server does not take this mail: {error.smtp_code}"
                raise Undeliverable(msg) from error
            raise

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        port = settings.port or _PORTS[settings.security]
        if settings.security == "tls":
            return smtplib.SMTP_SSL(settings.host, port, timeout=self._timeout, context=self._trusted())
        server = smtplib.SMTP(settings.host, port, timeout=self._timeout)
        if settings.security == "starttls":
            try:
                server.starttls(context=self._trusted())
            # Whatever it is, the connection is not left open behind it; the caller learns what it was.
            except BaseException:
                server.close()
                raise
        return server

    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._settings.ca_file or None)


def mail(message: Message, settings: ChannelSettings) -> EmailMessage:
    """Return the mail as plain text. What an agent says cannot add a header or a recipient."""
    written = EmailMessage()
    written["Subject"] = wording.title(message)
    written["From"] = settings.sender
    written["To"] = ", ".join(recipients(message, settings))
    written["Date"] = format_datetime(message.sent_at)
    host = parseaddr(settings.sender)[1].rpartition("@")[2] or "outlast"
    written["Message-ID"] = f"<{message.id}@{host}>"
    # All mails about one question are one conversation.
    written["References"] = f"<{message.key.replace(':', '.')}@{host}>"
    written["Auto-Submitted"] = "auto-generated"
    parts = ["\n".join((wording.headline(notice), "", *wording.lines(notice), wording.place(notice)))
             for notice in message.notices]  # fmt: skip
    more = wording.rest(message)
    written.set_content(_RULE.join([*parts, *([more] if more else [])]) + "\n")
    return written


def recipients(message: Message, settings: ChannelSettings) -> list[str]:
    """Return who gets it: those of the settings, and whoever the one question is assigned to, at a known domain."""
    found = list(settings.to)
    if len(message.notices) == 1 and (assignee := message.notices[0].assignee):
        domain = assignee.rpartition("@")[2].lower()
        # More than a plain address would be somebody's way to a recipient that nobody allowed.
        plain = assignee.count("@") == 1 and parseaddr(assignee) == ("", assignee) and not set(assignee) & set(' ,;<>"')
        if plain and domain in {known.lower() for known in settings.assignees}:
            found.append(assignee)
    return list(dict.fromkeys(found))
