"""Channels, as the settings describe them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outlast.domain.webhook import Networks
from outlast.errors import ConfigurationError, InvalidInput
from outlast.notifications.by_apprise import ByApprise
from outlast.notifications.channel import Channel, Post, target_of
from outlast.notifications.mail import Mail
from outlast.notifications.pagerduty import EVENTS_URL, PagerDuty
from outlast.notifications.posted import Sign, SignedWebhook
from outlast.notifications.slack import Slack
from outlast.secret import Secret
from outlast.settings_notifications import ChannelSettings, NotificationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What channels reach the outside with; webhooks of runs do it in the same way."""

    post: Post
    #: Addresses that are allowed although they are not public.
    networks: Networks
    #: Makes the headers of a signed body: secret, id, time, body.
    signed: Callable[[bytes, UUID, datetime, bytes], dict[str, str]]
    #: Reads a `whsec_...`; raises ConfigurationError.
    parse_secret: Callable[[str], bytes]
    #: The secret of who has set none.
    shared_secret: Callable[[], Awaitable[bytes]]

    def sign(self, secret: Secret) -> Sign:
        """Return what signs with a secret of its own, or with everybody's."""
        given = self.parse_secret(secret.reveal()) if secret else None

        async def sign(message: UUID, sent_at: datetime, body: bytes) -> dict[str, str]:
            return self.signed(given or await self.shared_secret(), message, sent_at, body)

        return sign


def channels_of(settings: NotificationSettings, outside: Outside) -> Mapping[str, Channel]:
    """Build the channels; raises ConfigurationError that names the one that is wrong."""
    timeout = settings.timeout.total_seconds()
    return {name: _channel(name, channel, outside, timeout) for name, channel in settings.channels.items()}


def _channel(name: str, settings: ChannelSettings, outside: Outside, timeout: float) -> Channel:
    try:
        return _built(settings, outside, timeout)
    except (ConfigurationError, InvalidInput) as error:
        msg = f"notifications.channels.{name}: {str(error).removeprefix('webhook: ')}"
        raise ConfigurationError(msg) from error


def _built(settings: ChannelSettings, outside: Outside, timeout: float) -> Channel:
    match settings.type:
        case "slack":
            return Slack(target_of(settings.url, outside.networks), outside.post)
        case "webhook":
            target = target_of(settings.url, outside.networks)
            return SignedWebhook(target, outside.post, outside.sign(settings.secret))
        case "pagerduty":
            url = settings.url or Secret(EVENTS_URL)
            return PagerDuty(target_of(url, outside.networks), outside.post, settings.key)
        case "email":
            return Mail(settings, timeout=timeout)
        case "apprise":
            return ByApprise(settings.url, timeout=timeout)
