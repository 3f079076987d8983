"""Which threads do not go on by themselves, why, and whether that can be recovered.

    standstill = await runtime.standstills().is_stuck("support-7")
    if standstill is not None and not standstill.recoverable:
        print(standstill.why, standstill.advice)

What a thread waits for is told as well (a person, a worker), with `recoverable` False: nothing is wrong with it, and
recovery has nothing to do.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from outlast.domain.acting import acting_for
from outlast.domain.run import RunStatus
from outlast.domain.stuck import Place, Standstill, Why
from outlast.errors import NotFound, OutlastError
from outlast.storage.postgres.stuck_runs import StuckRunStore, Suspect

#: A run that is due for less is about to be taken.
_PATIENCE: Final = timedelta(seconds=30)
Look = Callable[[str], Awaitable[Place | None]]


class Standstills:
    """Looks and changes nothing. Acts for the tenant of the context, or in `scan` for all of them.

    `look` reads where a thread stands. `silent`: a run that has saved nothing for so long is worth a look.
    """

    def __init__(self, store: StuckRunStore, look: Look, *, silent: timedelta) -> None:
        self._store = store
        self._look = look
        self._silent = silent

    async def is_stuck(self, thread_id: str) -> Standstill | None:
        """Return why a thread does not go on by itself; None when it does, or when there is nothing left to do.

        Raises NotFound when there is no such thread.
        """
        thread = await self._store.thread(thread_id)
        if thread is None:
            raise NotFound("thread", thread_id)
        suspect = await self._store.of_thread(thread_id)
        why = Why.QUARANTINED if thread[2] is not None else None if suspect is None else self._why(suspect)
        place = await self._place(thread_id)
        if why is None:
            why = _left_behind(suspect, place)
        if why is None:
            return None
        return replace(_standstill(why, suspect, thread[0], thread[2], tenant=thread[1]), place=place)

    async def scan(self, *, agent: str | None = None, limit: int = 100, places: bool = True) -> list[Standstill]:
        """Return threads that do not go on, oldest first, without those that wait for a person.

        `places`: with where each of them stands, which reads its last checkpoint.
        """
        suspects = await self._store.suspects(silent=self._silent, patience=_PATIENCE, agent=agent, limit=limit)
        found = [
            _standstill(why, suspect, suspect.thread_id, None)
            for suspect in suspects
            if (why := self._why(suspect)) is not None
        ]
        if agent is None:
            found += [
                _standstill(Why.QUARANTINED, None, thread_id, reason, tenant=tenant)
                for thread_id, tenant, reason in await self._store.quarantined(limit=limit)
            ]
        return await self._with_places(found[:limit]) if places else found[:limit]

    async def _with_places(self, found: Iterable[Standstill]) -> list[Standstill]:
        told: list[Standstill] = []
        for standstill in found:
            with acting_for(standstill.tenant):
                told.append(replace(standstill, place=await self._place(standstill.thread_id)))
        return told

    async def _place(self, thread_id: str) -> Place | None:
        try:
            return await self._look(thread_id)
        except OutlastError as error:
            # A state that cannot be read is one of the reasons to look.
            if error.retryable:
                raise
            return None

    def _why(self, suspect: Suspect) -> Why | None:
        match suspect.status:
            case RunStatus.FAILED:
                return Why.DISCARDED if suspect.discarded else Why.FAILED
            case RunStatus.RUNNING:
                silent = Why.SILENT if _age(suspect) > self._silent else None
                return silent if suspect.owned else Why.OWNER_DEAD
            case RunStatus.QUEUED:
                return _not_taken(suspect)
            case RunStatus.BLOCKED:
                # Of a thread, the front is looked at first: there is none.
                return Why.STRANDED
            case RunStatus.WAITING:
                return Why.WAITING
            case _:
                return None


def _not_taken(suspect: Suspect) -> Why | None:
    if _age(suspect) < _PATIENCE:
        return None
    if suspect.switched_off:
        return Why.SWITCHED_OFF
    return Why.OVERDUE if suspect.has_worker else Why.NO_WORKER


def _left_behind(suspect: Suspect | None, place: Place | None) -> Why | None:
    """Return why a thread stands between two steps that no run has to take any more."""
    if place is None or not (place.next or place.questions or place.errors):
        return None
    if suspect is None:
        return Why.ABANDONED
    if suspect.status is RunStatus.INTERRUPTED:
        # It asked, and the answer will be another run; a breakpoint asks nothing, and waits for the same.
        return Why.WAITING
    if suspect.status is RunStatus.CANCELLED:
        return Why.CANCELLED
    return Why.ABANDONED if suspect.status is RunStatus.SUCCEEDED else None


def _standstill(
    why: Why, suspect: Suspect | None, thread_id: str, reason: str | None, *, tenant: str | None = None
) -> Standstill:
    if suspect is None:
        return Standstill(thread_id=thread_id, why=why, since=None, tenant=tenant or "default", detail=reason)
    return Standstill(
        thread_id=thread_id, why=why, since=suspect.since, run_id=suspect.run_id, agent=suspect.agent,
        error_code=suspect.error_code if suspect.status is RunStatus.FAILED else None, tenant=suspect.tenant,
        detail=reason or (suspect.error_message if suspect.status is RunStatus.FAILED else None),
    )  # fmt: skip


def _age(suspect: Suspect) -> timedelta:
    return timedelta(0) if suspect.since is None else suspect.now - suspect.since
