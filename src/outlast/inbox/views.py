"""Questions as they are shown: over HTTP and, with `--json`, on the command line."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from outlast.domain.question import Comment, Question, QuestionStatus, Vote, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonBody:
    """Why a person is asked."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteBody:
    """What the first of two people has decided; the second has to decide the same."""

    by: str | None
    decision: Word
    value: Any
    message: str | None
    at: datetime

    @classmethod
    def of(cls, vote: Vote) -> Self:
        """Render it."""
        said = vote.decision
        return cls(by=vote.author, decision=said.decision, value=said.value, message=said.message, at=vote.said_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentBody:
    """A remark."""

    by: str | None
    text: str
    at: datetime

    @classmethod
    def of(cls, comment: Comment) -> Self:
        """Render it."""
        return cls(by=comment.author, text=comment.text, at=comment.said_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class MayAnswer:
    """Whose answer counts, of those who have the scope `inbox:answer`."""

    #: Nobody else, if it is set.
    assignee: str | None
    #: Whoever has started the run, where somebody else is to answer.
    not_user: str | None
    #: How many different people have to decide the same.
    people: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLine:
    """A question in a list: without its content, which may be long, and is for those who open it."""

    id: UUID
    status: QuestionStatus
    kind: str
    question: str
    agent: str
    run_id: UUID
    thread_id: str
    requester: str | None
    assignee: str | None
    allowed: list[Word]
    asked_at: datetime
    due_at: datetime | None
    overdue: bool
    #: Those who have decided, where more than one has to.
    voted: list[str | None]
    decision: Word | None
    answered_by: str | None
    answered_at: datetime | None

    @classmethod
    def of(cls, question: Question) -> Self:
        """Render it."""
        return cls(**line_of(question))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionBody(QuestionLine):
    """A question with all that a decision needs; `subject` is exactly what is approved, and `hash` is its hash."""

    interrupt_id: str
    reasons: list[ReasonBody]
    value: Any
    subject: Any
    diff: Any
    links: Any
    hash: str
    may_answer: MayAnswer
    #: What is decided when nobody does until `due_at`; null: it stays open, and people are told again.
    default: dict[str, Any] | None
    reminders: int
    #: What was decided, with its value and message.
    answer: dict[str, Any] | None
    votes: list[VoteBody]
    comments: list[CommentBody]

    @classmethod
    def of(cls, question: Question) -> Self:
        """Render it."""
        return cls(
            **line_of(question),
            interrupt_id=question.interrupt_id,
            reasons=[ReasonBody(code=reason.code, text=reason.text) for reason in question.reasons],
            value=question.value,
            subject=question.subject,
            diff=question.diff,
            links=question.links,
            hash=question.hash,
            may_answer=MayAnswer(
                assignee=question.assignee,
                not_user=question.requester if question.not_requester else None,
                people=question.needs,
            ),
            default=None if question.default is None else question.default.to_json(),
            reminders=question.reminders,
            answer=None if question.answer is None else question.answer.to_json(),
            votes=[VoteBody.of(vote) for vote in question.votes],
            comments=[CommentBody.of(said) for said in question.comments],
        )


def line_of(question: Question) -> dict[str, Any]:
    """Return the fields of a line."""
    return {
        "id": question.id, "status": question.status, "kind": question.kind, "question": question.question,
        "agent": question.agent, "run_id": question.run_id, "thread_id": question.thread_id,
        "requester": question.requester, "assignee": question.assignee, "allowed": list(question.allowed),
        "asked_at": question.asked_at, "due_at": question.due_at, "overdue": question.overdue,
        "voted": [vote.author for vote in question.votes],
        "decision": question.decision, "answered_by": question.answered_by, "answered_at": question.answered_at,
    }  # fmt: skip
