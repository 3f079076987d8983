"""Questions that nobody answers: their deadlines pass, or nobody waits for them any more.

It runs inside every worker, and any number of them may run at once: a question takes its default as it takes an answer,
once. A look is one probe of an index of what is due, so runs that wait cost nothing, however many they are.
"""

import asyncio
from random import Random
from uuid import UUID

from outlast.domain.acting import across_tenants, acting_for
from outlast.domain.question import Question, QuestionStatus
from outlast.errors import Conflict, NotFound, OutlastError
from outlast.inbox.inbox import Inbox
from outlast.settings_inbox import InboxSettings
from outlast.telemetry import emit

_BATCH = 100
_MOST_WITHDRAWN = 500


class Expiry:
    """Takes defaults, reminds, and writes down what was withdrawn; `run` until cancelled."""

    def __init__(self, inbox: Inbox, settings: InboxSettings, *, rng: Random) -> None:
        self._inbox = inbox
        self._store = inbox.store
        self._settings = settings
        self._rng = rng
        self._until_sweep = 0.0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.round()
                await self._sweep()
            # The loop must outlive whatever one round meets, or no deadline passes any more.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="inbox", error=type(error).__name__)
            # Workers that began together do not look together.
            await asyncio.sleep(self._settings.scan.total_seconds() * (0.5 + self._rng.random()))

    async def round(self) -> int:
        """Look once; return how many questions were past their deadline."""
        seen = 0
        while True:
            with across_tenants():
                due = await self._store.due(limit=_BATCH)
            for question_id, tenant in due:
                with acting_for(tenant):
                    await self._pass(question_id)
            seen += len(due)
            if len(due) < _BATCH:
                return seen

    async def _pass(self, question_id: UUID) -> None:
        try:
            question = await self._store.get(question_id)
            if question.status is not QuestionStatus.OPEN:
                await self._store.look_later(question_id, again=self._settings.sweep)
            elif not await self._inbox.expire(question):
                await self._remind(question)
        except (Conflict, NotFound):
            # Somebody has answered it meanwhile, or its thread was deleted: at most it is looked at again.
            await self._store.look_later(question_id, again=self._settings.sweep)
        # One question whose run may not go on now, or that nobody can read, must not hold up the others.
        except OutlastError as error:
            await self._store.look_later(question_id, again=self._settings.sweep)
            emit("inbox.not_expired", question_id=question_id, code=error.code)

    async def _remind(self, question: Question) -> None:
        reminders = await self._store.remind(question.id, again=self._settings.remind)
        if reminders is not None:
            emit("inbox.overdue", question_id=question.id, run_id=question.run_id, reminders=reminders)

    async def _sweep(self) -> None:
        self._until_sweep -= self._settings.scan.total_seconds()
        if self._until_sweep > 0:
            return
        self._until_sweep = self._settings.sweep.total_seconds()
        await self.run_sweep()

    async def run_sweep(self) -> None:
        """Write down for which questions nobody waits any more."""
        with across_tenants():
            while await self._store.withdraw(limit=_MOST_WITHDRAWN) == _MOST_WITHDRAWN:
                pass
