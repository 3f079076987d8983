"""A look at what an agent has put out, between the end of its graph and the settlement of its run.

    graph ended -> validators -> valid   -> rules of escalation -> nothing said -> succeeded
                              -> invalid -> repair    the graph is called again with the reasons
                                         -> escalate  the run waits for a person
                                         -> accept    succeeded, with a mark
                                         -> fail      validation_failed

Each decision that is not `succeeded` is stored before anything is done about it, under the run's epoch and with the
checkpoint that it is about. Whoever goes on after a crash finds it: an output that is to be repaired is repaired and
not counted again, a question is asked again under the same id. An output that nothing speaks against costs no write.

An answer is dealt with first: see `review_answers`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import orjson
from langgraph.types import Interrupt

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.chunks import Part
from outlast.agents.outputs import Output, output_of, sent_back
from outlast.agents.recording import Recorder
from outlast.agents.registry import Agent
from outlast.agents.runner import Given
from outlast.agents.states import bound
from outlast.calls.scope import note_invalid
from outlast.domain.outcome import Failed, Outcome, Succeeded, Waiting
from outlast.domain.question import hash_of
from outlast.domain.review import Action, Review, Standing
from outlast.domain.run import ClaimedRun
from outlast.errors import ConfigurationError
from outlast.settings_escalation import EscalationRules, EscalationSettings
from outlast.storage.postgres.reviews import ReviewStore
from outlast.telemetry import emit
from outlast.validation.engine import AgentValidation, Validation
from outlast.validation.escalation import Anomalies, Subject, reasons
from outlast.validation.novelty import fingerprint
from outlast.validation.validator import Context, Invalid, Reason, Valid

# More repairs than there can be: what is done when they are used up.
_USED_UP: Final = 10**9
_INVALID_CODE, _REJECTED_CODE = "validation_failed", "rejected"
_HOW: Final = (
    'Answer {"decision": "approve"}; {"decision": "edit", "value": ...} with what is to stand there; '
    '{"decision": "reject", "message": "..."}, then the run fails; {"decision": "respond", "message": "..."}, then the '
    "agent is told so and tries again."
)

#: Calls the graph of the attempt.
Call = Callable[[Given | None], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A run while it is executed, and how its graph is called."""

    run: ClaimedRun
    agent: Agent
    saver: Checkpointer
    recorder: Recorder
    call: Call

    @property
    def graph(self) -> Any:
        """The agent's graph on the attempt's saver."""
        return bound(self.agent, self.saver)


class Reviewer:
    """Looks at the outputs of all agents; one for the whole worker."""

    def __init__(
        self,
        store: ReviewStore,
        validation: Validation,
        escalation: EscalationSettings,
        *,
        agents: Sequence[str],
        anomalies: Anomalies | None = None,
    ) -> None:
        """Keep what is asked; raises ConfigurationError for rules of an agent that there is none of."""
        if unknown := sorted(set(escalation.agents) - set(agents)):
            known = ", ".join(agents) or "none"
            msg = f"escalation.agents.{unknown[0]}: there is no agent {unknown[0]!r} in the project; there is: {known}"
            raise ConfigurationError(msg)
        self.store = store
        self.validation = validation
        self._rules = {name: escalation.of(name) for name in agents}
        self._anomalies = anomalies

    def of(self, attempt: Attempt) -> "Look":
        """Return what looks at the outputs of one attempt."""
        name = attempt.run.agent
        return Look(
            attempt,
            self.store,
            self.validation.of(name, attempt.agent.graph),
            self._rules[name],
            self._anomalies,
        )


class Look:
    """The outputs of one attempt, and where the line of its run stands."""

    def __init__(
        self,
        attempt: Attempt,
        store: ReviewStore,
        checks: AgentValidation,
        rules: EscalationRules,
        anomalies: Anomalies | None,
    ) -> None:
        self._attempt = attempt
        self._run = attempt.run
        self._store = store
        self._checks = checks
        self._rules = rules
        self._anomalies = anomalies
        self._standing: Standing | None = None
        self._begun_with: tuple[Any, Any] | None = None

    @cached_property
    def _graph(self) -> Any:
        return self._attempt.graph

    @property
    def concerned(self) -> bool:
        """Whether anybody wants to see this agent's outputs."""
        return self._checks.concerns() or bool(self._rules.rules)

    async def until_acceptable(self, outcome: Outcome) -> Outcome:
        """Look at the output; call the graph again for as long as there are repairs. Returns how the attempt ends."""
        if not self.concerned:
            return outcome
        repaired: Output | None = None
        while isinstance(outcome, Succeeded):
            output = await self.output(outcome)
            # A graph that has stored nothing when it was told has not heard it.
            stuck = repaired is not None and repaired.checkpoint_id == output.checkpoint_id
            review = await self._decided(output, stuck=stuck)
            if review is None:
                return outcome
            if review.action != "repair":
                return self.ended(review, outcome)
            emit("review.repair.before", run_id=self._run.id, agent=self._run.agent, position=review.position)
            told = self._told(_objections(review.reasons), review.reasons)
            outcome, repaired = await self._attempt.call(Given(told, again=True)), output
        return outcome

    async def output(self, outcome: Succeeded) -> Output:
        """Return what a run that has ended says."""
        return await output_of(self._graph, self._attempt.saver, self._run.thread_id, outcome)

    async def standing(self) -> Standing:
        """Return where the line of the run stands; looked up once, and not where nobody can have decided anything."""
        if self._standing is None:
            fresh = self._run.epoch == 1 and self._run.lineage == self._run.id
            self._standing = Standing() if fresh else await self._store.standing(self._run)
        return self._standing

    async def add(self, output: Output, action: Action, **fields: Any) -> Review:
        """Store the next decision; it counts from here on, whoever goes on."""
        standing = await self.standing()
        run = self._run
        review = Review(
            thread_key=run.thread_key, lineage=run.lineage, position=standing.next_position, run_id=run.id,
            checkpoint_id=output.checkpoint_id, action=action, hash=hash_of(output.subject), **fields,
        )  # fmt: skip
        await self._store.add(run, review)
        self._standing = standing.after(review)
        return review

    def can_be_told(self) -> bool:
        """Whether there is a way to tell the agent anything."""
        return self._told("", []) is not None

    def told(self, message: str, code: str) -> Any:
        """Return the input that tells the agent what a person says; None: there is no way to."""
        return self._told(message, [{"code": code, "text": message}])

    def _told(self, text: str, why: Any) -> Any:
        given = self._run.input if self._begun_with is None else self._begun_with[0]
        return sent_back(self._graph, text, why, given=given)

    async def _decided(self, output: Output, *, stuck: bool) -> Review | None:
        """Return the decision about an output, stored; None: nothing speaks against it."""
        last = (await self.standing()).last
        if last is not None and last.binds(output.checkpoint_id) and not stuck:
            return last
        given, metadata = await self.begun()
        invalid = await self._invalid(output, given)
        action = None if invalid is None else self._action(invalid, stuck=stuck)
        why = [] if invalid is None else list(invalid.reasons)
        if action in {None, "accept", "escalate"}:
            subject = Subject(agent=self._run.agent, input=given, metadata=metadata, output=output.value)
            more = await reasons(subject, self._rules, distance=self._distance, anomalies=self._anomalies)
            action, why = ("escalate" if more else action), [*why, *more]
        if action is None:
            return None
        told = [reason.as_json() for reason in why]
        severity = None if invalid is None else invalid.severity
        question = self.question(output, why, severity) if action == "escalate" else {}
        return await self.add(output, action, reasons=told, severity=severity, question=question)

    async def begun(self) -> tuple[Any, Any]:
        """Return the input and the metadata that the line of the run was begun with; looked up once."""
        if self._begun_with is None:
            self._begun_with = await self._store.begun_with(self._run)
        return self._begun_with

    async def _invalid(self, output: Output, given: Any) -> Invalid | None:
        if not self._checks.concerns():
            return None
        run, repairs = self._run, (await self.standing()).repairs
        context = Context(
            input=given, messages=output.messages, agent=run.agent, thread_id=run.thread_id, run_id=run.id,
            sources=self._checks.sources_of(input=given, output=output.value, messages=output.messages),
            tenant=run.tenant, user=run.user_id, attempt=repairs + 1,
        )  # fmt: skip
        verdict = await self._checks.check(output.value, context)
        if isinstance(verdict, Valid):
            return None
        note_invalid()
        return verdict

    def _action(self, invalid: Invalid, *, stuck: bool) -> Action:
        standing = self._standing or Standing()
        action = self._checks.rules.action(invalid, repaired=standing.repairs)
        if action == "repair" and (stuck or not self.can_be_told()):
            return self._checks.rules.action(invalid, repaired=_USED_UP)
        return action

    async def _distance(self, subject: Subject) -> tuple[int | None, int]:
        return await self._store.nearest(self._run, fingerprint(subject.input))

    def question(
        self, output: Output, why: list[Reason], severity: str | None = None, *, problem: str | None = None
    ) -> dict[str, Any]:
        """Return what a person is asked."""
        rules = self._rules
        told = [word for word in ("approve", "edit", "reject", "respond") if word != "respond" or self.can_be_told()]
        asked: dict[str, Any] = {
            "type": "review",
            "question": f"Is this output of agent {self._run.agent!r} to be believed?",
            "reasons": [reason.as_json() for reason in why],
            "severity": severity,
            "fields": list(dict.fromkeys(reason.field for reason in why if reason.field)),
            "allowed": told,
            "subject": output.subject,
            "deadline_seconds": None if rules.deadline is None else rules.deadline.total_seconds(),
            "default": None if rules.default is None else {"decision": rules.default},
            "needs": rules.needs,
            "not_requester": rules.not_requester,
            "assign_to": rules.assign_to,
            "problem": problem,
            "how": _HOW,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def ended(self, review: Review, outcome: Succeeded) -> Outcome:
        """Return how the attempt ends with a stored decision that is no repair."""
        fields = {"run_id": self._run.id, "agent": self._run.agent, "position": review.position}
        match review.action:
            case "escalate":
                emit("review.escalated", **fields, reasons=sorted({str(reason["code"]) for reason in review.reasons}))
                return _asking(review, outcome, self._attempt.recorder, plain=self._run.options.plain)
            case "accept":
                emit("review.accepted", **fields)
                return outcome
            case _:
                emit("review.failed", **fields)
                return Failed(code=_INVALID_CODE, message=_objections(review.reasons), retryable=False)


def rejected(message: str | None) -> Failed:
    """Return how a run ends whose output a person did not want."""
    said = f": {message}" if message else ""
    return Failed(code=_REJECTED_CODE, message=f"a person rejected the output{said}", retryable=False)


def _objections(told: Any) -> str:
    lines = [
        f"- {reason['field']}: {reason['text']}" if "field" in reason else f"- {reason['text']}" for reason in told
    ]
    return "\n".join(["Your last answer was not accepted:", *lines, "Answer again, with all of this corrected."])


def _asking(review: Review, outcome: Succeeded, recorder: Recorder, *, plain: bool) -> Waiting:
    """Return the question in the place of the end; whoever listens to the run hears it like one of the graph."""
    question_id = str(review.question_id)
    question = {"id": question_id, "value": dict(review.question)}
    asked = (Interrupt(value=question["value"], id=question_id),)
    state: Any = outcome.output if outcome.values is None else orjson.loads(outcome.values)
    recorder.record(Part("updates", (), {"__interrupt__": asked}))
    recorder.record(Part("values", (), state, asked))
    return Waiting(
        interrupts=[question],
        checkpoint_id=review.checkpoint_id,
        # Nobody takes it for the output before somebody has decided that it is. Clients of the Agent Server API read
        # the state, where it stands all the same.
        output=None if plain else outcome.output,
        values=outcome.values,
        tasks={str(UUID(question_id)): [question]},
        stands_at=review.checkpoint_id,
    )
