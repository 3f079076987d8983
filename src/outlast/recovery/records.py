"""What is done again and again about records: heads of audit logs, old entries, erasures that were interrupted."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from outlast.domain.acting import across_tenants
from outlast.recovery.upkeep import Job
from outlast.settings_audit import AuditSettings
from outlast.settings_retention import RetentionSettings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.audit_reading import AuditReader, AuditUpkeep
from outlast.storage.postgres.erasure import Erasure
from outlast.storage.postgres.pool import Pool
from outlast.telemetry import emit

_BATCH: Final = 1000
#: Whoever has begun an erasure is not at it any more.
_INTERRUPTED: Final = timedelta(minutes=10)


class Records:
    """Acts for all tenants."""

    def __init__(
        self, pool: Pool, audit: AuditLog, erasure: Erasure, *, settings: AuditSettings, retention: RetentionSettings
    ) -> None:
        self._reader = AuditReader(pool)
        self._upkeep = AuditUpkeep(pool, audit)
        self._erasure = erasure
        self._settings = settings
        self._retention = retention

    def jobs(self) -> Sequence[Job]:
        """Return what upkeep does of it."""
        return (
            Job("audit heads", self._settings.head_every, self.heads),
            Job("audit", self._retention.sweep, self.prune),
            Job("erasures", self._retention.sweep, self.erasures),
        )

    async def heads(self) -> int:
        """Say where the audit logs end, for whoever keeps what processes say."""
        with across_tenants():
            heads = await self._reader.heads()
        for head in heads:
            if head.seq:
                # As `outlast audit verify --head` takes it.
                emit("audit.head", head=f"{head.tenant}:{head.seq}:{head.hash.hex()}")
        return 0

    async def prune(self) -> int:
        """Delete entries of audit logs that are older than they are to be kept."""
        age = self._retention.audit
        return 0 if age is None else await self._upkeep.prune(age=age, limit=_BATCH)

    async def erasures(self) -> int:
        """Finish what was interrupted."""
        return await self._erasure.resume(age=_INTERRUPTED)
