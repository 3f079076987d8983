"""`outlast usage`: what model calls cost, straight from the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from outlast.cli import printing
from outlast.domain.acting import DEFAULT_TENANT, across_tenants, acting_for
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from outlast.storage.postgres.usage import UsageQuery, UsageRow

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FIGURES: Final = (
    "calls", "cached", "failed", "input_tokens", "output_tokens", "cache_read_tokens", "cost_usd", "unpriced_calls",
)  # fmt: skip
_MORE_FIGURES: Final = ("cache_write_tokens", "reasoning_tokens", "saved_usd")
_LONGEST: Final = timedelta(days=36_500)


class By(StrEnum):
    """What usage is summed by."""

    DAY = "day"
    TENANT = "tenant"
    USER = "user"
    AGENT = "agent"
    MODEL = "model"
    PROVIDER = "provider"
    RUN = "run"
    THREAD = "thread"


def show_usage(
    *,
    by: Annotated[
        list[By] | None, typer.Option(help="Sum by this; may be given several times.  [default: provider, model]")
    ] = None,
    since: Annotated[str, typer.Option(help="30m, 24h, 7d, 4w, or a time as 2026-01-31.")] = "30d",
    run: Annotated[str | None, typer.Option(metavar="ID", help="Only this run.")] = None,
    thread: Annotated[str | None, typer.Option(help="Only this thread.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.  [default: all]")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only this agent.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model, as gpt-4o.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many lines.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what model calls used and cost.

    A table on a terminal; through a pipe, lines of tab-separated columns. `failed` counts tries that failed. Calls
    whose price nobody knows are counted as unpriced and are missing in the cost; a price of your own goes into
    [calls.prices] of outlast.toml.

    \b
    Examples:
      outlast usage
      outlast usage --by day --by model --since 7d
      outlast usage --by user --agent support --since 2026-01-01
      outlast usage --by run --thread order-7 --json
    """
    dimensions = by or [By.PROVIDER, By.MODEL]
    after = moment_of(since)

    def query() -> "UsageQuery":
        from outlast.storage.postgres.usage import UsageQuery  # noqa: PLC0415 - `outlast --help` needs no driver

        return UsageQuery(
            by=tuple(dict.fromkeys(dimension.value for dimension in dimensions)), after=after,
            run_id=None if run is None else _run_id(run), thread_id=thread, user=user, agent=agent, model=model,
        )  # fmt: skip

    rows = [_row(row, dimensions) for row in _summary(query, tenant, limit)]
    if as_json:
        printing.json(rows)
    else:
        _table(rows, dimensions)


def _summary(query: "Callable[[], UsageQuery]", tenant: str | None, limit: int) -> "list[UsageRow]":
    from outlast.cli.direct import look  # noqa: PLC0415 - as above
    from outlast.storage.postgres.usage import UsageStore  # noqa: PLC0415 - as above

    # A thread belongs to a tenant: without one named it is the default's.
    with acting_for(tenant or DEFAULT_TENANT), across_tenants() if tenant is None else nullcontext():
        return look(lambda pool: UsageStore(pool).summary(query(), limit=limit))


def _row(row: "UsageRow", dimensions: Sequence[By]) -> dict[str, Any]:
    """Return what was asked for, under the names of GET /usage."""
    values = {name: getattr(row, name) for name in (*_FIGURES, *_MORE_FIGURES) if name != "unpriced_calls"}
    values["unpriced_calls"] = row.unpriced
    names = dict.fromkeys(_field(dimension) for dimension in dimensions)
    return {name: getattr(row, name) for name in names} | values


def _field(dimension: By) -> str:
    return f"{dimension}_id" if dimension in {By.RUN, By.THREAD} else dimension.value


def _table(rows: Sequence[dict[str, Any]], dimensions: Sequence[By]) -> None:
    columns = (*dict.fromkeys(_field(dimension) for dimension in dimensions), *_FIGURES)
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    printing.rows(columns, cells, nothing="no model calls in this time", figures=_FIGURES)


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("\t", " ").replace("\n", " ")


def moment_of(text: str) -> datetime:
    """Return the beginning of the time that is looked at."""
    age = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if age is not None:
        return datetime.now(UTC) - min(timedelta(**{_UNITS[age[2]]: int(age[1])}), _LONGEST)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"--since {text!r} is neither an age (30m, 24h, 7d, 4w) nor a time (2026-01-31, 2026-01-31T09:00:00Z)"
        raise InvalidInput(msg, field="since") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _run_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        msg = f"{text!r} is no run id; an id looks like 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e, see `outlast runs list`"
        raise InvalidInput(msg, field="run") from error
