"""The last stage: whether there is room in the queue.

The queue is measured once in a while (`limits.queue_look`), by one request for all, and what was let in here since then
is added. So a limit may be passed by what other processes let in between two looks, and by no more.
"""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from typing import Final

from outlast.domain.acting import Principal
from outlast.domain.admission import Allow, Refuse, Verdict
from outlast.domain.run import NewRun
from outlast.refusals import Overloaded, QueueFull
from outlast.settings_admission import LimitSettings
from outlast.storage.postgres.admission import AdmissionStore, Depth

#: When there may be room again; nobody knows how fast the queue moves.
RETRY_AFTER_SECONDS: Final = 5.0
# A look at a long queue takes time; at most one part in so many of the time is spent on it.
_SHARE: Final = 20
_EMPTY: Final = Depth()


class QueueLimits:
    """Refuses runs while the queue of their tenant, or of all, is too long or too old."""

    def __init__(self, store: AdmissionStore, settings: LimitSettings) -> None:
        self._store = store
        self._settings = settings
        self._limited = _is_limited(settings)
        self._depths: dict[str, Depth] = {}
        self._since: Counter[str] = Counter()
        self._look_at = 0.0
        self._looking = asyncio.Lock()

    async def decide(self, run: NewRun, who: Principal) -> Verdict:
        """Let the run in, or refuse it with QueueFull or Overloaded."""
        del run
        if not self._limited:
            return Allow()
        # Who comes while somebody looks goes by the last look, unless there was none.
        if time.monotonic() >= self._look_at and not (self._looking.locked() and self._look_at):
            await self._look()
        refusal = self._overloaded() or self._full(who.tenant)
        if refusal is not None:
            return Refuse(str(refusal), by=refusal.setting, error=refusal)
        self._since[who.tenant] += 1
        return Allow()

    async def _look(self) -> None:
        async with self._looking:
            began = time.monotonic()
            if began < self._look_at:
                return
            # What is let in from here on may not be in the look yet: counted twice is better than not at all.
            self._since.clear()
            self._depths = await self._store.queue()
            now = time.monotonic()
            self._look_at = now + max(self._settings.queue_look.total_seconds(), _SHARE * (now - began))

    def _overloaded(self) -> Overloaded | None:
        settings = self._settings
        runs = sum(depth.runs for depth in self._depths.values()) + self._since.total()
        seconds = max((depth.seconds for depth in self._depths.values()), default=0.0)
        reason = _reason(runs, seconds, settings.queued, settings.queue_age, ("queued", "queue_age"))
        if reason is None:
            return None
        setting, text = reason
        message = f"the queue is full: {text} ({setting}); try again later, or add workers"
        return Overloaded(message, setting=setting, retry_after=RETRY_AFTER_SECONDS)

    def _full(self, tenant: str) -> QueueFull | None:
        settings = self._settings
        own = settings.tenants.get(tenant)
        most, names = settings.queued_per_tenant, ("queued_per_tenant", "queue_age_per_tenant")
        if own is not None and own.queued is not None:
            most, names = own.queued, (f"tenants.{tenant}.queued", names[1])
        depth = self._depths.get(tenant, _EMPTY)
        runs = depth.runs + self._since[tenant]
        reason = _reason(runs, depth.seconds, most, settings.queue_age_per_tenant, names)
        if reason is None:
            return None
        setting, text = reason
        message = f"the queue of tenant {tenant!r} is full: {text} ({setting}); try again when some have run"
        return QueueFull(message, setting=setting, retry_after=RETRY_AFTER_SECONDS)


def _reason(
    runs: int, seconds: float, most: int | None, oldest: timedelta | None, names: tuple[str, str]
) -> tuple[str, str] | None:
    """Return the setting that is reached, and what is to be said about it."""
    if most is not None and runs >= most:
        return f"limits.{names[0]}", f"{runs:,} runs of {most:,}"
    if oldest is not None and seconds >= oldest.total_seconds():
        return f"limits.{names[1]}", f"its oldest run has waited for {seconds:.0f} s of {oldest.total_seconds():.0f} s"
    return None


def _is_limited(settings: LimitSettings) -> bool:
    general = (settings.queued, settings.queued_per_tenant, settings.queue_age, settings.queue_age_per_tenant)
    return any(limit is not None for limit in general) or any(
        tenant.queued is not None for tenant in settings.tenants.values()
    )
