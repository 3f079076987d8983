"""What a process asks before something is done: its policies and its switchboard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID

from outlast.domain.acting import Principal
from outlast.domain.admission import Allow, Refuse, Verdict
from outlast.domain.policy import PolicyFacts, PolicyRequest
from outlast.domain.run import NewRun
from outlast.policies.engine import Decided, PolicyEngine
from outlast.policies.runs import limits
from outlast.policies.switchboard import Switchboard
from outlast.settings_policies import PolicySettings, RunRules
from outlast.storage.postgres.audit import AuditLog

#: Tenants and agents whose limits are kept in memory.
_MOST_KEPT: Final = 1000


class Hold(Protocol):
    """Write down that a run stops at the switch of a tool; raises LeaseLost."""

    async def __call__(self, run_id: UUID, epoch: int, *, tool: str) -> None:
        """See above."""
        ...


def utc_now() -> datetime:
    """Return the time of this machine: policies look at hours and days, and own nothing that could be lost."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policing:
    """Made once by the runtime."""

    settings: PolicySettings
    engine: PolicyEngine
    board: Switchboard
    #: Writes down at which tool's switch a run stops.
    hold: Hold
    #: Where refusals in the middle of a run are written down; those of runs are by whoever asked for the verdict.
    audit: AuditLog | None = None
    now: Callable[[], datetime] = utc_now
    _limits: dict[tuple[str, str], RunRules] = field(default_factory=dict[tuple[str, str], RunRules])
    #: What else there is to say about runs that were changed: an answer says one thing.
    _said: dict[UUID, Verdict] = field(default_factory=dict[UUID, Verdict])

    async def admit(self, run: NewRun, who: Principal) -> Verdict:
        """Decide about a run that is to be stored; one that the policies have changed comes back with the answer.

        An answer says one thing: that a changed run also has to wait is said by `admit_changed`, right behind.
        """
        if not self.engine.concerns("run"):
            return Allow()
        asked = request_of(run)
        decided = await self.engine.decide(asked, self._facts_of(run, who))
        if decided.request is asked or isinstance(decided.verdict, Refuse):
            return decided.verdict
        if not isinstance(decided.verdict, Allow):
            self._said[run.id] = decided.verdict
        return Allow(instead=changed(run, decided.request), note="; ".join(decided.notes))

    async def admit_changed(self, run: NewRun, _who: Principal) -> Verdict:
        """Say what else there is to say about a run that `admit` has changed."""
        return self._said.pop(run.id, None) or Allow()

    async def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Decided:
        """Decide about a model or a tool; a refusal is in the audit log."""
        decided = await self.engine.decide(request, facts)
        if isinstance(decided.verdict, Refuse) and self.audit is not None:
            details = {"agent": request.agent, "about": request.kind, "name": request.model or request.tool}
            await self.audit.sample("policy.refused", f"policy:{decided.by}", details)
        return decided

    def limits(self, tenant: str, agent: str) -> RunRules:
        """Return what a run may use at most."""
        found = self._limits.get((tenant, agent))
        if found is None:
            if len(self._limits) > _MOST_KEPT:
                self._limits.clear()
            found = self._limits[tenant, agent] = limits(self.settings.runs, tenant=tenant, agent=agent)
        return found

    async def aclose(self) -> None:
        """End what policies have started."""
        await self.engine.aclose()

    def _facts_of(self, run: NewRun, who: Principal) -> PolicyFacts:
        return PolicyFacts(tenant=who.tenant, user=who.user, key_id=who.key_id, agent=run.agent, at=self.now())


def request_of(run: NewRun) -> PolicyRequest:
    """Return what policies see of a run that is to be stored."""
    return PolicyRequest(
        kind="run", agent=run.agent, input=run.input, command=run.options.command, config=run.config,
        metadata=run.metadata, timeout_seconds=run.timeout_seconds, thread_id=run.thread_id,
    )  # fmt: skip


def changed(run: NewRun, request: PolicyRequest) -> NewRun:
    """Return the run as policies have left it."""
    command: Mapping[str, Any] | None = request.command
    options = run.options if command is run.options.command else replace(run.options, command=command)
    return replace(
        run, input=request.input, config=request.config, timeout_seconds=request.timeout_seconds, options=options
    )
