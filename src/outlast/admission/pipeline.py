"""The stages that decide, in order: limits -> policies -> budgets -> queue.

    run -> each stage in turn: allows it, delays it, wants a person to be asked, or refuses -> the run with the decision

The first refusal ends it, and nothing but the refusal is stored.
"""

from collections.abc import Sequence
from dataclasses import replace

from outlast.admission.recording import Recorder
from outlast.domain.acting import principal
from outlast.domain.admission import Allow, AskHuman, Later, Refuse, Stage, Verdict
from outlast.domain.decision import Decision
from outlast.domain.run import NewRun
from outlast.errors import OutlastError
from outlast.refusals import AdmissionRefused, PolicyRefused
from outlast.storage.postgres.audit import AuditLog


class Pipeline:
    """Asks the stages about runs, on behalf of whoever is acting."""

    def __init__(self, stages: Sequence[Stage], recorder: Recorder, *, audit: AuditLog | None = None) -> None:
        self._stages = tuple(stages)
        self._recorder = recorder
        self._audit = audit

    async def decide(self, run: NewRun) -> NewRun:
        """Return the run as it is to be stored, with the decision about it.

        Raises what the stage refuses with: RateLimited, PolicyRefused, BudgetExceeded, QueueFull, Overloaded.
        """
        (decided,) = await self.decide_all([run])
        return decided

    async def decide_all(self, runs: Sequence[NewRun]) -> list[NewRun]:
        """Decide about runs that are stored together or not at all; raises for the first that is refused."""
        decided = [(run, Decision()) for run in runs]
        for stage in self._stages:
            verdicts = await self._ask(stage, [run for run, _ in decided])
            decided = [
                await self._heard(stage, run, decision, verdict)
                for (run, decision), verdict in zip(decided, verdicts, strict=True)
            ]
        return [replace(run, decision=self._recorder.of_stored(decision)) for run, decision in decided]

    async def _ask(self, stage: Stage, runs: Sequence[NewRun]) -> Sequence[Verdict]:
        who = principal()
        try:
            if stage.decide_all is not None:
                return await stage.decide_all(runs, who)
            return [await stage.decide(run, who) for run in runs]
        except AdmissionRefused as error:
            await self._refused(stage, runs[0], error, None)
            raise

    async def _heard(self, stage: Stage, run: NewRun, before: Decision, verdict: Verdict) -> tuple[NewRun, Decision]:
        match verdict:
            case Allow(instead=instead, note=note):
                return instead or run, _noted(before, stage, note)
            case Later(seconds=seconds, reason=reason):
                return _later(stage, run, before, seconds, reason)
            case AskHuman(question=question, by=by):
                # The first question is the one that is asked; it says more than any delay.
                reason = f"{by}: {question}" if by else question
                asked = replace(before, verdict="ask", stage=stage.name, reason=reason, question=question, asked_by=by)
                return run, before if before.verdict == "ask" else asked
            case Refuse(reason=reason, by=by, error=error):
                refusal = error or PolicyRefused(policy=by or stage.name, reason=reason)
                await self._refused(stage, run, refusal, reason if error is None else None)
                raise refusal

    async def _refused(self, stage: Stage, run: NewRun, error: OutlastError, reason: str | None) -> None:
        decision = Decision(verdict="refuse", stage=stage.name, code=error.code, reason=reason or str(error))
        await self._recorder.refused(run, decision)
        if self._audit is not None and isinstance(error, PolicyRefused):
            await self._audit.sample("policy.refused", f"policy:{error.policy}", {"agent": run.agent})


def _noted(before: Decision, stage: Stage, note: str | None) -> Decision:
    if note is None:
        return before
    if before.reason is None:
        return replace(before, stage=stage.name, reason=note)
    return replace(before, reason=f"{before.reason}; {note}")


def _later(stage: Stage, run: NewRun, before: Decision, seconds: float, reason: str) -> tuple[NewRun, Decision]:
    """Let the run start no sooner; what the client itself wants may be later still."""
    delayed = replace(run, delay_seconds=max(run.delay_seconds, seconds))
    if before.verdict == "ask" or seconds <= before.delay_seconds:
        return delayed, before
    return delayed, replace(before, verdict="later", stage=stage.name, reason=reason, delay_seconds=seconds)
