"""What a message tells, read at the moment when it is sent."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from outlast.domain.notification import Item, Notice, severity_of
from outlast.domain.question import Question
from outlast.domain.run import RunView
from outlast.errors import NotFound


class Describing:
    """Makes a notice of an item, for the tenant of the context."""

    def __init__(
        self,
        question: Callable[[UUID], Awaitable[Question]],
        run: Callable[[UUID], Awaitable[RunView]],
        *,
        url: str,
    ) -> None:
        self._question = question
        self._run = run
        self._url = url.rstrip("/")

    async def __call__(self, item: Item) -> Notice | None:
        """Return what is told; None: it is gone."""
        try:
            return await (self._asked(item, item.question_id) if item.question_id else self._failed(item))
        except NotFound:
            return None

    async def _asked(self, item: Item, question_id: UUID) -> Notice:
        question = await self._question(question_id)
        default = question.default
        return Notice(
            event=item.event,
            severity=severity_of(item.event, item.kind),
            agent=item.agent,
            kind=item.kind,
            run_id=item.run_id,
            question_id=question_id,
            text=question.question,
            reasons=tuple(reason.text for reason in question.reasons),
            assignee=question.assignee,
            due_at=question.due_at,
            default=None if default is None else default.decision,
            link=self._link("inbox", question_id),
        )

    async def _failed(self, item: Item) -> Notice:
        run = await self._run(item.run_id)
        return Notice(
            event=item.event,
            severity=severity_of(item.event, item.kind),
            agent=item.agent,
            kind=item.kind,
            run_id=item.run_id,
            text=run.error_message or "",
            link=self._link("dlq", item.run_id),
        )

    def _link(self, what: str, name: UUID) -> str | None:
        return f"{self._url}/{what}/{name}" if self._url else None
