"""What an alert says: the figure in plain words, the limit, and what to do next."""

from collections.abc import Callable, Mapping
from typing import Final

from outlast.domain.alert import Figure
from outlast.settings_alerts import Rule

#: By figure: what is so, and what helps.
_SAID: Final[Mapping[str, tuple[str, str]]] = {
    "dead_letters": ("failed runs{of} that wait for somebody: {value}", "see `outlast dlq list`"),
    "dead_letters_oldest_seconds": ("a failed run{of} waits for somebody since {age}", "see `outlast dlq list`"),
    "inbox_open": ("questions that wait for an answer: {value}", "see `outlast inbox list`"),
    "inbox_oldest_seconds": ("a question waits for an answer since {age}", "see `outlast inbox list`"),
    "queue_depth": ("runs{of} that are due and not taken: {value}", "start more workers, or raise worker.concurrency"),
    "queue_oldest_seconds": (
        "a run{of} is due since {age} and was not taken",
        "start more workers, or raise worker.concurrency",
    ),
    "runs_without_worker": (
        "runs{of} that are due and that no live worker could run: {value}",
        "start `outlast worker` in a project that has the agent",
    ),
    "runs_silent": ("runs{of} of which nothing was heard for long: {value}", "see `outlast recover list`"),
    "workers_live": ("workers that are there: {value}", "start `outlast worker`"),
    "worker_deaths": ("workers that died in the last 10 minutes: {value}", "their logs, or the kernel's, say why"),
    "breakers_open": (
        "{of} fails too often and is left alone; keys for which that is so: {value}",
        "look at the provider's status; a fallback model keeps agents going",
    ),
    "budget_used_ratio": ("{share} of budget{of} is spent", "see `outlast budget list`"),
    "budget_stops": (
        "model calls of the last 10 minutes that budget{of} did not allow: {value}",
        "raise it with `outlast budget raise`, or wait for its next period",
    ),
    "checkpoint_failures": (
        "batches of checkpoints of the last 10 minutes that had to be sent again: {value}",
        "look at the database and the way to it",
    ),
    "loop_failures": (
        "failed rounds of background loop{of} in the last 10 minutes: {value}",
        "the log of workers says why",
    ),
    "lease_losses": (
        "leases that were lost in the last 10 minutes: {value}",
        "workers are too slow or cut off: look at their load, and at the database",
    ),
    "error_ratio": ("{share} of the runs{of} of the last 15 minutes failed", "see `outlast dlq list`"),
    "cost_usd_hour": ("what the runs{of} of the last hour have cost: ${value}", "see `outlast usage`"),
    "tokens_hour": ("tokens that the runs{of} of the last hour took: {value}", "see `outlast usage`"),
    "runs_hour": ("runs{of} that ended in the last hour: {value}", "see `outlast runs list`"),
    "notifications_failed": (
        "messages{of} that were given up in the last hour: {value}",
        "see `outlast notifications list --state failed`",
    ),
    "effects_unknown": (
        "effects of which nobody knows whether they were applied: {value}",
        "see `outlast effects list`",
    ),
}
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def text_of(rule: Rule, figure: Figure) -> str:
    """Return one sentence with the value and the limit, and one with what helps."""
    said, helps = _SAID[figure.name]
    first = said.format(value=_number(figure.value), of=_of(figure), age=age(figure.value), share=f"{figure.value:.0%}")
    return f"{first.strip()}{_limit(rule, figure.name)}; {helps}"


def age(seconds: float) -> str:
    """Return a length of time as people say it."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} days"


def _of(figure: Figure) -> str:
    if not figure.label:
        return ""
    match figure.label:
        case "model":
            return f"model {figure.of}"
        case "agent":
            return f" of agent {figure.of!r}"
        case "channel":
            return f" to channel {figure.of!r}"
        case _:
            return f" {figure.of!r}"


def _limit(rule: Rule, name: str) -> str:
    if rule.below is None and rule.above == 0:
        # That it is there at all is too much.
        return ""
    shown = _shown_as(name)
    parts = [
        *([f"more than {shown(rule.above)}"] if rule.above is not None else []),
        *([f"less than {shown(rule.below)}"] if rule.below is not None else []),
    ]
    return f" (the limit: {' or '.join(parts)})"


def _shown_as(name: str) -> Callable[[float], str]:
    if name.endswith("_seconds"):
        return age
    return (lambda value: f"{value:.0%}") if name.endswith("_ratio") else _number


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
