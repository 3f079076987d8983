"""`outlast notifications`: try a channel, see what was told, send what was given up once more."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from outlast.cli import printing
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.errors import ConfigurationError, InvalidInput, NotFound, OutlastError

if TYPE_CHECKING:
    from outlast.domain.notification import Message, MessageState, MessageView
    from outlast.settings import Settings
    from outlast.storage.postgres.pool import Pool

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Try channels, and see who was told of what.")
Tenant = Annotated[str, typer.Option(help="Whose.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_COLUMNS: Final = ("id", "state", "channel", "about", "attempts", "created", "ended", "error")


class State(StrEnum):
    """What became of a message."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


class NotDelivered(OutlastError):
    """A channel did not take a message."""

    code = "not_delivered"


@app.command("test")
def test(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A name of [notifications.channels].")],
) -> None:
    """Send a message to a channel now, and say what came of it.

    It goes out from this machine, at once and once: without the outbox, its routes and its retries. PagerDuty opens an
    incident and closes it again.

    \b
    Examples:
      outlast notifications test ops
    """
    from outlast.cli.direct import change

    change(lambda pool, settings: _try(pool, settings, channel))
    typer.echo(f"channel {channel} has taken the message")


@app.command("list")
def list_messages(
    *,
    state: Annotated[State | None, typer.Option(help="Only these.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only to this channel.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """List messages to people, the newest first.

    pending: will be sent, or sent again. sent: the receiver has it. failed: given up, `error` says why. dropped: the
    question was answered, or the run replayed, before it was sent.

    \b
    Examples:
      outlast notifications list
      outlast notifications list --state failed --channel ops
      outlast notifications list --json
    """
    from outlast.cli.direct import look
    from outlast.storage.postgres.notifications import NotificationStore

    wanted: MessageState | None = None if state is None else state.value
    with acting_for(tenant):
        found = look(lambda pool: NotificationStore(pool).find(state=wanted, channel=channel, limit=limit))
    if as_json:
        printing.json([_fields(message) for message in found])
    else:
        _table(found)


@app.command("retry")
def retry(
    message: Annotated[str, typer.Argument(metavar="ID", help="Of a message that was given up.")],
    *,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Send a message once more that was given up.

    Repair the channel first: `outlast notifications test` says whether it works. A worker sends it within seconds, if
    somebody has still to look.

    \b
    Examples:
      outlast notifications list --state failed
      outlast notifications retry 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
    """
    from outlast.cli.direct import change

    try:
        key = UUID(message)
    except ValueError as error:
        raise InvalidInput(f"{message!r} is no id of a message; `outlast notifications list` shows them") from error
    with acting_for(tenant):
        channel = change(lambda pool, settings: _again(pool, settings, key))
    typer.echo(f"message {key} will be sent to {channel} again")


async def _again(pool: "Pool", settings: "Settings", message: UUID) -> str:
    from outlast.storage.postgres.audit import AuditLog
    from outlast.storage.postgres.notifications import NotificationStore

    channel = await NotificationStore(pool).send_again(message)
    if channel is None:
        raise NotFound(
            "message that was given up", str(message), hint="; see `outlast notifications list --state failed`"
        )
    audit = AuditLog(pool, settings.audit.key.reveal().encode(), nobody="command line")
    await audit.note("notification.retried", f"notification:{message}", {"channel": channel})
    return channel


async def _try(pool: "Pool", settings: "Settings", name: str) -> None:
    from outlast.notifications.building import channels_of
    from outlast.storage.postgres.secrets import SharedSecrets
    from outlast.webhooks.guard import Outbound
    from outlast.workers.notifying import outside_of

    given = settings.notifications
    if name not in given.channels:
        known = ", ".join(given.channels) or "none"
        raise ConfigurationError(f"there is no channel {name!r} in [notifications.channels]; there are {known}")
    only = given.model_copy(update={"channels": {name: given.channels[name]}})
    outbound = Outbound(settings.webhooks.networks, limit=given.timeout)
    try:
        channel = channels_of(only, outside_of(settings, SharedSecrets(pool), outbound))[name]
        message = _sample(settings.inbox.url)
        await channel.send(message)
        await channel.close(message.key)
    except ConfigurationError:
        raise
    # Whatever a network does, and whatever a receiver answers, is what was asked for.
    except Exception as error:
        raise NotDelivered(f"channel {name} did not take the message: {type(error).__name__}: {error}") from error
    finally:
        await outbound.aclose()


def _sample(url: str) -> "Message":
    from datetime import UTC, datetime
    from uuid import uuid4

    from outlast.domain.notification import Message, Notice

    message = uuid4()
    notice = Notice(
        event="asked",
        severity="info",
        agent="outlast",
        kind="test",
        run_id=message,
        question_id=message,
        text="This is a test of `outlast notifications test`; nobody has to do anything.",
        link=url or None,
    )
    return Message(
        id=message, tenant=DEFAULT_TENANT, key=f"test:{message}", notices=(notice,), count=1, sent_at=datetime.now(UTC)
    )


def _fields(message: "MessageView") -> dict[str, Any]:
    return {
        "id": message.id,
        "state": message.state,
        "channel": message.channel,
        "incident": message.incident,
        "attempts": message.attempts,
        "created_at": message.created_at,
        "due_at": message.due_at if message.state == "pending" else None,
        "ended_at": message.ended_at,
        "last_error": message.last_error,
        "count": message.count,
        "event": message.event if message.count == 1 else None,
        "question_id": message.question_id if message.count == 1 else None,
        "run_id": message.run_id if message.count == 1 else None,
    }


def _about(message: "MessageView") -> str:
    if message.count != 1:
        return f"{message.count} things"
    if message.question_id is None and message.run_id is None:
        return f"alerts {'over' if message.event == 'recovered' else 'firing'}"
    what = f"question {message.question_id}" if message.question_id else f"run {message.run_id}"
    return f"{what} {message.event}"


def _cells(message: "MessageView") -> tuple[str, ...]:
    ended = message.ended_at.isoformat(timespec="seconds") if message.ended_at else ""
    cells = (
        str(message.id), message.state, message.channel, _about(message), str(message.attempts),
        message.created_at.isoformat(timespec="seconds"), ended, message.last_error or "",
    )  # fmt: skip
    return tuple(cell.replace("\t", " ").replace("\n", " ") for cell in cells)


def _table(found: "Sequence[MessageView]") -> None:
    printing.rows(_COLUMNS, [*map(_cells, found)], nothing="nobody was told anything", figures=("attempts",))
