"""The stages that decide, in order: limits -> policies -> budgets -> queue.

    run -> each stage in turn: allows it, delays it, wants a person to be asked, or refuses -> the run with the decision

The first refusal ends it, and nothing but the refusal is stored. What a run takes of limits is taken in the moment in
which it is stored, if whoever stores it can do that (`deferring`); a refusal of a later stage takes it, too.
"""

from collections.abc import Sequence
from dataclasses import replace

from outlast.admission.recording import Recorder
from outlast.domain.acting import principal
from outlast.domain.admission import Allow, AskHuman, Later, Refuse, Stage, Verdict
from outlast.domain.decision import Decision
from outlast.domain.limits import Taken
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

    async def decide(self, run: NewRun, *, deferring: bool = False) -> NewRun:
        """Return the run as it is to be stored, with the decision about it.

        With `deferring` it may have `takes`; where they cannot be had, `taken` says what becomes of it. Raises what the
        stage refuses with: RateLimited, PolicyRefused, BudgetExceeded, QueueFull, Overloaded.
        """
        who, decision = principal(), Decision()
        for stage in self._stages:
            decide = stage.decide_stored if deferring and stage.decide_stored else stage.decide
            try:
                verdict = await decide(run, who)
            except AdmissionRefused as error:
                await self._refused(stage, run, error, None)
                raise
            run, decision = await self._heard(stage, run, decision, verdict)
        return replace(run, decision=self._recorder.of_stored(decision))

    async def taken(self, run: NewRun, taken: Taken) -> NewRun:
        """Return the run as it is to be stored once this was taken, or not; raises RateLimited."""
        assert run.takes is not None  # noqa: S101 - it was asked for
        stage = next(stage for stage in self._stages if stage.decide_stored is not None)
        verdict, before = run.takes.said(taken), run.decision or Decision()
        run, decision = await self._heard(stage, replace(run, takes=None), before, verdict)
        return replace(run, decision=self._recorder.of_stored(decision))

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
            case Allow(instead=instead, note=note, takes=takes):
                run = instead or run
                return run if takes is None else replace(run, takes=takes), _noted(before, stage, note)
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
        if run.takes is not None:
            # It counts, and what the limits say comes first.
            await self.taken(run, await run.takes.now())
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
