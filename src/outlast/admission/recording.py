"""Keeps refusals with their reasons.

What is let in is kept with the run itself, in its transaction. A refusal has no run: it is written at once, and equal
ones that follow within a second are counted and added to it at the end of that second, so that a flood of requests is
not a flood of writes.
"""

import asyncio
from typing import Final, Literal
from uuid import UUID

from outlast.domain.acting import Principal, acting_for, principal
from outlast.domain.decision import Decision
from outlast.domain.run import NewRun
from outlast.errors import DatabaseUnavailable
from outlast.storage.postgres.admission import AdmissionStore
from outlast.telemetry import emit

_TOGETHER_SECONDS: Final = 1.0
_Equal = tuple[Principal, str, str | None, str | None]


class Recorder:
    """Writes refusals down; close it to write what is still counted."""

    def __init__(self, store: AdmissionStore, *, record: Literal["all", "refusals", "nothing"] = "all") -> None:
        self._store = store
        self._record = record
        self._more: dict[_Equal, int] = {}
        self._counting: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def of_stored(self, decision: Decision) -> Decision | None:
        """Return what is kept with a run that is stored."""
        # A question is needed to ask it, whatever is kept.
        return decision if self._record == "all" or decision.verdict == "ask" else None

    async def refused(self, run: NewRun, decision: Decision) -> None:
        """Keep a refusal. It stands, whether it could be written down or not."""
        emit("admission.refused", agent=run.agent, stage=decision.stage, code=decision.code)
        if self._record == "nothing":
            return
        who = principal()
        equal = (who, run.agent, decision.stage, decision.code)
        if equal in self._more:
            self._more[equal] += 1
            return
        self._more[equal] = 0
        written = asyncio.Event()
        counting = asyncio.create_task(self._count(equal, run.id, written), name="outlast-refusals")
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)
        try:
            await self._store.refused(run, decision)
        except DatabaseUnavailable as error:
            emit("loop.failed", loop="decisions", error=type(error).__name__)
        finally:
            written.set()

    async def aclose(self) -> None:
        """Write down what is still counted."""
        self._closing.set()
        await asyncio.gather(*self._counting, return_exceptions=True)

    async def _count(self, equal: _Equal, decision_id: UUID, written: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(_TOGETHER_SECONDS):
                await self._closing.wait()
        except TimeoutError:
            pass
        # A busy database may take longer, and what is not there yet cannot be added to.
        await written.wait()
        times = self._more.pop(equal)
        if not times:
            return
        try:
            with acting_for(equal[0]):
                await self._store.refused_again(decision_id, times=times)
        except DatabaseUnavailable as error:
            emit("loop.failed", loop="decisions", error=type(error).__name__)
