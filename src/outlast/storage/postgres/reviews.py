"""Reviews of outputs, and the inputs that agents have seen. Every write is fenced: it raises LeaseLost."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from outlast.domain.review import Decided, Review, Standing
from outlast.domain.run import ClaimedRun
from outlast.errors import LeaseLost
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import REVIEW_BODY, RUN_INPUT

_SQL = Queries("reviews")
#: So many of an agent's newest inputs are compared with.
MOST_PRINTS = 10_000


class Nearest(NamedTuple):
    """How far an input is from the nearest known one, in bits of 64 (None: there is none), and how many are known."""

    distance: int | None
    known: int


class ReviewStore:
    """Reads and writes what was decided about the outputs of runs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def standing(self, run: ClaimedRun) -> Standing:
        """Return where the run's line stands."""
        parameters = {"thread_key": UUID(bytes=run.thread_key), "lineage": run.lineage}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.standing, parameters)).fetchone()
        return Standing() if row is None else Standing(await self._review(row), row[-1])

    async def asked(self, run: ClaimedRun, questions: Sequence[str]) -> Review | None:
        """Return the review that asked one of these questions on the run's thread; None: something else asked them."""
        parameters = {"thread_key": UUID(bytes=run.thread_key), "questions": list(questions)}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.asked, parameters)).fetchone()
        return None if row is None else await self._review(row)

    async def add(self, run: ClaimedRun, review: Review) -> None:
        """Store a decision before anything is done about it, with the mark of an accepted output. Raises LeaseLost."""
        body = {"reasons": list(review.reasons), "severity": review.severity, "question": dict(review.question)}
        parameters = {
            **_place(review), "run_id": run.id, "epoch": run.epoch, "checkpoint_id": review.checkpoint_id,
            "action": review.action, "question_id": review.question_id, "hash": review.hash,
            "body": await self._pool.sealing.seal(REVIEW_BODY, orjson.dumps(body, default=repr), *_identity(review)),
            "mark": None if review.mark is None else jsonb(review.mark),
        }  # fmt: skip
        await self._fenced(_SQL.add, parameters, run)

    async def decide(self, run: ClaimedRun, review: Review, decision: Decided) -> Review:
        """Store what a person said, before it is done; safe to repeat. Raises LeaseLost."""
        parameters = {**_place(review), "run_id": run.id, "epoch": run.epoch, "decision": decision}
        await self._fenced(_SQL.decide, parameters, run)
        return replace(review, decision=decision)

    async def begun_with(self, run: ClaimedRun) -> tuple[Any, Any]:
        """Return the input and the metadata that the run's line was begun with; those of the run when that is gone."""
        if run.lineage == run.id:
            return run.input, run.metadata
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.begun_with, {"lineage": run.lineage})).fetchone()
        if row is None:
            return run.input, run.metadata
        opened = await self._pool.sealing.open(RUN_INPUT, row[0], run.lineage)
        return (None if opened is None else orjson.loads(opened)), row[1]

    async def nearest(self, run: ClaimedRun, fingerprint: int) -> Nearest:
        """Look for the nearest input that other runs have brought, and remember this one. Raises LeaseLost."""
        parameters = {
            "run_id": run.id, "epoch": run.epoch, "lineage": run.lineage, "agent": run.agent, "print": fingerprint,
            "most": MOST_PRINTS,
        }  # fmt: skip
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.nearest, parameters)).fetchone()
        if row is None or not row[2]:
            raise LeaseLost(run_id=str(run.id), epoch=run.epoch)
        return Nearest(row[0], row[1])

    async def _fenced(self, statement: Any, parameters: dict[str, Any], run: ClaimedRun) -> None:
        async with self._pool.connection() as connection:
            if await (await connection.execute(statement, parameters)).fetchone() is None:
                raise LeaseLost(run_id=str(run.id), epoch=run.epoch)

    async def _review(self, row: tuple[Any, ...]) -> Review:
        bare = Review(
            thread_key=row[0].bytes, lineage=row[1], position=row[2], run_id=row[3], checkpoint_id=row[4],
            action=row[5], hash=row[8], decision=row[9],
        )  # fmt: skip
        opened = await self._pool.sealing.open(REVIEW_BODY, row[7], *_identity(bare))
        body = orjson.loads(opened or b"{}")
        return replace(
            bare, reasons=tuple(body.get("reasons") or ()), severity=body.get("severity"),
            question=body.get("question") or {},
        )  # fmt: skip


def _place(review: Review) -> dict[str, Any]:
    return {
        "thread_key": UUID(bytes=review.thread_key), "lineage": review.lineage, "position": review.position
    }  # fmt: skip


def _identity(review: Review) -> tuple[UUID, UUID, int]:
    return UUID(bytes=review.thread_key), review.lineage, review.position
