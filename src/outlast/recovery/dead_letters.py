"""Dead letters: look, replay, run again as new, discard.

A replay keeps the run's id, and so its checkpoints, its journal and the keys of its effects: what was done is not done
again. A run `again` is another run with the same input, on a thread of its own unless that is asked for otherwise: it
begins at the beginning, and its effects have keys of their own.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.domain.acting import Principal, acting_for, principal
from outlast.domain.dead_letter import Attempt, DeadLetter, DeadLetterQuery, LastCheckpoint, RunUsage
from outlast.domain.intake import Intake
from outlast.domain.run import NewRun, RunStatus, RunView
from outlast.errors import Conflict, InvalidInput, NotFound
from outlast.queues.queue import RunQueue
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.dead_letters import DeadLetterStore, ErrorClass, Place
from outlast.storage.postgres.listing import Page
from outlast.storage.postgres.usage import UsageStore

#: In one look at the letters.
_BATCH: Final = 100
_LONGEST_REASON: Final = 1000
#: What another run is not to go on from: it begins anew.
AGAIN_OF: Final = "again_of"
Decide = Callable[[NewRun], Awaitable[NewRun]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A dead letter with everything that is known of it."""

    letter: DeadLetter
    #: What the run was started with.
    input: Any
    metadata: Mapping[str, Any]
    #: Oldest first; the last one is why it is dead, unless three of its workers died.
    attempts: list[Attempt]
    #: Where a replay goes on; None: at the beginning.
    checkpoint: LastCheckpoint | None
    usage: RunUsage
    #: How many effects it has begun, by state: `done` ones are not called again by a replay.
    effects: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay of many has done."""

    run_ids: list[UUID]
    #: How many more match, of those that had failed when it began.
    remaining: int


class DeadLetters:
    """Acts for the tenant of the context; what it does is in the audit log."""

    def __init__(self, queue: RunQueue, store: DeadLetterStore, usage: UsageStore, audit: AuditLog) -> None:
        self._queue = queue
        self._store = store
        self._usage = usage
        self._audit = audit

    async def find(
        self, query: DeadLetterQuery, *, limit: int = 50, offset: int = 0
    ) -> tuple[list[DeadLetter], int]:  # fmt: skip
        """Return one page, newest first, and how many match."""
        return await self._store.find(query, page=Page(limit, offset))

    async def classes(self, query: DeadLetterQuery, *, limit: int = 50) -> list[ErrorClass]:
        """Return how many there are of each agent and error, most first."""
        return await self._store.classes(query, limit=limit)

    async def open(self, run_id: UUID) -> Opened:
        """Return everything about one; raises NotFound when the run is not there or has not failed."""
        letter = await self._store.get(run_id)
        view = await self._queue.store.get(run_id)
        calls, tokens, micros = await self._usage.spent_by(run_id)
        return Opened(
            letter=letter,
            input=view.input,
            metadata=view.metadata,
            attempts=await self._store.attempts(run_id),
            checkpoint=await self._store.last_checkpoint(run_id),
            usage=RunUsage(calls=calls, tokens=tokens, cost_micros=micros),
            effects=await self._store.effects(run_id),
        )

    async def replay(self, run_id: UUID) -> RunStatus:
        """Give the run another set of attempts; raises NotFound, Conflict when it has not failed."""
        return await self._queue.replay(run_id)

    async def replay_all(
        self,
        query: DeadLetterQuery,
        *,
        rate: float,
        limit: int,
        told: Callable[[UUID], None] = lambda _: None,
    ) -> Replayed:
        """Replay what matches, oldest first, at most `limit`; what fails again meanwhile is not replayed again.

        They become due one after the other, `rate` of them per second: that is stored with each, so nobody has to stay
        and wait. Called again after an interruption it goes on with what is left. Raises InvalidInput for a rate that
        is none, or a query for letters that were discarded.
        """
        if query.discarded:
            raise InvalidInput("what was discarded is replayed one by one", field="discarded")
        if not 0 < rate <= 1000:  # noqa: PLR2004 - what one queue may get per second
            raise InvalidInput("rate is more than 0 and at most 1000 runs per second", field="rate")
        until = query.until or await self._store.now()
        bounded = replace(query, until=min(until, await self._store.now()))
        done: list[UUID] = []
        after: Place | None = None
        while len(done) < limit:
            batch = await self._store.oldest(bounded, after=after, limit=min(_BATCH, limit - len(done)))
            if not batch:
                break
            for place in batch:
                if await self._replayed(place[1], delay=timedelta(seconds=len(done) / rate)):
                    done.append(place[1])
                    told(place[1])
            after = batch[-1]
        if done:
            details = {"runs": len(done), "agent": query.agent, "code": query.code, "rate": rate}
            await self._audit.note("dlq.replayed", f"tenant:{principal().tenant}", details)
        return Replayed(run_ids=done, remaining=await self._store.count(bounded))

    async def _replayed(self, run_id: UUID, *, delay: timedelta) -> bool:
        # Somebody else was faster, or has deleted it.
        with suppress(Conflict, NotFound):
            await self._queue.replay(run_id, delay=delay)
            return True
        return False

    async def count(self, query: DeadLetterQuery) -> int:
        """Return how many match."""
        return await self._store.count(query)

    async def again(self, run_id: UUID, *, same_thread: bool = False, decide: Decide | None = None) -> RunView:
        """Start another run with the same input, on behalf of the same user; return it. The letter stays.

        On a thread of its own, where nothing was done yet; with `same_thread` on the old one, behind what it holds.
        `decide` may refuse it, as any new run. What the failed run has done outside may be done a second time: the new
        run's effects are its own. Raises NotFound, AdmissionRefused.
        """
        await self._store.get(run_id)
        before = await self._queue.store.get(run_id)
        user, key_id = await self._store.owner(run_id)
        new_id = uuid_utils.uuid7()
        run = NewRun(
            id=new_id, thread_id=before.thread_id if same_thread else str(new_id), agent=before.agent,
            input=before.input, config=_begun_anew(before.config),
            metadata={**before.metadata, AGAIN_OF: str(run_id)}, priority=before.priority,
            max_attempts=before.max_attempts, options=replace(before.options, checkpoint=None, live=False),
            assistant_id=before.assistant_id, webhook=before.webhook, makes_thread=not same_thread,
        )  # fmt: skip
        with acting_for(Principal(tenant=principal().tenant, user=user, key_id=key_id)):
            if decide is not None:
                run = await decide(run)
            await self._queue.admit(run, Intake())
        await self._audit.note("run.again", f"run:{run_id}", {"new_run": str(new_id)})
        return await self._queue.store.get(new_id)

    async def discard(self, run_id: UUID, *, reason: str | None = None) -> DeadLetter:
        """Mark one as not to be replayed: it is listed and counted no more, and stays failed.

        Raises NotFound, Conflict when it was discarded before.
        """
        if reason is not None and (len(reason) > _LONGEST_REASON or "\0" in reason):
            raise InvalidInput(f"a reason has at most {_LONGEST_REASON} characters", field="reason")
        letter = await self._store.discard(run_id, reason=reason)
        await self._audit.note("dlq.discarded", f"run:{run_id}", payload=None if reason is None else reason.encode())
        return letter


def _begun_anew(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration without the checkpoint that the first run was to go on from."""
    configurable: dict[str, Any] = dict(config.get("configurable") or {})
    for name in ("checkpoint_id", "checkpoint_ns", "checkpoint_map", "thread_id"):
        configurable.pop(name, None)
    return {**config, "configurable": configurable} if "configurable" in config else config
