"""Budgets as text: tables for people, tab-separated lines for pipes, JSON for programs."""

import sys
from collections.abc import Sequence
from typing import Any, Final

import orjson

from outlast.admission.budget_desk import Shown
from outlast.cli import printing
from outlast.domain.budget import Standing, usd

_COLUMNS: Final = (
    "budget", "per", "period", "subject", "usd", "spent", "reserved", "tokens", "spent", "reserved", "at the limit",
    "resets",
)  # fmt: skip


def json(value: Any) -> None:
    """Print it as JSON."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.write(text.decode())


def as_json(shown: Shown) -> dict[str, Any]:
    """Return a budget under the names of GET /budgets."""
    budget = shown.budget
    return {
        "name": budget.name, "per": budget.per, "period": budget.span, "usd": _usd(budget.limit_micros),
        "tokens": budget.limit_tokens, "soft_percent": budget.soft_percent, "on_limit": budget.on_limit,
        "agent": budget.agent, "user": budget.user, "set": shown.was_set,
        "counters": [_counter(standing) for standing in shown.standings],
    }  # fmt: skip


def table(budgets: Sequence[Shown]) -> None:
    """Print a line for each counter."""
    lines = [line for shown in budgets for line in _lines(shown)]
    nothing = "no budgets; `outlast budget set --help` says how to set one"
    printing.rows(_COLUMNS, lines, nothing=nothing, figures=("usd", "tokens", "spent", "reserved"))


def _lines(shown: Shown) -> list[tuple[str, ...]]:
    budget = shown.budget
    head = (budget.name, budget.per, budget.span)
    if not shown.standings:
        limits = (_usd(budget.limit_micros) or "", "", "", _plain(budget.limit_tokens), "", "")
        return [(*head, "", *limits, budget.on_limit, "")]
    return [(*head, each.subject, *_figures(each), budget.on_limit, _resets(each)) for each in shown.standings]


def _figures(standing: Standing) -> tuple[str, ...]:
    dollars = (_usd(standing.limit_micros) or "", usd(standing.spent_micros), usd(standing.reserved_micros))
    tokens = (_plain(standing.limit_tokens), str(standing.spent_tokens), str(standing.reserved_tokens))
    return (*dollars, *tokens)


def _counter(standing: Standing) -> dict[str, Any]:
    return {
        "subject": standing.subject, "period": standing.period.isoformat(), "usd": _usd(standing.limit_micros),
        "tokens": standing.limit_tokens, "spent_usd": usd(standing.spent_micros), "spent_tokens": standing.spent_tokens,
        "reserved_usd": usd(standing.reserved_micros), "reserved_tokens": standing.reserved_tokens,
        "resets_at": None if standing.resets_at is None else standing.resets_at.isoformat(),
    }  # fmt: skip


def _resets(standing: Standing) -> str:
    return "" if standing.resets_at is None else f"{standing.resets_at:%Y-%m-%d %H:%M} UTC"


def _usd(micros: int | None) -> str | None:
    return None if micros is None else usd(micros)


def _plain(count: int | None) -> str:
    return "" if count is None else str(count)
