"""Runs: how they end, how long they take, how they are recovered."""

from collections.abc import Mapping
from typing import Any, Final

from outlast.domain.run_summary import RunSummary
from outlast.monitoring.metrics.figure import LONG, NAMES, OTHER, USUAL, counter, histogram, stored
from outlast.monitoring.metrics.meter import Handler, Meter
from outlast.telemetry import surroundings

STATUSES: Final = ("success", "error", "interrupt", "cancelled")
_STORED_AS: Final = {"failed": "error", "cancelled": "cancelled"}
# How sure an agent is; the shipped rules look at 0.5 and 0.7.
_SHARES: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

TASKS = counter(
    "agent_tasks_total", "Runs that ended or stopped to ask a person.", agent_name=NAMES, status=STATUSES
)  # fmt: skip
LATENCY = histogram(
    "agent_latency_seconds", "Work of the attempt with which a run ended or stopped, claim to end.", USUAL,
    agent_name=NAMES,
)  # fmt: skip
CONFIDENCE = histogram(
    "agent_confidence_score", "How sure an agent said it is of its output, 0 to 1.", _SHARES, agent_name=NAMES
)  # fmt: skip
FIRST_BYTE = histogram(
    "outlast_first_byte_seconds",
    "From the moment in which a run was ready to the first thing that it said.",
    USUAL,
    agent_name=NAMES,
)
QUEUE_WAIT = histogram(
    "outlast_queue_wait_seconds", "How long a run was ready before it was claimed.", USUAL, agent_name=NAMES
)
RESOLUTION = histogram(
    "outlast_resolution_seconds", "From the creation of a run to its final end, waiting for people included.", LONG,
    agent_name=NAMES,
)  # fmt: skip
NODES = histogram("outlast_node_seconds", "Execution of a node.", USUAL, agent_name=NAMES, node=NAMES)
RUN_RETRIES = counter(
    "outlast_run_retries_total", "Attempts that failed and are made again.", agent_name=NAMES
)  # fmt: skip
RESUMES = counter(
    "outlast_resumes_total", "Ends of attempts that went on with what earlier ones had stored.",
    outcome=("success", "error"),
)  # fmt: skip
INVALID = counter(
    "outlast_validation_failures_total", "Attempts in whose output a validator found fault.", agent_name=NAMES
)
CLAIMS = counter("outlast_claims_total", "Runs that a worker took from the queue.")
LEASE_LOSSES = counter("outlast_lease_losses_total", "Writes refused because another worker owned the run by then.")
DEATHS = counter("outlast_worker_deaths_total", "Workers that were found dead.")
RECOVERED = counter("outlast_runs_recovered_total", "Runs of dead workers that were given back to the queue.")
RECOVERY = histogram(
    "outlast_recovery_seconds", "From a worker's last sign of life to the moment in which its runs were given back.",
    (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0),
)  # fmt: skip
RUNS = stored(
    "outlast_runs", "Runs that have not ended, by status; later: queued, but not due yet.",
    status=("queued", "later", "running", "waiting", "blocked"),
)  # fmt: skip
OLDEST_QUEUED = stored("outlast_oldest_queued_seconds", "How long the first queued run has been due.")
WORKERS = stored("outlast_workers", "Live workers.")
SLOTS = stored("outlast_worker_slots", "Runs that all live workers may have at the same time.")
DEAD_LETTERS = stored(
    "outlast_dead_letters", "Failed runs that nobody has replayed or discarded.", agent_name=NAMES
)  # fmt: skip
OLDEST_DEAD_LETTER = stored("outlast_oldest_dead_letter_seconds", "Time since the first of them has failed.")
SESSIONS = histogram(
    "outlast_session_seconds",
    "From the first run of a thread to the end of the last one; a pause of half an hour begins anew.", LONG,
    agent_name=NAMES,
)  # fmt: skip

FIGURES = (
    TASKS, LATENCY, CONFIDENCE, FIRST_BYTE, QUEUE_WAIT, RESOLUTION, SESSIONS, NODES, RUN_RETRIES, RESUMES, INVALID,
    CLAIMS, LEASE_LOSSES, DEATHS, RECOVERED, RECOVERY, RUNS, OLDEST_QUEUED, WORKERS, SLOTS, DEAD_LETTERS,
    OLDEST_DEAD_LETTER,
)  # fmt: skip


def _ended(meter: Meter, fields: Mapping[str, Any]) -> None:
    summary: RunSummary = fields["summary"]
    agent = summary.agent
    meter.observe(QUEUE_WAIT, summary.queued_seconds, agent)
    if summary.first_byte_seconds is not None:
        meter.observe(FIRST_BYTE, summary.first_byte_seconds, agent)
    if summary.invalid:
        meter.add(INVALID, agent)
    if summary.outcome == "retry":
        meter.add(RUN_RETRIES, agent)
    if summary.ended:
        _stopped(meter, summary)


def _stopped(meter: Meter, summary: RunSummary) -> None:
    agent, outcome = summary.agent, summary.outcome
    meter.add(TASKS, agent, outcome)
    meter.observe(LATENCY, summary.seconds, agent)
    if summary.confidence is not None:
        meter.observe(CONFIDENCE, summary.confidence, agent)
    if outcome != "interrupt":
        meter.observe(RESOLUTION, summary.total_seconds, agent)
    # The first claim of a run has nothing to go on with.
    if summary.epoch > 1 and outcome != "cancelled":
        meter.add(RESUMES, "error" if outcome == "error" else "success")


def _taken_away(meter: Meter, fields: Mapping[str, Any]) -> None:
    meter.add(TASKS, fields["agent"], _STORED_AS.get(fields["status"], OTHER))


def _node(meter: Meter, fields: Mapping[str, Any]) -> None:
    meter.observe(NODES, fields["seconds"], surroundings().get("agent"), fields["node"])


def _reaped(meter: Meter, fields: Mapping[str, Any]) -> None:
    meter.add(RECOVERED, by=len(fields["runs"]))
    for seconds in fields.get("silent_seconds", ()):
        meter.observe(RECOVERY, seconds)


HEARD: Final[Mapping[str, Handler]] = {
    "run.ended": _ended,
    "run.taken_away": _taken_away,
    "node.ended": _node,
    "run.claimed": lambda meter, fields: meter.add(CLAIMS, by=fields["runs"]),
    "run.lease_lost": lambda meter, _: meter.add(LEASE_LOSSES),
    "recovery.before_reap": lambda meter, fields: meter.add(DEATHS, by=len(fields["workers"])),
    "recovery.reaped": _reaped,
}
