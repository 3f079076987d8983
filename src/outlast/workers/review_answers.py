"""What a person has said about an output, done before the graph of the run is called.

    approve   the run succeeds with the output as it is, if that is what was looked at: the hash is compared
    edit      what was edited is written into the thread, and is the output
    reject    the run fails with `rejected`
    respond   the graph is called with the message, and its output is looked at like any other

A plain run has the answer itself; with the Agent Server API it is a run of its own, which finds the review by the id of
the question. Each of them may be repeated after a crash: whether an edit or a message has reached the thread is told by
where the thread stands. An answer that cannot be read or done is asked for again, under another id.
"""

from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from outlast.agents import calling
from outlast.agents.outputs import checkpoint_id_of, rest, write_edit
from outlast.agents.runner import Given
from outlast.domain.outcome import Outcome, Succeeded
from outlast.domain.question import WORDS, Decision, hash_of
from outlast.domain.review import Review, read_answer
from outlast.errors import InvalidInput
from outlast.telemetry import emit
from outlast.validation.validator import Reason
from outlast.workers.reviewing import Attempt, Look, Reviewer, rejected

#: The output was edited, or the graph changed, since it was looked at.
_CHANGED = "what was decided about is not what stands there now; look at it again"
_UNHEARD = "the agent has no place for a message; approve, edit or reject"


async def execute(reviewer: Reviewer, attempt: Attempt) -> Outcome:
    """Take a run from its claim to its outcome: an answer first, then the graph, then the look at its output."""
    look = reviewer.of(attempt)
    review = await _asked(reviewer, attempt)
    if review is None:
        return await look.until_acceptable(await attempt.call(None))
    return await Answered(reviewer, attempt, look, review).outcome()


async def _asked(reviewer: Reviewer, attempt: Attempt) -> Review | None:
    run = attempt.run
    if not run.answered or not run.asked:
        return None
    return await reviewer.store.asked(run, run.asked)


@dataclass(frozen=True, slots=True)
class Answered:
    """A run that has the answer to a review."""

    reviewer: Reviewer
    attempt: Attempt
    look: Look
    review: Review

    async def outcome(self) -> Outcome:
        """Do what the answer says; returns how the attempt ends."""
        run, store = self.attempt.run, self.reviewer.store
        head = await self.attempt.saver.aget_tuple({"configurable": {"thread_id": run.thread_id}})
        stands = checkpoint_id_of(head) == self.review.checkpoint_id
        if not stands and (head is None or not calling.is_of(run, head)):
            # Somebody else has moved the thread on: nobody asks any more, and what is there is looked at anew.
            return await self._as_usual()
        await self.look.begun()
        try:
            decision = self._decision()
            told = self._told(decision)
        except InvalidInput as error:
            return await self._again(str(error))
        await store.decide(run, self.review, decision.decision)
        emit("review.answered", run_id=run.id, agent=run.agent, decision=decision.decision)
        return await self._done(decision, told, head, stands=stands)

    async def _done(self, decision: Decision, told: Any, head: CheckpointTuple | None, *, stands: bool) -> Outcome:
        match decision.decision:
            case "reject":
                return rejected(decision.message or _text(decision.value))
            case "edit":
                return await self._edited(decision.value, stands=stands)
            case "approve" if stands:
                return await self._approved(head)
            case "respond" if stands:
                return await self.look.until_acceptable(await self.attempt.call(Given(told)))
            case _:
                # The message has reached the thread already.
                return await self._as_usual()

    async def _as_usual(self) -> Outcome:
        return await self.look.until_acceptable(await self.attempt.call(None))

    def _decision(self) -> Decision:
        """Return what was said; raises InvalidInput when that is nothing that may be done here."""
        allowed = self.review.question.get("allowed", WORDS)
        decision = read_answer(self.attempt.run.answer, question_id=self.review.question_id, allowed=allowed)
        if decision.hash is not None and decision.hash != self.review.hash:
            raise InvalidInput(_CHANGED, field="hash")
        return decision

    def _told(self, decision: Decision) -> Any:
        if decision.decision != "respond":
            return None
        message = decision.message or _text(decision.value) or ""
        told = self.look.told(message, "person")
        if told is None:
            raise InvalidInput(_UNHEARD, field="answer")
        return told

    async def _approved(self, head: CheckpointTuple | None) -> Outcome:
        outcome = await self.attempt.call(Given(None))
        before = None if head is None else head.metadata.get("graph_version")
        # A state never changes, but what another version of the graph declares of it as its output may.
        if not isinstance(outcome, Succeeded) or before in {None, self.attempt.agent.version}:
            return outcome
        same = hash_of((await self.look.output(outcome)).subject) == self.review.hash
        return outcome if same else await self._again(_CHANGED, outcome)

    async def _edited(self, value: Any, *, stands: bool) -> Outcome:
        attempt, graph = self.attempt, self.attempt.graph
        config = calling.run_config(attempt.run, version=attempt.agent.version)
        if not stands:
            # It was written by an attempt that ended then.
            await rest(graph, config)
            return await attempt.call(Given(None))
        try:
            await write_edit(graph, config, self.review.question.get("subject"), value)
        except InvalidInput as error:
            return await self._again(str(error))
        emit("review.edited", run_id=attempt.run.id, agent=attempt.run.agent)
        return await attempt.call(Given(None))

    async def _again(self, problem: str, outcome: Outcome | None = None) -> Outcome:
        """Ask anew about what stands there, and say what was wrong with the answer."""
        called = outcome or await self.attempt.call(Given(None))
        if not isinstance(called, Succeeded):
            return called
        await self.reviewer.store.decide(self.attempt.run, self.review, "unreadable")
        output = await self.look.output(called)
        last = (await self.look.standing()).last
        if last is not None and last.position > self.review.position and last.binds(output.checkpoint_id):
            return self.look.ended(last, called)
        why = [Reason(**reason) for reason in self.review.reasons]
        question = self.look.question(output, why, self.review.severity, problem=problem)
        review = await self.look.add(
            output, "escalate", reasons=self.review.reasons, severity=self.review.severity, question=question
        )
        return self.look.ended(review, called)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
