"""`[notifications]`: who is told when somebody has to look, and how."""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from outlast.secret import Secret
from outlast.setting_branch import Branch

_NEEDS: Final = {
    "slack": ("url",),
    "email": ("host", "sender", "to"),
    "webhook": ("url",),
    "pagerduty": ("key",),
    "apprise": ("url",),
}
_NONE: Final = "none"


class ChannelSettings(Branch):
    """One way to people, under a name of its own."""

    type: Literal["slack", "email", "webhook", "pagerduty", "apprise"] = Field(description="what is spoken there")
    url: Secret = Field(
        default=Secret(),
        description="slack: the incoming webhook; webhook: where to post; apprise: an address of apprise; pagerduty: "
        "another address of its Events API than the one in the US",
    )
    content: bool = Field(
        default=True, description="tell the question and its reasons; false: only that there is one, and where"
    )
    key: Secret = Field(default=Secret(), description="pagerduty: the integration key of the service")
    secret: Secret = Field(
        default=Secret(), description="webhook: whsec_..., signs what is posted; empty: as `webhooks.secret`"
    )
    host: str = Field(default="", description="email: the SMTP server")
    port: Annotated[
        int | None, Field(ge=1, le=65535, description="email: its port; none: 465 with tls, 587 with starttls, else 25")
    ] = None
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="email: how the connection is encrypted; none: not at all"
    )
    ca_file: str = Field(default="", description="email: certificates that are trusted instead of the system's")
    user: str = Field(default="", description="email: whom to log in as; empty: nobody")
    password: Secret = Field(default=Secret(), description="email: the password of `user`")
    sender: str = Field(default="", description="email: who it is from")
    to: tuple[str, ...] = Field(default=(), description="email: who gets it")
    assignees: tuple[str, ...] = Field(
        default=(), description="email: domains at which the person gets it, too, to whom a question is assigned"
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        missing = [name for name in _NEEDS[self.type] if not getattr(self, name)]
        if missing:
            msg = f"a channel of type {self.type!r} needs {', '.join(missing)}"
            raise ValueError(msg)
        if self.user and self.security == _NONE:
            msg = "a password is not sent over a connection that is not encrypted; set `security`, or leave `user` out"
            raise ValueError(msg)
        return self


class RouteSettings(Branch):
    """What goes where, under a name of its own. Something that several routes lead to a channel is told there once."""

    channels: Annotated[tuple[str, ...], Field(min_length=1, description="names of `notifications.channels`")]
    events: tuple[Literal["asked", "assigned", "overdue", "expired", "failed", "alert", "recovered"], ...] = Field(
        default=(), description="what has happened; none: whatever it is"
    )
    kinds: tuple[str, ...] = Field(
        default=(),
        description="kinds of questions, as budget; of failed runs the codes of errors; of alerts the rules; none: all",
    )
    agents: tuple[str, ...] = Field(default=(), description="whose; none: all agents'")
    tenants: tuple[str, ...] = Field(default=(), description="whose; none: all tenants'")
    at_least: Literal["info", "warning", "error"] = Field(
        default="info", description="the lowest severity that is told"
    )


class NotificationSettings(Branch):
    """Who is told of questions to people, of runs that failed for good, and of alerts."""

    channels: dict[str, ChannelSettings] = Field(default_factory=dict[str, ChannelSettings])
    #: None: everything goes to every channel.
    routes: dict[str, RouteSettings] = Field(default_factory=dict[str, RouteSettings])
    poll: timedelta = Field(default=timedelta(seconds=2), description="look for what is due at least this often")
    timeout: timedelta = Field(default=timedelta(seconds=20), description="for one attempt")
    base: timedelta = Field(default=timedelta(seconds=5), description="backoff ceiling after the first attempt")
    cap: timedelta = Field(default=timedelta(minutes=30), description="largest backoff")
    give_up: timedelta = Field(default=timedelta(hours=24), description="age of a message that is tried no more")
    burst: Annotated[
        int, Field(ge=1, description="messages that a channel gets in `window`; more are gathered in one")
    ] = 10
    window: timedelta = Field(default=timedelta(minutes=1), description="over which `burst` counts")
    incidents: timedelta = Field(
        default=timedelta(seconds=10), description="look for incidents that are over this often"
    )

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        for name, route in self.routes.items():
            unknown = sorted(set(route.channels) - self.channels.keys())
            if unknown:
                known = ", ".join(self.channels) or "none"
                msg = f"routes.{name}: there is no channel {', '.join(map(repr, unknown))}; there are {known}"
                raise ValueError(msg)
        return self
