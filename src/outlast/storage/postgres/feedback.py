"""What people say about runs."""

from uuid import UUID

from outlast.errors import NotFound
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("feedback")


class FeedbackStore:
    """Keeps feedback for as long as its run."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(
        self, run_id: UUID, key: str, *, score: float | None, value: bytes | None, comment: str | None
    ) -> UUID:
        """Store one answer, `value` as JSON; raises NotFound when there is no such run."""
        parameters = {"run_id": run_id, "key": key, "score": score, "value": value, "comment": comment}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.add, parameters)).fetchone()
        if row is None:
            raise NotFound("run", str(run_id))
        return row[0]
