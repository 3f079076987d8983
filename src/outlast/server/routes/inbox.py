"""The inbox of the caller's tenant: what people are asked, and what they say."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from outlast.admission.payload import check_value
from outlast.domain.question import Decision, QuestionStatus, Word
from outlast.inbox.views import CommentBody, QuestionBody, QuestionLine, line_of
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentGate, CurrentInbox
from outlast.server.paging import Limit, Offset, paged
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.listing import Page

router = APIRouter(prefix="/inbox", tags=["inbox"], route_class=PlainRoute, responses=DOCUMENTED)

Status = Literal["open", "answered", "expired", "withdrawn", "any"]
# PostgreSQL's text holds no NUL.
_Line = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]*$")]
_Text = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")]
_Filter = Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00]*$")]
_ANY: Final = "any"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DecisionBody(_Body):
    """What a person decides."""

    decision: Annotated[Word, Field(description="one of the question's `allowed`")]
    value: Annotated[Any, Field(description="edit: the subject as it shall be; respond: the response")] = None
    message: Annotated[_Text | None, Field(description="why; a rejected agent is told")] = None
    hash: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-f]{64}$", description="as the question shows it; 409 when it is another one by now"),
    ] = None

    def to_decision(self) -> Decision:
        """Return it for the inbox."""
        return Decision(decision=self.decision, value=self.value, message=self.message, hash=self.hash)


class AssignmentBody(_Body):
    """Who is to answer."""

    assignee: Annotated[_Line | None, Field(description="a user; null: nobody in particular")]


class NewCommentBody(_Body):
    """A remark for whoever answers; the agent does not see it."""

    text: _Text


@router.get("", response_model=list[QuestionLine])
async def questions(  # noqa: PLR0917 - what a query may say
    inbox: CurrentInbox,
    status: Annotated[Status, Query(description="`any`: also those that are answered, expired or withdrawn")] = "open",
    kind: _Filter = None,
    agent: _Filter = None,
    assignee: _Filter = None,
    thread_id: _Filter = None,
    run_id: UUID | None = None,
    overdue: Annotated[bool, Query(description="only those past their deadline")] = False,  # noqa: FBT002 - as FastAPI wants it
    limit: Limit = 50,
    offset: Offset = 0,
) -> Json:
    """List questions, those that are due first before the others; `X-Pagination-Total` says how many there are."""
    found, total = await inbox.find(
        status=None if status == _ANY else QuestionStatus(status),
        kind=kind, agent=agent, assignee=assignee, thread_id=thread_id, run_id=run_id, overdue=overdue,
        limit=limit, offset=offset,
    )  # fmt: skip
    return paged([line_of(question) for question in found], total=total, page=Page(limit, offset))


@router.get("/{question_id}", response_model=QuestionBody)
async def question(question_id: UUID, inbox: CurrentInbox) -> Json:
    """Return a question with all that a decision needs."""
    return Json(QuestionBody.of(await inbox.get(question_id)))


# Whoever may answer need not be somebody who may read: what is returned is what was done.
@router.post("/{question_id}/answer", response_model=QuestionLine)
async def answer(question_id: UUID, body: DecisionBody, inbox: CurrentInbox, gate: CurrentGate) -> Json:
    """Decide; the run goes on with it. The first answer counts: 409 tells the second one who was first, and when.

    Where two people are needed, the question stays open after the first of them, who is in `voted` then.
    """
    check_value(body.value, gate.limits, field="value")
    return Json(QuestionLine.of(await inbox.answer(question_id, body.to_decision())))


@router.post("/{question_id}/assign", response_model=QuestionLine)
async def assign(question_id: UUID, body: AssignmentBody, inbox: CurrentInbox) -> Json:
    """Say who is to answer; nobody else's answer counts then. `null` takes it back."""
    return Json(QuestionLine.of(await inbox.assign(question_id, body.assignee)))


@router.post("/{question_id}/comments", status_code=201, response_model=CommentBody)
async def comment(question_id: UUID, body: NewCommentBody, inbox: CurrentInbox) -> Json:
    """Say something about a question to those who will answer it."""
    commented = await inbox.comment(question_id, body.text)
    return Json(CommentBody.of(commented.comments[-1]), status_code=201)
