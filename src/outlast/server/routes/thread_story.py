"""The whole story of a thread: what `outlast logs` tells."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from outlast.domain.access import ADMIN, has_scope, require_scope
from outlast.domain.acting import principal
from outlast.domain.story import Entry, RunStanding
from outlast.monitoring.story import story_of
from outlast.server.auth.access import allowed
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.ids import ThreadId
from outlast.server.problems import DOCUMENTED

router = APIRouter(tags=["Threads"], route_class=JsonRoute, responses=DOCUMENTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingBody:
    """Where a run stands. `attempts`: how often a worker had it."""

    run_id: UUID
    agent: str
    status: str
    attempts: int
    error: str | None

    @classmethod
    def of(cls, run: RunStanding) -> Self:
        """Render it."""
        return cls(
            run_id=run.run_id, agent=run.agent, status=run.status, attempts=run.attempts, error=run.error_code
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryBody:
    """One thing that happened, in plain words (`text`) and as figures (`facts`); `content` is null unless asked for."""

    at: datetime
    kind: str
    run_id: UUID | None
    attempt: int | None
    epoch: int | None
    text: str
    facts: dict[str, Any]
    content: dict[str, Any] | None

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Render it."""
        return cls(
            at=entry.at, kind=entry.kind, run_id=entry.run_id, attempt=entry.attempt, epoch=entry.epoch,
            text=entry.text, facts=dict(entry.facts), content=None if entry.content is None else dict(entry.content),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryBody:
    """The story, oldest first. `remaining`: entries behind these; go on with `since` = the last one's `at`."""

    thread_id: str
    runs: list[StandingBody]
    entries: list[EntryBody]
    remaining: int


class StoryParameters(BaseModel):
    """Which part of the story is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: Annotated[UUID | None, Field(description="only this run")] = None
    since: Annotated[datetime | None, Field(description="only what happened at or after")] = None
    content: Annotated[bool, Field(description="with what was said; needs runs:read and inbox:read, too")] = False
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


@router.get("/threads/{thread_id}/story", response_model=StoryBody)
async def story(
    thread_id: ThreadId, request: Request, runtime: CurrentRuntime, wanted: Annotated[StoryParameters, Query()]
) -> Json:
    """Tell everything that happened to a thread, in order of time; entries of the audit log to administrators."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id})
    # Whoever may not see the thread is told that there is none.
    thread = await runtime.threads.get(thread_id, access=access)
    if wanted.content:
        require_scope("runs:read")
        require_scope("inbox:read")
    found = await story_of(
        runtime.pool, thread.id, content=wanted.content, audit=has_scope(principal().scopes, ADMIN),
        run_id=wanted.run_id, since=_aware(wanted.since),
    )  # fmt: skip
    return Json(
        StoryBody(
            thread_id=found.thread_id,
            runs=[StandingBody.of(run) for run in found.runs],
            entries=[EntryBody.of(entry) for entry in found.entries[: wanted.limit]],
            remaining=max(0, len(found.entries) - wanted.limit),
        )
    )


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)
