"""What runs were like: stored in batches by every process, for objectives, anomalies and `outlast top`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson

from outlast.domain.acting import across_tenants
from outlast.domain.run_summary import RunSummary
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("observations")
_INT: Final = 2**31 - 1
#: Of a run that nobody was there to measure.
_NOTHING: Final = {
    "model": "", "refused": False, "empty": False, "invalid": False, "seconds": 0.0, "total_seconds": 0.0,
    "cost_usd": 0.0,
    **dict.fromkeys(("tokens", "model_calls", "tool_calls", "tool_errors", "retries", "fallbacks"), 0),
}  # fmt: skip
#: What is observed of outcomes: those that end a run.
ENDS: Final = frozenset({"success", "error", "cancelled"})


@dataclass(frozen=True, slots=True)
class TakenAway:
    """A run that recovery has ended, because nobody was left who could."""

    run_id: UUID
    failed: bool
    code: str | None


class ObservationStore:
    """Acts for all tenants; each row says whose it is."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, ended: Sequence[RunSummary | TakenAway], *, judged: bool = False) -> int:
        """Store ends of runs of this database, in one statement; return how many are new.

        `judged`: nobody compares them with what is usual.
        """
        rows = orjson.dumps([_row(summary, judged=judged) for summary in ended]).decode()
        with across_tenants():
            async with self._pool.connection() as connection:
                return (await connection.execute(_SQL.add, {"rows": rows})).rowcount


def _row(summary: RunSummary | TakenAway, *, judged: bool) -> dict[str, Any]:
    if isinstance(summary, TakenAway):
        status = "error" if summary.failed else "cancelled"
        figures = {"run_id": summary.run_id, "status": status, "error_class": summary.code, "judged": judged}
        return {**_NOTHING, **figures}
    main = summary.main
    return {
        "model": "" if main is None else _text(main.model),
        "run_id": summary.run_id,
        "epoch": summary.epoch,
        "status": summary.outcome,
        "error_class": None if summary.error_class is None else _text(summary.error_class),
        "output_length": None if summary.output_length is None else min(summary.output_length, _INT),
        "confidence": summary.confidence,
        "tokens": summary.tokens,
        "cost_usd": float(summary.cost_usd),
        "seconds": summary.seconds,
        "first_byte_seconds": summary.first_byte_seconds,
        "queued_seconds": summary.queued_seconds,
        "total_seconds": summary.total_seconds,
        "model_calls": sum(use.calls for use in summary.models.values()),
        "tool_calls": summary.tool_calls,
        "tool_errors": summary.tool_errors,
        "retries": summary.retries,
        "fallbacks": summary.fallbacks,
        "refused": summary.refused,
        "empty": summary.empty,
        "invalid": summary.invalid,
        "output_print": summary.output_print,
        "input_print": summary.input_print,
        "judged": judged,
    }


def _text(name: str) -> str:
    """Return it as PostgreSQL takes it, which knows no NUL."""
    return name.replace("\0", "")
