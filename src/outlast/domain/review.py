"""What is decided about an output that is not to be believed as it is, and what a person says about it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast
from uuid import UUID

from outlast.domain.question import WORDS, Decision, Word
from outlast.errors import InvalidInput

#: repair: the agent is told and tries again; escalate: a person is asked; accept: it counts, with a mark; fail: the run
#: fails.
Action = Literal["repair", "escalate", "accept", "fail"]
#: What became of a question; `unreadable`: the answer was none, or could not be done, and it is asked anew.
Decided = Literal["approve", "edit", "reject", "respond", "unreadable"]
#: The key of the mark in the metadata of a run whose output was accepted all the same.
MARK: Final = "review"
# In a chat the answer is a text.
_SAID: Final[Mapping[str, Word]] = {
    "approve": "approve", "approved": "approve", "yes": "approve", "true": "approve",
    "reject": "reject", "rejected": "reject", "no": "reject", "false": "reject",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One decision, in the order (`position`) of a line of runs; it is stored before anything is done about it."""

    thread_key: bytes
    lineage: UUID
    position: int
    run_id: UUID
    #: The state that the output is of.
    checkpoint_id: UUID
    action: Action
    reasons: Sequence[Mapping[str, str]] = ()
    severity: str | None = None
    #: What the question was asked with, as it is stored; empty for other actions.
    question: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Of what a person looks at: an approval is for nothing else.
    hash: str | None = None
    decision: Decided | None = None

    @property
    def question_id(self) -> str | None:
        """Return what answers name: the same for whoever asks this again."""
        if self.action != "escalate":
            return None
        named = f"{self.thread_key.hex()}:{self.lineage.hex}:{self.position}".encode()
        return hashlib.blake2b(named, digest_size=16, person=b"outlast.review").hexdigest()

    @property
    def mark(self) -> dict[str, Any] | None:
        """Return what the run's metadata says of an output that was accepted with a mark; codes, and no content."""
        if self.action != "accept":
            return None
        codes = list(dict.fromkeys(reason["code"] for reason in self.reasons))
        return {MARK: {"verdict": "accepted", "severity": self.severity, "codes": codes}}

    def binds(self, checkpoint_id: UUID) -> bool:
        """Whether it was decided about this very output, and is still to be done; then nothing is decided anew.

        A run that failed and is replayed gets another look: whoever replays it has changed something.
        """
        return self.checkpoint_id == checkpoint_id and self.decision is None and self.action != "fail"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a line of runs stands: its last decision, and its repairs since a person was asked last."""

    last: Review | None = None
    repairs: int = 0

    @property
    def next_position(self) -> int:
        """Return where the next decision goes."""
        return 1 if self.last is None else self.last.position + 1

    def after(self, review: Review) -> "Standing":
        """Return where the line stands once this was decided."""
        return Standing(review, self.repairs + (review.action == "repair"))


def read_answer(answer: Any, *, question_id: str | None = None, allowed: Sequence[str] = WORDS) -> Decision:
    """Read what a person sent: a decision, one by the id of its question, a bare word, true or false.

    Raises InvalidInput that says what is wrong with it.
    """
    if isinstance(answer, Mapping) and question_id is not None and question_id in answer:
        answer = cast("Mapping[str, Any]", answer)[question_id]
    if isinstance(answer, bool):
        answer = "approve" if answer else "reject"
    if isinstance(answer, str):
        answer = _SAID.get(answer.strip().lower(), answer)
    decision = Decision.of_json(answer, field="answer")
    if decision.decision not in allowed:
        msg = f"{decision.decision!r} is not among what may be decided here: {', '.join(allowed)}"
        raise InvalidInput(msg, field="answer")
    if decision.decision == "edit" and decision.value is None:
        raise InvalidInput("an edit brings what is to stand there as `value`", field="answer")
    return decision
