"""What checkpoints there are, and the end of histories that nobody needs any more.

By hand; what is deleted by age without anybody asking is `upkeep`, by `retention` and the TTL of threads.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from outlast.domain.acting import principal
from outlast.errors import InvalidInput, NotFound
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.checkpoint_stats import CheckpointStats, CheckpointStatsStore, Place
from outlast.storage.postgres.threads import Strategy, ThreadStore

_BATCH: Final = 100


class CheckpointCare:
    """Acts for the tenant of the context; a cleanup is in the audit log."""

    def __init__(self, store: CheckpointStatsStore, threads: ThreadStore, audit: AuditLog) -> None:
        self._store = store
        self._threads = threads
        self._audit = audit

    async def stats(self) -> CheckpointStats:
        """Count and weigh all checkpoints, by agent; reads each of them once."""
        return await self._store.stats()

    async def cleanup(
        self,
        *,
        age: timedelta,
        strategy: Strategy = "keep_latest",
        limit: int = 1000,
        dry_run: bool = False,
        told: Callable[[str], None] = lambda _: None,
    ) -> list[str]:
        """Delete the histories of threads on which nothing has happened for `age`; return their names, oldest first.

        What a thread holds now stays; with the strategy `delete` the whole thread goes, its runs included. Threads with
        a run that has not ended, waits for a person or is a dead letter are left alone. Each thread is a transaction of
        its own, so an interrupted cleanup is simply started again. Raises InvalidInput for an age that is none.
        """
        if age <= timedelta(0):
            raise InvalidInput("the age is more than 0", field="older_than")
        gone: list[str] = []
        after: Place | None = None
        while len(gone) < limit:
            found = await self._store.with_history(
                age=age, whole=strategy == "delete", after=after, limit=min(_BATCH, limit - len(gone))
            )
            if not found:
                break
            for thread_id, _ in found:
                if dry_run or await self._prune(thread_id, strategy):
                    gone.append(thread_id)
                    told(thread_id)
            after = found[-1][1]
        if gone and not dry_run:
            details = {"threads": len(gone), "older_than_seconds": age.total_seconds(), "strategy": strategy}
            await self._audit.note("checkpoints.cleaned", f"tenant:{principal().tenant}", details)
        return gone

    async def _prune(self, thread_id: str, strategy: Strategy) -> bool:
        try:
            return await self._threads.prune(thread_id, strategy=strategy)
        except NotFound:
            return False
