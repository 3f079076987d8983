"""A run in the words of the Agent Server API: what its clients read, whatever asks for it."""

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from outlast.domain.assistant import system_id
from outlast.domain.run import RunStatus, RunView

#: A run's status as clients know it.
WireStatus = Literal["pending", "running", "success", "error", "timeout", "interrupted"]

_WIRE: Final[Mapping[RunStatus, WireStatus]] = {
    RunStatus.BLOCKED: "pending",
    RunStatus.QUEUED: "pending",
    RunStatus.RUNNING: "running",
    # A plain run that waits for a person: for these clients it stands still, and the answer is a run of its own.
    RunStatus.WAITING: "interrupted",
    RunStatus.SUCCEEDED: "success",
    RunStatus.FAILED: "error",
    RunStatus.CANCELLED: "interrupted",
    RunStatus.INTERRUPTED: "interrupted",
}
_TIMED_OUT: Final = "timed_out"


def wire_status(status: RunStatus, error_code: str | None = None) -> WireStatus:
    """Return a run's status in the words of the API; a run that took too long is a kind of its own there."""
    return "timeout" if status is RunStatus.FAILED and error_code == _TIMED_OUT else _WIRE[status]


def run_body(run: RunView) -> dict[str, Any]:
    """Return a run as the API shows it."""
    return {
        "run_id": str(run.id),
        "thread_id": run.thread_id,
        "assistant_id": str(run.assistant_id or system_id(run.agent)),
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "status": wire_status(run.status, run.error_code),
        "metadata": run.metadata,
        "kwargs": _arguments(run),
        "multitask_strategy": run.multitask,
        "cancel_reason": run.cancel_reason,
    }


def _arguments(run: RunView) -> dict[str, Any]:
    """Return what the graph is called with."""
    options = run.options
    return {
        "input": run.input,
        "command": options.command,
        "config": run.config,
        "context": options.context,
        "checkpoint": options.checkpoint,
        "stream_mode": list(options.stream_modes),
        "interrupt_before": options.interrupt_before,
        "interrupt_after": options.interrupt_after,
        "webhook": run.webhook,
        "feedback_keys": list(options.feedback_keys),
        "temporary": run.temporary,
        "subgraphs": options.stream_subgraphs,
        "resumable": options.resumable,
        "checkpoint_during": options.durability != "exit",
        "durability": options.durability,
    }


def error_body(code: str, message: str | None) -> dict[str, str]:
    """Return an error as streams and results tell it; its kind is not told twice."""
    return {"error": code, "message": (message or code).removeprefix(f"{code}: ")}


def result_body(run: RunView, values: Any) -> Any:
    """Return what a client gets that waited for a run: the values, with what is asked beside them, or the error."""
    if run.status is RunStatus.FAILED:
        return {"__error__": error_body(run.error_code or "error", run.error_message)}
    # What a breakpoint asks has no id: there, the client goes on with a run that has no input.
    asked = [question for question in run.interrupts or () if question.get("id") is not None]
    if run.status not in (RunStatus.INTERRUPTED, RunStatus.WAITING) or not asked:
        return values
    shown = cast("dict[str, Any]", values) if isinstance(values, dict) else {}
    return {**shown, "__interrupt__": asked}
