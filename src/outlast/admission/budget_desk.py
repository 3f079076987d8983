"""Where budgets are looked at and changed: `outlast budget`, and the routes `/budgets`.

Whatever makes room lets the runs go on that wait for it. A plain run gets the answer to its question; a run of the
Agent Server API has ended with the question, so another run answers it, on behalf of whoever had asked for the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast
from uuid import UUID

from outlast.admission.answering import resuming
from outlast.calls.budgets import Budgets
from outlast.domain.acting import Principal, acting_for, principal
from outlast.domain.budget import QUESTION, Budget, Cost, Line, Standing
from outlast.domain.intake import Intake, Resume
from outlast.domain.run import RunStatus, RunView
from outlast.errors import Conflict, InvalidInput, NotFound
from outlast.queues.queue import RunQueue
from outlast.storage.postgres.audit import AuditLog

_GO_ON: Final = {"go_on": True}
_LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """A budget, and where its counters stand; those who have spent most first."""

    budget: Budget
    #: Set with `outlast budget set`, not (only) in outlast.toml.
    was_set: bool
    standings: tuple[Standing, ...]


class BudgetDesk:
    """Acts for the tenant of the context."""

    def __init__(self, budgets: Budgets, queue: RunQueue, audit: AuditLog) -> None:
        self._budgets = budgets
        self._store = budgets.store
        self._queue = queue
        self._audit = audit

    async def overview(self, *, subjects: int = 10) -> list[Shown]:
        """Return all budgets by name, each with at most so many of its counters."""
        here = await self._there()
        set_ = {budget.name for budget in await self._store.rules()}
        return [await self._shown(budget, budget.name in set_, subjects) for _, budget in sorted(here.items())]

    async def show(self, name: str, *, subject: str | None = None, subjects: int = 100) -> Shown:
        """Return one, with the counter of one subject or of those who have spent most; raises NotFound."""
        budget = await self._named(name)
        set_ = {each.name for each in await self._store.rules()}
        if subject is None:
            return await self._shown(budget, name in set_, subjects)
        (standing,) = await self._store.standings([Line(budget, subject)])
        return Shown(budget, name in set_, (standing,))

    async def set(self, name: str, changes: Mapping[str, Any]) -> tuple[Shown, list[UUID]]:
        """Set a budget for this tenant: what is not given is as it was, or as outlast.toml says.

        `changes` are fields of `Budget`. Returns it with the runs that go on by that. Raises InvalidInput.
        """
        if not name or len(name) > _LONGEST_NAME or "\0" in name:
            raise InvalidInput(f"the name of a budget has 1 to {_LONGEST_NAME} characters", field="name")
        before = (await self._there()).get(name) or Budget(name=name, per="tenant")
        budget = replace(before, **changes)
        if budget.limit_micros is None and budget.limit_tokens is None:
            raise InvalidInput(f"budget {name!r} limits nothing: give it usd, tokens, or both", field="usd")
        await self._store.set(budget)
        await self._changed("budget.set", budget, {"per": budget.per, "span": budget.span, "on_limit": budget.on_limit})
        return await self.show(name), await self._go_on(name, None)

    async def remove(self, name: str) -> list[UUID]:
        """Remove what was set; a budget of outlast.toml is then as it stands there. Returns the runs that go on.

        Raises NotFound when nothing was set under this name.
        """
        if not await self._store.remove(name):
            raise NotFound("budget", name, hint=" that was set here; those of outlast.toml are changed there")
        self._budgets.changed(principal().tenant)
        await self._audit.record("budget.removed", f"budget:{name}", {})
        return await self._go_on(name, None)

    async def raise_limit(self, name: str, by: Cost, *, subject: str | None = None) -> tuple[Shown, list[UUID]]:
        """Raise a budget for its present period, for one subject; return it with the runs that go on by that.

        Raises NotFound, InvalidInput when it is not clear whose it is, or what is raised is not limited.
        """
        budget = await self._named(name)
        whose = self._whose(budget, subject)
        for unit, amount, limit in (
            ("usd", by.micros, budget.limit_micros),
            ("tokens", by.tokens, budget.limit_tokens),
        ):
            if amount and limit is None:
                raise InvalidInput(f"budget {name!r} has no limit in {unit}, so there is none to raise", field=unit)
        if by.micros < 0 or by.tokens < 0 or not any(by):
            raise InvalidInput("say by how much: more than 0 of usd, of tokens, or of both", field="usd")
        await self._store.raise_limit(Line(budget, whose), by)
        await self._changed(
            "budget.raised", budget, {"by_micros": by.micros, "by_tokens": by.tokens, "per": budget.per}
        )
        return await self.show(name, subject=whose), await self._go_on(name, whose)

    def _whose(self, budget: Budget, subject: str | None) -> str:
        given = principal().tenant if budget.per == "tenant" else subject
        if budget.per == "agent" and given is None:
            given = budget.agent
        if budget.per == "user" and given is None:
            given = budget.user
        if given is None:
            msg = f"budget {budget.name!r} is kept per {budget.per}: say whose is raised"
            raise InvalidInput(msg, field="subject")
        return given

    async def _there(self) -> dict[str, Budget]:
        tenant = principal().tenant
        # Not what was known a moment ago: somebody looks, or changes it.
        self._budgets.changed(tenant)
        found = await self._budgets.of_tenant(tenant)
        return {budget.name: budget for budget in found if budget.tenant in (None, tenant)}

    async def _named(self, name: str) -> Budget:
        found = (await self._there()).get(name)
        if found is None:
            raise NotFound("budget", name, hint="; see `outlast budget list`")
        return found

    async def _shown(self, budget: Budget, was_set: bool, limit: int) -> Shown:  # noqa: FBT001 - told by its name
        if budget.per == "tenant":
            subjects = [principal().tenant]
        else:
            subjects = await self._store.subjects(budget, limit=limit)
        lines = [Line(budget, subject) for subject in subjects]
        by_subject = {each.subject: each for each in await self._store.standings(lines)} if lines else {}
        return Shown(budget, was_set, tuple(by_subject[subject] for subject in subjects))

    async def _changed(self, action: str, budget: Budget, details: Mapping[str, Any]) -> None:
        self._budgets.changed(principal().tenant)
        figures = {"limit_micros": budget.limit_micros, "limit_tokens": budget.limit_tokens}
        await self._audit.record(action, f"budget:{budget.name}", {**figures, **details})

    async def _go_on(self, name: str, subject: str | None) -> list[UUID]:
        """Answer the questions about this budget; one for which there is still no room is asked again."""
        gone_on: list[UUID] = []
        for run_id in await self._store.waiting(name, subject=subject):
            view = await self._queue.store.get(run_id)
            if await self._answered(view, name):
                gone_on.append(run_id)
            await self._store.released(name, run_id)
        return gone_on

    async def _answered(self, view: RunView, name: str) -> bool:
        answers = {item["id"]: _GO_ON for item in view.interrupts or () if _is_about(item, name)}
        if not answers:
            return False
        try:
            if view.status is RunStatus.WAITING:
                await self._queue.answer(view.id, answers)
            else:
                await self._resume(view, answers)
        except (Conflict, NotFound):
            # Somebody else has answered, or the thread has moved on.
            return False
        return True

    async def _resume(self, view: RunView, answers: Mapping[str, Any]) -> None:
        user, key_id = await self._store.owner(view.id)
        with acting_for(Principal(tenant=principal().tenant, user=user, key_id=key_id)):
            await self._queue.admit(resuming(view, answers), Intake(resume=Resume(answers)))


def _is_about(interrupt: Mapping[str, Any], name: str) -> bool:
    value = interrupt.get("value")
    if not isinstance(value, dict):
        return False
    question = cast("dict[str, Any]", value)
    return question.get("type") == QUESTION and question.get("budget") == name
