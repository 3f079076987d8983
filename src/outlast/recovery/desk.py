"""Where dead letters, stuck threads and checkpoints are looked at and dealt with, each by a service of its own."""

from dataclasses import dataclass
from datetime import timedelta

from outlast.queues.queue import RunQueue
from outlast.recovery.checkpoint_care import CheckpointCare
from outlast.recovery.dead_letters import DeadLetters
from outlast.recovery.reviving import Revival
from outlast.recovery.stuck import Look, Standstills
from outlast.settings import RecoverySettings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.checkpoint_stats import CheckpointStatsStore
from outlast.storage.postgres.dead_letters import DeadLetterStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.rate_limits import RateLimitStore
from outlast.storage.postgres.stuck_runs import StuckRunStore
from outlast.storage.postgres.threads import ThreadStore
from outlast.storage.postgres.usage import UsageStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryDesk:
    """What the services are made of. `look` reads where a thread stands, `lease` is after what a worker is dead."""

    pool: Pool
    queue: RunQueue
    threads: ThreadStore
    audit: AuditLog
    look: Look
    settings: RecoverySettings
    lease: timedelta

    @property
    def dead_letters(self) -> DeadLetters:
        """Failed runs: look, replay, run again, discard."""
        return DeadLetters(self.queue, DeadLetterStore(self.pool), UsageStore(self.pool), self.audit)

    @property
    def standstills(self) -> Standstills:
        """Which threads do not go on, and why."""
        return Standstills(StuckRunStore(self.pool, lease=self.lease), self.look, silent=self.settings.silent)

    @property
    def checkpoints(self) -> CheckpointCare:
        """How many there are, and the end of old histories."""
        return CheckpointCare(CheckpointStatsStore(self.pool), self.threads, self.audit)

    @property
    def revival(self) -> Revival:
        """Replays without a person, where the settings name errors."""
        return Revival(self.queue, DeadLetterStore(self.pool), RateLimitStore(self.pool), self.settings)
