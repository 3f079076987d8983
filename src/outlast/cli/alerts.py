"""`outlast alerts`: what is not as it should be, the rules, and who is to hear of it; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from outlast.domain.acting import DEFAULT_TENANT, across_tenants, acting_for
from outlast.errors import ConfigurationError, InvalidInput, NotFound, OutlastError

if TYPE_CHECKING:
    from uuid import UUID

    from outlast.domain.alert import Alert, AlertState, Silence
    from outlast.settings import Settings
    from outlast.settings_alerts import Rule
    from outlast.settings_notifications import NotificationSettings
    from outlast.storage.postgres.alerts import AlertStore
    from outlast.storage.postgres.pool import Pool

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at alerts and rules, silence and try them.")
As = Annotated[str, typer.Option("--as", metavar="NAME", help="Who does this.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_SOMEBODY: Final = "command line"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST_SILENCE: Final = 366 * 86400
_LOOK_SECONDS: Final = 0.2
_ID_SHOWN: Final = 8


class State(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    ANY = "any"


class NotDelivered(OutlastError):
    """Somebody did not get a test notice."""

    code = "not_delivered"


@app.command("list")
def list_alerts(
    *,
    state: Annotated[State, typer.Option(help="Only these; open: pending and firing.")] = State.OPEN,
    rule: Annotated[str | None, typer.Option(help="Only of this rule.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.  [default: all]", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List what is not as it should be.

    \b
    pending     seen, not for as long as the rule wants
    firing      people are told, or a silence keeps it from them
    resolved    over

    \b
    Examples:
      outlast alerts list
      outlast alerts list --state resolved --rule dead_letters
      outlast alerts list --json
    """
    from outlast.cli import printing

    found, silences = _look(tenant, lambda store: _found(store, state, rule, limit))
    if as_json:
        printing.json([_fields(alert, silences) for alert in found])
        return
    columns = ("id", "state", "severity", "rule", "about", "since", "told", "text")
    printing.rows(
        columns, [_cells(alert, silences) for alert in found], nothing="nothing is wrong", whole=("id", "rule")
    )


@app.command("rules")
def rules(*, as_json: AsJson = False) -> None:
    """List the rules of this project.

    What they look at, their limits, how bad it is, and which of them are off. Built-in rules are changed or switched
    off in [alerts.rules.NAME] of outlast.toml; your own stand there, too.

    \b
    Examples:
      outlast alerts rules
      outlast alerts rules --json
    """
    from outlast.cli import printing
    from outlast.cli.session import project_or_database
    from outlast.settings_alerts import BUILT_IN

    _, settings = project_or_database()
    alerts = settings.alerts
    on = {rule.name: rule for rule in alerts.in_force()}
    names = dict.fromkeys((*BUILT_IN, *alerts.rules))
    lines = [(name, on.get(name), name in alerts.rules) for name in names]
    if as_json:
        printing.json([_rule_fields(*line) for line in lines])
        return
    columns = ("rule", "on", "looks at", "limit", "for", "severity", "from")
    printing.rows(columns, [_rule_cells(*line) for line in lines], nothing="there are no rules", whole=("rule",))


@app.command()
def silence(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="As `outlast alerts rules` shows it; * for all.")],
    *,
    lasting: Annotated[str, typer.Option("--for", metavar="TIME", help="As 30m, 2h, 3d.")],
    why: Annotated[str, typer.Option(help="Whoever wonders why nobody was told wants to know.")],
    only: Annotated[str | None, typer.Option(metavar="LABEL=VALUE", help="Only this one, as agent=support.")] = None,
    who: As = _SOMEBODY,
    tenant: Annotated[str, typer.Option(help="Whose.")] = DEFAULT_TENANT,
) -> None:
    """Tell nobody of a rule for some time.

    Alerts come and go as before, and `outlast alerts list` shows them. What still fires when the silence is over is
    told then.

    \b
    Examples:
      outlast alerts silence dead_letters --for 2h --why "the shop is being moved"
      outlast alerts silence breaker_open --only model=openai:gpt-4o --for 1d --why "known outage"
      outlast alerts silence '*' --for 30m --why "load test"
    """
    seconds = _seconds(lasting)
    made = _change(tenant, rule, lambda store: store.silence(rule, subject=only, seconds=seconds, why=why, who=who),
                   action="alert.silenced", why=why)  # fmt: skip
    until = f"{made.until_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"nobody is told of {rule}{f' ({only})' if only else ''} until {until}; silence {made.id}")


@app.command()
def unsilence(
    what: Annotated[str, typer.Argument(metavar="RULE|ID", help="A rule, or the beginning of a silence's id.")],
    *,
    tenant: Annotated[str, typer.Option(help="Whose.")] = DEFAULT_TENANT,
) -> None:
    """End the silence of a rule now.

    \b
    Examples:
      outlast alerts unsilence dead_letters
      outlast alerts unsilence 019a5b7e
    """
    ended = _change(tenant, what, lambda store: store.unsilence(what), action="alert.unsilenced")
    if not ended:
        raise NotFound("silence", what, hint="; `outlast alerts silences` shows those that last")
    for each in ended:
        typer.echo(f"people are told of {each.rule}{f' ({each.subject})' if each.subject else ''} again")


@app.command()
def silences(*, as_json: AsJson = False) -> None:
    """List what nobody is told of, until when, and why.

    \b
    Examples:
      outlast alerts silences
    """
    from outlast.cli import printing

    found = _look(None, _lasting)
    if as_json:
        printing.json(found)
        return
    lines = [
        (
            str(each.id), each.rule, each.subject or "", each.tenant, printing.moment(each.until_at),
            each.silenced_by or "", each.why,
        )
        for each in found
    ]  # fmt: skip
    columns = ("id", "rule", "about", "tenant", "until", "by", "why")
    printing.rows(columns, lines, nothing="nothing is silenced", whole=("id",))


@app.command()
def ack(
    alert: Annotated[str, typer.Argument(metavar="ID", help="Of an open alert, or the beginning of it.")],
    *,
    who: As = _SOMEBODY,
    tenant: Annotated[str, typer.Option(help="Whose.")] = DEFAULT_TENANT,
) -> None:
    """Say that you take care of an alert.

    It is not told again, but when it gets worse and when it is over.

    \b
    Examples:
      outlast alerts ack 019a5b7e --as ann
    """
    if not re.fullmatch(r"[0-9a-f-]{4,36}", alert):
        raise InvalidInput(f"{alert!r} is no id of an alert; `outlast alerts list` shows them", field="alert")
    taken = _change(tenant, alert, lambda store: store.acknowledge(alert, who=who), action="alert.acknowledged")
    typer.echo(f"{taken.rule}{f' ({taken.subject})' if taken.subject else ''} is {who}'s; it is not told again")


@app.command("test")
def fire_test(
    *,
    wait: Annotated[int, typer.Option(min=1, max=600, help="Seconds to wait for the answers of receivers.")] = 30,
) -> None:
    """Fire a test alert through every route, and say who got it.

    It takes the way that every alert takes: through the outbox, by a worker or an API that runs now, with their
    settings. Exit status 1 when somebody did not get it. A single channel, from this machine: `outlast notifications
    test`.

    \b
    Examples:
      outlast alerts test
    """
    from outlast.cli import printing
    from outlast.cli.direct import change

    routed, told, settings = change(lambda pool, settings: _tried(pool, settings, wait))
    if not routed:
        raise NotDelivered(f"nobody has taken it up in {wait} s: start `outlast worker`, then try again")
    lines = [
        (channel, ", ".join(_routes_to(channel, settings)), state, str(attempts), error or "")
        for channel, state, attempts, error in told
    ]
    printing.rows(("channel", "routes", "state", "attempts", "error"), lines, nothing="no channel was told")
    missing = [channel for channel, state, _, _ in told if state != "sent"]
    if missing or not told:
        raise NotDelivered(f"not told: {', '.join(missing) or 'anybody'}; `outlast notifications list` says more")


async def _tried(
    pool: "Pool", settings: "Settings", wait: int
) -> "tuple[bool, list[tuple[str, str, int, str | None]], NotificationSettings]":
    from outlast.storage.postgres.alerts import AlertStore

    if not settings.notifications.channels:
        raise ConfigurationError("there is no channel in [notifications.channels]: nobody can be told of anything")
    store = AlertStore(pool)
    made = await store.test("This is a test of `outlast alerts test`; nobody has to do anything.")
    try:
        return *await _answers(store, made, wait), settings.notifications
    finally:
        await store.end_test(made)


async def _answers(
    store: "AlertStore", made: "UUID", wait: int
) -> "tuple[bool, list[tuple[str, str, int, str | None]]]":
    deadline = time.monotonic() + wait
    while True:
        routed, told = await store.told(made)
        over = routed and all(state != "pending" for _, state, _, _ in told)
        if over or time.monotonic() >= deadline:
            return routed, told
        await asyncio.sleep(_LOOK_SECONDS)


async def _lasting(store: "AlertStore") -> "list[Silence]":
    return await store.silences()


def _routes_to(channel: str, settings: "NotificationSettings") -> list[str]:
    return [name for name, route in settings.routes.items() if channel in route.channels] or ["(no route: everything)"]


async def _found(
    store: "AlertStore", state: State, rule: str | None, limit: int
) -> "tuple[list[Alert], list[Silence]]":
    open_: tuple[AlertState, ...] = ("pending", "firing")
    states: dict[State, tuple[AlertState, ...] | None] = {
        State.OPEN: open_, State.PENDING: ("pending",), State.FIRING: ("firing",), State.RESOLVED: ("resolved",),
        State.ANY: None,
    }  # fmt: skip
    return await store.find(states=states[state], rule=rule, limit=limit), await store.silences()


def _look(tenant: str | None, action: "Callable[[AlertStore], Awaitable[T]]") -> T:
    from outlast.cli.direct import look
    from outlast.storage.postgres.alerts import AlertStore

    with across_tenants() if tenant is None else acting_for(tenant):
        return look(lambda pool: action(AlertStore(pool)))


def _change(
    tenant: str, what: str, change_it: "Callable[[AlertStore], Awaitable[T]]", *, action: str, why: str | None = None
) -> T:
    from outlast.cli.direct import change

    with acting_for(tenant):
        return change(lambda pool, settings: _noted(pool, settings, what, change_it, action, why))


async def _noted(  # noqa: PLR0917 - of one caller
    pool: "Pool",
    settings: "Settings",
    what: str,
    change_it: "Callable[[AlertStore], Awaitable[T]]",
    action: str,
    why: str | None,
) -> T:
    from outlast.storage.postgres.alerts import AlertStore
    from outlast.storage.postgres.audit import AuditLog

    done = await change_it(AlertStore(pool))
    audit = AuditLog(pool, settings.audit.key.reveal().encode(), nobody=_SOMEBODY)
    await audit.note(action, f"alert:{what}", {"why": why} if why is not None else {})
    return done


def _told(alert: "Alert", silences: "Sequence[Silence]") -> str:
    if any(each.covers(alert) for each in silences):
        return "silenced"
    if alert.acknowledged_at is not None:
        return f"acknowledged by {alert.acknowledged_by or 'somebody'}"
    return "" if not alert.notices else "once" if alert.notices == 1 else f"{alert.notices} times"


def _fields(alert: "Alert", silences: "Sequence[Silence]") -> dict[str, Any]:
    from dataclasses import asdict

    shown = asdict(alert)
    for name in ("told_as", "told_severity", "subject"):
        del shown[name]
    return {**shown, "silenced": any(each.covers(alert) for each in silences)}


def _cells(alert: "Alert", silences: "Sequence[Silence]") -> tuple[str, ...]:
    from outlast.cli import printing

    about = alert.subject if alert.tenant == DEFAULT_TENANT else f"{alert.subject} ({alert.tenant})".strip()
    return (
        str(alert.id)[:_ID_SHOWN], alert.state, alert.severity, alert.rule, about,
        printing.moment(alert.fired_at or alert.started_at), _told(alert, silences), alert.text,
    )  # fmt: skip


def _rule_fields(name: str, rule: "Rule | None", changed: bool) -> dict[str, Any]:  # noqa: FBT001 - of a line
    if rule is None:
        return {"rule": name, "enabled": False}
    return {
        "rule": name, "enabled": True, "metric": rule.metric, "above": rule.above, "below": rule.below,
        "after_seconds": rule.after.total_seconds(), "severity": rule.severity, "agents": rule.agents,
        "keep_seconds": rule.keep.total_seconds(), "repeat_seconds": rule.repeat.total_seconds(),
        "built_in": rule.built_in, "changed": changed and rule.built_in,
    }  # fmt: skip


def _rule_cells(name: str, rule: "Rule | None", changed: bool) -> tuple[str, ...]:  # noqa: FBT001 - of a line
    if rule is None:
        return (name, "off", "", "", "", "", "")
    limits = [
        *([f"> {rule.above:g}"] if rule.above is not None else []),
        *([f"< {rule.below:g}"] if rule.below is not None else []),
    ]
    where = "yours" if not rule.built_in else "built in, changed" if changed else "built in"
    after = f"{rule.after.total_seconds():g} s" if rule.after else ""
    return (name, "on", rule.metric or "findings", " or ".join(limits), after, rule.severity or "as found", where)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise InvalidInput(f"{text!r} is no time; write 30m, 2h or 3d", field="for")
    seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= _LONGEST_SILENCE:
        raise InvalidInput(
            "a silence lasts for up to a year; switch the rule off in [alerts.rules] instead", field="for"
        )
    return seconds
