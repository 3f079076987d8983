"""What a message tells, read at the moment when it is sent."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from outlast.domain.alert import Alert
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
        alerts: Callable[[Sequence[UUID]], Awaitable[Sequence[Alert]]],
        *,
        url: str,
    ) -> None:
        self._question = question
        self._run = run
        self._alerts = alerts
        self._url = url.rstrip("/")

    async def __call__(self, item: Item) -> Notice | None:
        """Return what is told; None: it is gone."""
        try:
            if item.question_id is not None:
                return await self._asked(item, item.question_id)
            return await (self._alerted(item) if item.run_id is None else self._failed(item, item.run_id))
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

    async def _failed(self, item: Item, run_id: UUID) -> Notice:
        run = await self._run(run_id)
        return Notice(
            event=item.event,
            severity=severity_of(item.event, item.kind),
            agent=item.agent,
            kind=item.kind,
            run_id=run_id,
            text=run.error_message or "",
            link=self._link("dlq", run_id),
        )

    async def _alerted(self, item: Item) -> Notice | None:
        wanted = "firing" if item.event == "alert" else "resolved"
        found = [alert for alert in await self._alerts(item.alerts or ()) if alert.state == wanted]
        if not found:
            return None
        first, *others = [alert.text for alert in found]
        return Notice(
            event=item.event,
            severity=item.severity or "warning" if item.event == "alert" else "info",
            agent=item.agent,
            kind=item.kind,
            text=first,
            reasons=tuple(others),
            link=f"{self._url}/alerts" if self._url else None,
        )

    def _link(self, what: str, name: UUID) -> str | None:
        return f"{self._url}/{what}/{name}" if self._url else None
