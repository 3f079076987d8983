"""What the database tells of a thread; `monitoring.story` makes a story of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from outlast.domain.story import Row
from outlast.domain.trace_context import trace_id_of
from outlast.errors import NotFound, Undecipherable
from outlast.storage.postgres import sealed_columns as place
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import NOTHING
from outlast.storage.postgres.sealing import Place, Sealing

_SQL = Queries("stories")
#: What an effect's arguments are once its thread was deleted.
_FORGOTTEN: Final = NOTHING
_Identity = Callable[[Row], Sequence[Any]]


def _of_run(row: Row) -> Sequence[Any]:
    return (row.run_id,)


def _of_attempt(row: Row) -> Sequence[Any]:
    return row.run_id, row.epoch


def _of_row(row: Row) -> Sequence[Any]:
    return (UUID(row.source),)


def _of_key(row: Row) -> Sequence[Any]:
    return (row.source,)


def _of_review(row: Row) -> Sequence[Any]:
    thread, lineage, position = row.source.split(":")
    return UUID(thread), UUID(lineage), int(position)


def _of_feedback(row: Row) -> Sequence[Any]:
    return row.run_id, row.facts["key"]


#: What `sealed` holds, by what happened: its names, their places, whether a text was sealed, and whose they are.
_CONTENT: Final[Mapping[str, tuple[Sequence[tuple[str, Place, bool]], _Identity]]] = {
    "run.created": ([("options", place.RUN_OPTIONS, False), ("input", place.RUN_INPUT, False)], _of_run),
    "run.ended": ([("error", place.RUN_ERROR, True), ("output", place.RUN_OUTPUT, False)], _of_run),
    "run.cancel_requested": ([("reason", place.RUN_CANCEL_REASON, True)], _of_run),
    "run.discarded": ([("reason", place.DISCARD_REASON, True)], _of_run),
    "attempt.lost": ([("error", place.ATTEMPT_ERROR, True)], _of_attempt),
    "attempt.taken": ([("error", place.ATTEMPT_ERROR, True)], _of_attempt),
    "attempt.failed": ([("error", place.ATTEMPT_ERROR, True)], _of_attempt),
    "effect": (
        [("arguments", place.EFFECT_ARGUMENTS, False), ("error", place.EFFECT_ERROR, True),
         ("answer", place.EFFECT_ANSWER, False)], _of_key,
    ),
    "question.asked": ([("question", place.QUESTION_VALUE, False)], _of_row),
    "question.answered": ([("answer", place.QUESTION_ANSWER, False)], _of_row),
    "question.expired": ([("answer", place.QUESTION_ANSWER, False)], _of_row),
    "question.withdrawn": ([("answer", place.QUESTION_ANSWER, False)], _of_row),
    "question.vote": ([("said", place.QUESTION_NOTE, False)], _of_row),
    "question.comment": ([("said", place.QUESTION_NOTE, False)], _of_row),
    "review": ([("review", place.REVIEW_BODY, False)], _of_review),
    "feedback": ([("value", place.FEEDBACK_VALUE, False), ("comment", place.FEEDBACK_COMMENT, True)], _of_feedback),
}  # fmt: skip


class StoryStore:
    """Reads for the tenant of the context; a thread of another one is not found."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(
        self, thread_id: str, *, content: bool, audit: bool, run_id: UUID | None = None, since: datetime | None = None
    ) -> list[Row]:
        """Return what rows tell, as it was at one moment and in no order. Raises NotFound.

        With `content` also what was said, decrypted (raises Undecipherable); with `audit` the entries of the audit log
        about the thread. `since` leaves out what is older, but not what attempts are numbered by.
        """
        parameters = {
            "thread_key": UUID(bytes=thread_key(thread_id)), "thread_id": thread_id, "content": content,
            "audit": audit, "run_id": run_id, "since": since,
        }  # fmt: skip
        async with self._pool.connection() as connection:
            if await (await connection.execute(_SQL.thread, parameters)).fetchone() is None:
                raise NotFound("thread", thread_id, hint="; see `outlast runs list`")
            rows = await (await connection.execute(_SQL.story, parameters)).fetchall()
        return [await self._row(row, content=content) for row in rows]

    async def _row(self, row: tuple[Any, ...], *, content: bool) -> Row:
        what, at, run_id, epoch, source, facts, sealed = row
        bare = Row(what=what, at=at, run_id=run_id, epoch=epoch, source=source, facts=facts)
        if what == "run.created":
            bare = replace(bare, facts={**facts, "trace_id": await self._trace_id(bare, sealed[0])})
            sealed = [None, *sealed[1:]]
        return replace(bare, content=await self._opened(bare, sealed)) if content and sealed is not None else bare

    async def _trace_id(self, row: Row, options: bytes | None) -> str | None:
        """Return under which id traces and logs know a run; None where it was encrypted, and its key is gone."""
        if row.run_id is None:
            return None
        try:
            opened = await self._pool.sealing.open(place.RUN_OPTIONS, options, row.run_id)
        except Undecipherable:
            return None
        given: Any = {} if opened is None else _json(opened)
        return trace_id_of(row.run_id, given.get("traceparent") if isinstance(given, dict) else None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - JSON

    async def _opened(self, row: Row, sealed: Sequence[bytes | None]) -> Mapping[str, Any]:
        names, identity = _CONTENT[row.what]
        found = {
            name: await _content(self._pool.sealing, its_place, data, identity(row), text=text)
            for (name, its_place, text), data in zip(names, sealed, strict=True)
        }
        return {name: value for name, value in found.items() if value is not None}


async def _content(
    sealing: Sealing, its_place: Place, data: bytes | None, identity: Sequence[Any], *, text: bool
) -> Any:  # fmt: skip
    if data is None or data == _FORGOTTEN:
        return None
    if text:
        return await sealing.open_text(its_place, data.decode("utf-8", "surrogatepass"), *identity)
    opened = await sealing.open(its_place, data, *identity)
    return None if opened is None else _json(opened)


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # Lone surrogates, and integers beyond what orjson reads.
        return data.decode("utf-8", "replace")
