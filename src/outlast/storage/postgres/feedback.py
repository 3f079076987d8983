"""What people say about runs."""

from uuid import UUID

from outlast.domain.acting import across_tenants, acting_for
from outlast.errors import NotFound
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import FEEDBACK_COMMENT, FEEDBACK_VALUE

_SQL = Queries("feedback")


class FeedbackStore:
    """Keeps feedback for as long as its run."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(
        self, run_id: UUID, key: str, *, score: float | None, value: bytes | None, comment: str | None
    ) -> UUID:
        """Store one answer, `value` as JSON, for whichever tenant the run is.

        Whoever calls has a permission for this run that says nothing of tenants: an address that was signed.
        Raises NotFound when there is no such run.
        """
        with acting_for(await self._tenant_of(run_id)):
            return await self._add(run_id, key, score=score, value=value, comment=comment)

    async def _tenant_of(self, run_id: UUID) -> str:
        with across_tenants():
            async with self._pool.connection() as connection:
                row = await (await connection.execute(_SQL.tenant_of, {"run_id": run_id})).fetchone()
        if row is None:
            raise NotFound("run", str(run_id))
        return row[0]

    async def _add(
        self, run_id: UUID, key: str, *, score: float | None, value: bytes | None, comment: str | None
    ) -> UUID:
        sealing = self._pool.sealing
        parameters = {
            "run_id": run_id, "key": key, "score": score,
            "value": await sealing.seal(FEEDBACK_VALUE, value, run_id, key),
            "comment": await sealing.seal_text(FEEDBACK_COMMENT, comment, run_id, key),
        }  # fmt: skip
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.add, parameters)).fetchone()
        if row is None:
            raise NotFound("run", str(run_id))
        return row[0]
