"""Replays of failed runs without a person, within limits.

    [recovery]
    replay = ["provider_unavailable"]

Only errors that are named are replayed: somebody was told that these runs have failed. Each is replayed at most
`recovery.replays` times, which is counted with the run, in the transaction that replays it: whoever dies meanwhile, and
however many workers look, the count holds. Each time it waits twice as long as the time before. All workers together
replay no more than `recovery.replays_per_minute`.

What needs no decision is not here: runs of dead workers and threads whose front is empty are put back on their path by
`recovery.service`.
"""

from typing import Final

from outlast.domain.acting import acting_for
from outlast.domain.rates import Share
from outlast.domain.stuck import HOPELESS
from outlast.errors import Conflict, NotFound
from outlast.queues.queue import RunQueue
from outlast.settings import RecoverySettings
from outlast.storage.postgres.dead_letters import DeadLetterStore
from outlast.storage.postgres.rate_limits import RateLimitStore
from outlast.telemetry import emit, rounds_for_ever

#: Of the limit that all workers share.
_LIMIT: Final = "recovery.replays"
_MINUTE: Final = 60.0
_EVERY: Final = 10.0
_BATCH: Final = 100


class Revival:
    """Looks for failed runs that may be replayed; `run` until cancelled. Any number of workers may do so at once."""

    def __init__(
        self, queue: RunQueue, letters: DeadLetterStore, rates: RateLimitStore, settings: RecoverySettings
    ) -> None:
        self._queue = queue
        self._letters = letters
        self._rates = rates
        self._settings = settings
        #: What comes again whatever is done is not worth a try.
        self._codes = tuple(code for code in settings.replay if code not in HOPELESS)

    async def run(self) -> None:
        """Look for ever; return at once where nothing is to be replayed."""
        if self._codes:
            await rounds_for_ever(self.round, seconds=_EVERY, loop="revival")

    async def round(self) -> int:
        """Look once; return how many runs were replayed."""
        if not self._codes:
            return 0
        settings = self._settings
        found = await self._letters.to_replay(
            self._codes, most=settings.replays, after=settings.replay_after, limit=_BATCH
        )
        replayed = 0
        for run_id, tenant in found:
            if not await self._may():
                break
            with acting_for(tenant):
                try:
                    await self._queue.replay(run_id, most=settings.replays)
                except (Conflict, NotFound):
                    # A person, or another worker, was faster; the turn is for the next one.
                    await self._rates.settle({_LIMIT: -self._seconds})
                    continue
            emit("recovery.replayed", run_id=run_id)
            replayed += 1
        return replayed

    @property
    def _seconds(self) -> float:
        return _MINUTE / self._settings.replays_per_minute

    async def _may(self) -> bool:
        # A minute's worth at once: what is less than a whole turn ahead may go.
        share = Share(name=_LIMIT, seconds=self._seconds, burst=_MINUTE - self._seconds)
        return bool((await self._rates.take([share], patience=0)).taken)
