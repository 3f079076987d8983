"""Where kill switches are turned: `outlast switch`, and the routes `/switches`."""

import re
from dataclasses import dataclass
from typing import Final

from outlast.domain.acting import principal
from outlast.domain.switch import EVERYBODY, Switch, SwitchKind
from outlast.errors import InvalidInput, NotFound
from outlast.policies.detectors import found_in, masked
from outlast.queues.queue import RunQueue
from outlast.settings_policies import PersonalDataSettings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.switches import SwitchStore
from outlast.telemetry import emit

_LONGEST_NAME: Final = 200
_LONGEST_REASON: Final = 500
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Held:
    """A switch that is off, and how many queued runs it holds back; None: not for this tenant to know."""

    switch: Switch
    runs: int | None


class SwitchDesk:
    """Acts for the tenant of the context, unless another one is named: whoever calls it knows who may do so."""

    def __init__(self, store: SwitchStore, queue: RunQueue, audit: AuditLog) -> None:
        self._store = store
        self._queue = queue
        self._audit = audit

    async def overview(self, *, tenant: str | None = None) -> list[Held]:
        """Return what is off for a tenant (what is off for all tenants included), or, for `*`, all there is."""
        whose = tenant or principal().tenant
        runs = await self._store.held()
        return [
            Held(switch, runs.get((switch.tenant, switch.kind, switch.name), 0) if _tells(switch, whose) else None)
            for switch in await self._store.all_off()
            if EVERYBODY in {whose, switch.tenant} or switch.tenant == whose
        ]

    async def turn_off(self, kind: SwitchKind, name: str, *, reason: str, tenant: str | None = None) -> Switch:
        """Turn it off; what was off already keeps its first reason.

        Within `policies.switch_look` nothing of it is begun any more: no run is claimed, no model asked, no tool
        called; what is under way stops at its step boundary and waits in the queue. Raises InvalidInput.
        """
        whose = tenant or principal().tenant
        _check(kind, name, reason)
        who = principal()
        switch, was_on = await self._store.turn_off(kind, name, tenant=whose, reason=reason, by=who.user or who.key_id)
        if was_on:
            await self._told("switch.off", switch)
        return switch

    async def turn_on(self, kind: SwitchKind, name: str, *, tenant: str | None = None) -> Switch:
        """Turn it on: what it held back goes on. Raises NotFound when it is not off."""
        whose = tenant or principal().tenant
        switch = await self._store.turn_on(kind, name, tenant=whose)
        if switch is None:
            what = f"{kind} {name}".strip()
            raise NotFound(
                "switch", what, hint=f" that is off for tenant {whose!r}; `outlast switch list` shows what is"
            )
        await self._told("switch.on", switch)
        return switch

    async def _told(self, action: str, switch: Switch) -> None:
        self._queue.switched()
        emit("switch.turned", kind=switch.kind, name=switch.name, tenant=switch.tenant, action=action)
        # Entries are never erased, and a reason may say anything.
        findings = found_in(switch.reason, PersonalDataSettings().kinds)
        details = {"tenant": switch.tenant, "reason": masked(switch.reason, findings)}
        await self._audit.record(action, f"{switch.kind}:{switch.name or switch.tenant}", details)


def _tells(switch: Switch, tenant: str) -> bool:
    return tenant == EVERYBODY or switch.tenant != EVERYBODY


def _check(kind: SwitchKind, name: str, reason: str) -> None:
    if (kind == "tenant") != (not name):
        msg = "a tenant's switch has no name" if name else f"say which {kind}"
        raise InvalidInput(msg, field="name")
    if len(name) > _LONGEST_NAME or _CONTROL.search(name):
        msg = f"a name has at most {_LONGEST_NAME} characters, and no control characters"
        raise InvalidInput(msg, field="name")
    if not reason.strip() or len(reason) > _LONGEST_REASON or "\x00" in reason:
        msg = f"say why, in at most {_LONGEST_REASON} characters: whoever finds it off wants to know"
        raise InvalidInput(msg, field="reason")
