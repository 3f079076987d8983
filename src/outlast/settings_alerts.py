"""`[alerts]`: when people are told that something is not as it should be."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from outlast.secret import Secret
from outlast.setting_branch import Branch

Level = Literal["info", "warning", "error"]
_MINUTE: Final = timedelta(minutes=1)

#: What rules may be made of, and what each figure says. Counts of events are those of the last 10 minutes.
FIGURES: Final[Mapping[str, str]] = {
    "dead_letters": "failed runs of an agent that nobody has replayed or discarded",
    "dead_letters_oldest_seconds": "age of the oldest of them",
    "inbox_open": "questions for which a run waits",
    "inbox_oldest_seconds": "age of the oldest of them",
    "queue_depth": "runs of an agent that are due and not taken",
    "queue_oldest_seconds": "how long the first of them has been due",
    "runs_without_worker": "runs of an agent that are due, and that no live worker could run",
    "runs_silent": "runs of an agent of which nothing was heard for `recovery.silent`",
    "workers_live": "workers that are there",
    "worker_deaths": "workers that died in the last 10 minutes",
    "breakers_open": "keys with which a model is left alone because it fails",
    "budget_used_ratio": "share of a budget that is spent; there only beyond the budget's soft limit",
    "budget_stops": "model calls that a budget did not allow",
    "checkpoint_failures": "batches of checkpoints that had to be sent again because the connection broke",
    "loop_failures": "rounds of a background loop that failed",
    "lease_losses": "writes that were refused, and workers that stopped, because a lease was lost",
    "error_ratio": "share of an agent's runs of the last 15 minutes that failed; there from 10 runs on",
    "cost_usd_hour": "US dollars that an agent's runs of the last hour have cost",
    "tokens_hour": "tokens that they took",
    "runs_hour": "how many there were",
    "notifications_failed": "messages to a channel that were given up in the last hour",
    "effects_unknown": "effects of which nobody knows whether they were applied",
}


class RuleSettings(Branch):
    """One rule, under a name of its own; of a built-in one, what is different."""

    enabled: bool = Field(default=True, description="false: the rule is off")
    metric: str | None = Field(default=None, description="of a rule of your own: the figure it looks at")
    above: float | None = Field(default=None, description="more than this is too much")
    below: float | None = Field(default=None, description="less than this is too little")
    after: timedelta | None = Field(
        default=None, ge=timedelta(0), description="the condition has to hold for so long; none: as soon as it is seen"
    )
    severity: Level | None = Field(
        default=None, description="none: as the finding says; of a rule of your own `warning`"
    )
    keep: timedelta | None = Field(
        default=None, ge=timedelta(0), description="over when it was well for so long; none: as `alerts.keep`"
    )
    repeat: timedelta | None = Field(
        default=None, ge=_MINUTE, description="told again while it lasts; none: as `alerts.repeat`"
    )
    agents: tuple[str, ...] = Field(default=(), description="only of these agents; none: of all")


def _rule(
    metric: str | None, above: float | None, severity: Level | None, *, after: timedelta = timedelta(0)
) -> RuleSettings:
    return RuleSettings(metric=metric, above=above, severity=severity, after=after)


#: The rules that are there by themselves.
BUILT_IN: Final[Mapping[str, RuleSettings]] = {
    # These two are findings of others, who say themselves how bad it is.
    "anomaly": _rule(None, None, None),
    "slo_burn": _rule(None, None, None),
    "breaker_open": _rule("breakers_open", 0, "warning", after=_MINUTE),
    "dead_letters": _rule("dead_letters", 10, "warning"),
    "inbox_age": _rule("inbox_oldest_seconds", 4 * 3600, "warning"),
    "stuck_runs": _rule("runs_silent", 0, "warning", after=_MINUTE),
    "budget_soft": _rule("budget_used_ratio", 0, "warning"),
    "budget_hard": _rule("budget_stops", 0, "error"),
    "checkpoint_failures": _rule("checkpoint_failures", 3, "error"),
    "queue_age": _rule("queue_oldest_seconds", 300, "warning", after=_MINUTE),
    "no_worker": _rule("runs_without_worker", 0, "error", after=_MINUTE),
    "error_rate": _rule("error_ratio", 0.2, "error", after=_MINUTE),
    "loop_failures": _rule("loop_failures", 10, "warning"),
    "lease_losses": _rule("lease_losses", 10, "warning"),
    "worker_deaths": _rule("worker_deaths", 2, "warning"),
    "notifications_failed": _rule("notifications_failed", 0, "warning"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that is in force."""

    name: str
    #: None: made of somebody's findings.
    metric: str | None
    above: float | None
    below: float | None
    after: timedelta
    severity: Level | None
    keep: timedelta
    repeat: timedelta
    agents: tuple[str, ...]
    built_in: bool


class HeartbeatSettings(Branch):
    """The dead man's switch: somebody elsewhere who raises the alarm when nothing is heard from here."""

    url: Secret = Field(
        default=Secret(), description="posted to after rounds that went well, as of healthchecks.io; empty: nowhere"
    )
    every: timedelta = Field(default=_MINUTE, ge=timedelta(seconds=1), description="how often")


class AlertSettings(Branch):
    """Alerts, and the rules that they are made by."""

    enabled: bool = Field(default=True, description="false: nothing is looked at")
    every: Annotated[
        timedelta, Field(ge=timedelta(seconds=1), description="how often the rules are looked at, by one process")
    ] = timedelta(seconds=15)
    keep: Annotated[
        timedelta,
        Field(ge=timedelta(0), description="an alert is over when it was well for so long; longer for one that flaps"),
    ] = timedelta(minutes=2)
    repeat: Annotated[
        timedelta, Field(ge=_MINUTE, description="an alert that lasts, and that nobody has acknowledged, is told again")
    ] = timedelta(hours=4)
    flapping: Annotated[
        timedelta, Field(ge=timedelta(0), description="`keep` is doubled for each time that it came and went in there")
    ] = timedelta(hours=1)
    history: timedelta = Field(default=timedelta(days=30), description="how long alerts that are over are kept")
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    rules: dict[str, RuleSettings] = Field(
        default_factory=dict[str, RuleSettings], description="by name: of the built-in ones, or of your own"
    )

    @model_validator(mode="after")
    def _rules_say_something(self) -> Self:
        for name, given in self.rules.items():
            wrong = _wrong(name, given)
            if wrong:
                msg = f"rules.{name}: {wrong}"
                raise ValueError(msg)
        return self

    def in_force(self) -> tuple[Rule, ...]:
        """Return the rules that are on: the built-in ones, with what was changed, and those of the project."""
        changed = {name: _merged(BUILT_IN.get(name), given) for name, given in self.rules.items()}
        return tuple(self._rule(name, rule) for name, rule in {**BUILT_IN, **changed}.items() if rule.enabled)

    def _rule(self, name: str, given: RuleSettings) -> Rule:
        own = name not in BUILT_IN
        return Rule(
            name=name, metric=given.metric, above=given.above, below=given.below, after=given.after or timedelta(0),
            severity=given.severity or ("warning" if own else None), agents=given.agents, built_in=not own,
            keep=self.keep if given.keep is None else given.keep,
            repeat=self.repeat if given.repeat is None else given.repeat,
        )  # fmt: skip


def _merged(built_in: RuleSettings | None, given: RuleSettings) -> RuleSettings:
    if built_in is None:
        return given
    # Which fields were set does not outlive a settings tree that is copied; what was not given is None, or empty.
    told = {name: getattr(given, name) for name in RuleSettings.model_fields}
    said = {name: value for name, value in told.items() if value is not None and value != ()}
    return built_in.model_copy(update=said)


def _wrong(name: str, given: RuleSettings) -> str | None:
    """Return what is wrong with a rule; None: nothing."""
    if name == "test":
        return "`outlast alerts test` has this name; choose another one"
    whole = _merged(BUILT_IN.get(name), given)
    if name in BUILT_IN and whole.metric != BUILT_IN[name].metric:
        return "a built-in rule keeps its metric; make a rule of another name"
    if whole.metric is None:
        # A finding has no threshold: whoever finds it has judged.
        return _wrong_finding(name, whole)
    if whole.metric not in FIGURES:
        return f"there is no metric {whole.metric!r}{_near(whole.metric, FIGURES)}; see docs/alerts.md"
    if whole.above is None and whole.below is None:
        return "say when it is too much (`above`) or too little (`below`)"
    return None


def _wrong_finding(name: str, whole: RuleSettings) -> str | None:
    if name not in BUILT_IN:
        return f"no rule is built in under this name{_near(name, BUILT_IN)}, and one of your own needs a `metric`"
    if whole.above is not None or whole.below is not None:
        return "what is found is judged by whoever finds it; `above` and `below` mean nothing here"
    return None


def _near(name: str, known: Mapping[str, object]) -> str:
    found = get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
