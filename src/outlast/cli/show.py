"""Runs as text: tables for people, tab-separated lines for pipes, JSON for programs."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from outlast.cli import printing
from outlast.domain.run import RunStatus, RunView

if TYPE_CHECKING:
    from outlast.storage.postgres.admission import Recorded

_COLUMNS: Final = ("id", "status", "agent", "thread", "progress", "created", "error")
_COLOURS: Final = {
    RunStatus.RUNNING: "cyan",
    RunStatus.WAITING: "yellow",
    RunStatus.INTERRUPTED: "yellow",
    RunStatus.SUCCEEDED: "green",
    RunStatus.FAILED: "red",
}


def table(runs: Sequence[RunView]) -> None:
    """Print a line for each run."""

    def colour(place: int, column: str) -> str | None:
        return _COLOURS.get(runs[place].status) if column == "status" else None

    printing.rows(_COLUMNS, [*map(_cells, runs)], nothing="no runs", whole=("id", "status"), colour=colour)


def details(run: RunView, admission: "Recorded | None" = None) -> None:
    """Print all there is to know, and what can be done."""
    lines = {
        "run": run.id,
        "status": run.status,
        "agent": run.agent,
        "thread": run.thread_id,
        "progress": _progress(run),
        "created": _time(run.created_at),
        "admission": _admission(admission),
        "started": _time(run.started_at),
        "ended": _time(run.ended_at),
        "attempts": f"{run.errors} of {run.max_attempts} failed, {run.crashes} ended with their worker",
        "worker": f"pid {run.worker_pid}" if run.worker_pid else "",
        "error": f"{run.error_code}: {run.error_message}" if run.error_code else "",
    }
    for name, value in lines.items():
        if value:
            sys.stdout.write(f"{name:<10}{value}\n")
    for name, value in (("questions", run.interrupts), ("output", run.output)):
        if value is not None:
            sys.stdout.write(f"{name}\n{orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()}\n")
    if hint := _next_step(run):
        sys.stdout.write(f"\n{hint}\n")


def _admission(recorded: "Recorded | None") -> str:
    if recorded is None:
        return ""
    decision = recorded.decision
    by = f", by {decision.stage}" if decision.stage else ""
    return f"{decision.verdict}{by}: {decision.reason}" if decision.reason else f"{decision.verdict}{by}"


def _next_step(run: RunView) -> str:
    match run.status:
        case RunStatus.WAITING:
            return f"It waits for a person: see outlast inbox list, or outlast runs answer {run.id} '\"the answer\"'"
        case RunStatus.INTERRUPTED:
            return "It asked a person, and ended: see outlast inbox list. The answer is another run of its thread."
        case RunStatus.FAILED:
            return f"When the cause is repaired, it can go on from its last saved step: outlast runs replay {run.id}"
        case RunStatus.RUNNING if run.cancel_requested_at is not None:
            return "It was cancelled, and its worker is stopping it."
        case RunStatus.QUEUED:
            later = run.available_at > datetime.now(UTC)
            due = "It is due; a worker takes it up as soon as one has room (`outlast worker`)."
            return f"It is due at {_time(run.available_at)}." if later else due
        case _:
            return ""


def _cells(run: RunView) -> list[str]:
    error = run.error_code or ""
    cells = [str(run.id), run.status, run.agent, run.thread_id, _progress(run), _time(run.created_at), error]
    return [cell.replace("\t", " ").replace("\n", " ") for cell in cells]


def _progress(run: RunView) -> str:
    return "" if run.total is None else f"{run.completed}/{run.total}"


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
