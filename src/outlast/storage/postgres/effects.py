"""The ledger of effects. Every write is fenced: it raises LeaseLost, or says that the row is not as it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from outlast.domain.budget import Question
from outlast.domain.effect import Asked, EffectRow, EffectView, Intent, Owner, State
from outlast.domain.redaction import redacted
from outlast.errors import LeaseLost
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import EFFECT_ANSWER, EFFECT_ARGUMENTS, EFFECT_BODY, EFFECT_ERROR, NOTHING

_SQL = Queries("effects")
_LONGEST_ERROR = 1000


class EffectStore:
    """Reads and writes the rows of effects and of the questions about them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of_task(self, lineage: UUID, task: UUID) -> tuple[list[EffectRow], list[Asked]]:
        """Return the effects that a task has begun, and the questions that it asked about effects, each in order."""
        parameters = {"lineage": lineage, "task": task}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.of_task, parameters)).fetchall()
            asked = await (await connection.execute(_SQL.questions_of_task, parameters)).fetchall()
        return [await self._effect(row) for row in rows], [_asked(row) for row in asked]

    async def of_key(self, key: str) -> EffectRow | None:
        """Return the effect with this key, whoever began it."""
        return await self._row(_SQL.of_key, {"key": key})

    async def intend(self, intent: Intent, owner: Owner) -> EffectRow | None:
        """Announce a call; None: the row is no longer as it was read, or its key has expired. Raises LeaseLost."""
        parameters = {
            **intent._asdict(), **owner._asdict(),
            "thread_key": UUID(bytes=intent.thread_key),
            "args_hash": UUID(bytes=intent.args_hash),
            "key_ttl": None if intent.key_ttl is None else intent.key_ttl.total_seconds(),
            "arguments": await self._pool.sealing.seal(EFFECT_ARGUMENTS, intent.arguments, intent.key),
        }  # fmt: skip
        row = await self._row(_SQL.intend, parameters)
        if row is None:
            await self._require(owner)
        return row

    async def record(
        self, row: EffectRow, owner: Owner, *, state: State, body: bytes | None, error: str | None
    ) -> EffectRow:
        """Write down what the call ended with. Raises LeaseLost: it ends as an unknown outcome of the new owner's."""
        sealing = self._pool.sealing
        parameters = {
            **owner._asdict(), "key": row.key, "calls": row.calls, "state": state,
            "body": await sealing.seal(EFFECT_BODY, body, row.key),
            "error": await sealing.seal_text(EFFECT_ERROR, _text(error), row.key),
        }  # fmt: skip
        recorded = await self._row(_SQL.record, parameters)
        if recorded is None:
            raise LeaseLost(run_id=str(owner.run_id), epoch=owner.epoch)
        return recorded

    async def resolve(
        self, row: EffectRow, owner: Owner, *, state: State, body: bytes | None = None, answer: bytes | None = None
    ) -> EffectRow | None:
        """Write down what was found out about an unknown outcome; None: somebody else did. Raises LeaseLost."""
        sealing = self._pool.sealing
        parameters = {
            **owner._asdict(), "key": row.key, "calls": row.calls, "state": state,
            "body": await sealing.seal(EFFECT_BODY, body, row.key),
            "answer": await sealing.seal(EFFECT_ANSWER, answer, row.key),
        }  # fmt: skip
        resolved = await self._row(_SQL.resolve, parameters)
        if resolved is None:
            await self._require(owner)
        return resolved

    async def ask(
        self, row: EffectRow | Asked, owner: Owner, *, lineage: UUID, task: UUID, position: int, thread: bytes
    ) -> None:
        """Write down that a task asks a person about the effect, or the tool, now. Raises LeaseLost."""
        parameters = {
            **owner._asdict(), "lineage": lineage, "task": task, "position": position, "key": row.key,
            "calls": row.calls, "thread_key": UUID(bytes=thread),
        }  # fmt: skip
        async with self._pool.connection() as connection:
            written = await (await connection.execute(_SQL.ask, parameters)).fetchone()
        if written is None:
            raise LeaseLost(run_id=str(owner.run_id), epoch=owner.epoch)

    async def is_owned(self, run_id: UUID, epoch: int) -> bool:
        """Whether the attempt that announced a call may still end it."""
        async with self._pool.connection() as connection:
            found = await connection.execute(_SQL.is_owner, {"run_id": run_id, "epoch": epoch})
            return await found.fetchone() is not None

    async def find(
        self, *, state: State | None = None, name: str | None = None, run_id: UUID | None = None, limit: int = 20
    ) -> list[EffectView]:
        """Return effects, newest first; None does not filter."""
        parameters = {"state": state, "name": name, "run_id": run_id, "limit": limit}
        return [await self._view(row) for row in await self._rows(_SQL.find, parameters)]

    async def show(self, beginning: str) -> list[EffectView]:
        """Return the effect whose key begins so; two when that is not enough of it, none when there is none."""
        escaped = beginning.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return [await self._view(row) for row in await self._rows(_SQL.show, {"beginning": f"{escaped}%"})]

    async def _require(self, owner: Owner) -> None:
        if not await self.is_owned(owner.run_id, owner.epoch):
            raise LeaseLost(run_id=str(owner.run_id), epoch=owner.epoch)

    async def _row(self, statement: bytes, parameters: Mapping[str, Any]) -> EffectRow | None:
        rows = await self._rows(statement, parameters)
        return await self._effect(rows[0]) if rows else None

    async def _effect(self, row: tuple[Any, ...]) -> EffectRow:
        effect, sealing = EffectRow._make(row), self._pool.sealing
        if not sealing.on:
            return effect
        return effect._replace(
            arguments=await self._arguments(effect.key, effect.arguments),
            body=await sealing.open(EFFECT_BODY, effect.body, effect.key),
            error=await sealing.open_text(EFFECT_ERROR, effect.error, effect.key),
            answer=await sealing.open(EFFECT_ANSWER, effect.answer, effect.key),
        )

    async def _view(self, row: tuple[Any, ...]) -> EffectView:
        effect, sealing = _view(row), self._pool.sealing
        if not sealing.on:
            return effect
        return replace(
            effect,
            arguments=await self._arguments(effect.key, effect.arguments),
            error=await sealing.open_text(EFFECT_ERROR, effect.error, effect.key),
            answer=await sealing.open(EFFECT_ANSWER, effect.answer, effect.key),
        )

    async def _arguments(self, key: str, arguments: bytes) -> bytes:
        # What stands there once its thread was deleted.
        if arguments == NOTHING:
            return arguments
        return await self._pool.sealing.open(EFFECT_ARGUMENTS, arguments, key) or NOTHING

    async def _rows(self, statement: bytes, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(statement, parameters)).fetchall()


def _asked(row: tuple[Any, ...]) -> Asked:
    key, calls, budget, *rest = row
    return Asked(key, calls, None if budget is None else Question.of_row(budget, rest))


def _view(row: tuple[Any, ...]) -> EffectView:
    return EffectView(
        key=row[0], name=row[1], state="unknown" if row[17] else row[2], agent=row[3], thread_id=row[4], run_id=row[5],
        lineage=row[6], run_status=row[7], business_key=row[8], arguments=row[9], error=row[10], calls=row[11],
        answer=row[12], answered_at=row[13], begun_at=row[14], ended_at=row[15], key_expires_at=row[16],
    )  # fmt: skip


def _text(text: str | None) -> str | None:
    """PostgreSQL's text holds neither NUL nor lone surrogates."""
    return (
        None if text is None else redacted(text).replace("\0", "").encode("utf-8", "replace").decode()[:_LONGEST_ERROR]
    )
