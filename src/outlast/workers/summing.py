"""The summary of an attempt, made when its outcome is stored and before it is forgotten: `domain.run_summary`.

What the agent said is looked at once, in time that grows with its length, up to a limit; nothing of it is kept but
figures. It is done after the outcome is stored, so that nobody waits for it.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from outlast.agents.outputs import declared
from outlast.calls.tally import Tally
from outlast.domain.outcome import Outcome, Settlement, Succeeded
from outlast.domain.redaction import redacted
from outlast.domain.run import ClaimedRun, RunStatus
from outlast.domain.run_summary import RunContent, RunOutcome, RunSummary
from outlast.domain.trace_context import trace_id_of
from outlast.settings_escalation import EscalationSettings
from outlast.telemetry import emit
from outlast.validation.answers import last_answer
from outlast.validation.escalation import confidence
from outlast.validation.novelty import fingerprint
from outlast.validation.paths import looked_up
from outlast.validation.refusals import refuses

# A longer state takes too long to be looked at on the event loop.
_MOST_BYTES: Final = 4 * 1024 * 1024
# A longer text is like its beginning.
_PRINTED: Final = 1_000
_MESSAGE_LENGTH: Final = 500
_OUTCOMES: Final[dict[RunStatus, RunOutcome]] = {
    RunStatus.SUCCEEDED: "success",
    RunStatus.FAILED: "error",
    RunStatus.WAITING: "interrupt",
    RunStatus.INTERRUPTED: "interrupt",
    RunStatus.CANCELLED: "cancelled",
}


@dataclass(slots=True)
class Account:
    """What the executor notes of one attempt on its way."""

    #: On the clock of `time.monotonic`; the attempt was claimed in that moment.
    began_at: float = field(default_factory=time.monotonic)
    tally: Tally = field(default_factory=Tally)
    #: When its graph said something first.
    first_at: float | None = None
    #: The graph, for what it declares as its output.
    graph: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What an output looks like; see the fields of `RunSummary`."""

    confidence: float | None = None
    output_length: int | None = None
    refused: bool = False
    empty: bool = False
    output_print: int | None = None
    input_print: int | None = None


class Summing:
    """Makes the summaries of a worker's attempts."""

    def __init__(self, escalation: EscalationSettings, *, looks: bool) -> None:
        """Look at outputs only with `looks`: if anybody wants to know what they look like (`[anomalies] enabled`)."""
        self._rules = escalation
        self._looks = looks
        self._by_agent: dict[str, Any] = {}

    def tell(
        self, run: ClaimedRun, account: Account, outcome: Outcome, settlement: Settlement, status: RunStatus
    ) -> None:
        """Say what the attempt was, as `run.ended`."""
        said = outcome.output if isinstance(outcome, Succeeded) else None
        summary = self.of(run, account, outcome, settlement, status)
        emit("run.ended", summary=summary, content=RunContent(run.input, said))

    def of(
        self, run: ClaimedRun, account: Account, outcome: Outcome, settlement: Settlement, status: RunStatus
    ) -> RunSummary:
        """Return the summary; `status` is what was stored."""
        seconds, tally = time.monotonic() - account.began_at, account.tally
        looked = self._looked(run, account, outcome) if status is RunStatus.SUCCEEDED else _Looked()
        first = None if account.first_at is None else account.first_at - account.began_at + run.queued_seconds
        message = None if settlement.error_message is None else redacted(settlement.error_message[:_MESSAGE_LENGTH])
        return RunSummary(
            run_id=run.id, thread_id=run.thread_id, agent=run.agent, tenant=run.tenant,
            user_id=user_of(run), epoch=run.epoch, trace_id=trace_of(run), status=status,
            outcome=_outcome_of(status, settlement), seconds=seconds, queued_seconds=run.queued_seconds,
            total_seconds=run.age_seconds + seconds, first_byte_seconds=first,
            error_class=settlement.error_code, error_message=message, models=tally.models, nodes=tally.nodes,
            tool_calls=tally.tool_calls, tool_errors=tally.tool_errors, retries=tally.retries,
            fallbacks=tally.fallbacks, invalid=tally.invalid, confidence=looked.confidence,
            output_length=looked.output_length, refused=looked.refused, empty=looked.empty,
            output_print=looked.output_print, input_print=looked.input_print,
        )  # fmt: skip

    def _looked(self, run: ClaimedRun, account: Account, outcome: Outcome) -> _Looked:
        if not isinstance(outcome, Succeeded) or account.graph is None or len(outcome.values or b"") > _MOST_BYTES:
            return _Looked()
        try:
            return self._look(run, declared(account.graph, outcome))
        # What a user's graph puts out can be anything; the run has ended well all the same.
        except Exception as error:  # noqa: BLE001
            emit("loop.failed", loop="summary", error=type(error).__name__, run_id=run.id)
            return _Looked()

    def _look(self, run: ClaimedRun, output: Any) -> _Looked:
        rules = self._by_agent.get(run.agent)
        if rules is None:
            rules = self._by_agent[run.agent] = self._rules.of(run.agent)
        sure = confidence(output, rules)
        if not self._looks:
            return _Looked(confidence=sure)
        said = last_answer(output)
        text = _as_text(output) if said is None else str(said.value)
        message = None if said is None else looked_up(output, said.path.removesuffix(".content"))
        return _Looked(
            confidence=sure,
            output_length=len(text),
            refused=refuses(text, message),
            empty=not text.strip(),
            output_print=fingerprint(text[:_PRINTED]),
            input_print=None if run.input is None else fingerprint(_as_text(run.input)[:_PRINTED]),
        )


def user_of(run: ClaimedRun) -> str | None:
    """Return on whose behalf it runs: of a key, or as the project's own auth says."""
    identity = None if run.options.user is None else run.options.user.get("identity")
    return run.user_id or (None if identity is None else str(identity))


def trace_of(run: ClaimedRun) -> str:
    """Return the id of its trace."""
    return trace_id_of(run.id, run.options.traceparent)


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, str) or value in ({}, []):
        return value if isinstance(value, str) else ""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode("utf-8", "replace")


def _outcome_of(status: RunStatus, settlement: Settlement) -> RunOutcome:
    return _OUTCOMES.get(status) or ("retry" if settlement.errors else "drained")
