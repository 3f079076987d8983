"""Erasing and handing out what belongs to a user, a thread or the caller's whole tenant."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Annotated, Final, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from outlast.agents.codec import Codec
from outlast.agents.exporting import exported_lines
from outlast.domain.acting import principal
from outlast.domain.erasure import Receipt, Scope, Subject
from outlast.errors import InvalidInput, NotFound
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.ids import uuid_of
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.export import exported_rows

router = APIRouter(tags=["personal data"], route_class=JsonRoute, responses=DOCUMENTED)

#: More is written to a file on its way.
_IN_MEMORY_BYTES: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_LONGEST_NAME: Final = 500
Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME, pattern=r"^[^\x00]*$")]


class SubjectBody(BaseModel):
    """Whose data it is: exactly one of user, thread and tenant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: Name | None = None
    thread: Name | None = None
    tenant: Annotated[Name | None, Field(description="the caller's own; naming it guards against a mistake")] = None
    namespaces: Annotated[
        list[Annotated[list[Name], Field(min_length=1, max_length=100)]],
        Field(max_length=100, description="of the store; those that have the name as a label are found by themselves"),
    ] = []

    def subject(self) -> Subject:
        """Return it; raises InvalidInput unless one of them is given."""
        given = {scope: name for scope in Scope if (name := getattr(self, scope.value)) is not None}
        if len(given) != 1:
            raise InvalidInput("give exactly one of user, thread and tenant", field="user")
        [(scope, name)] = given.items()
        return Subject(scope=scope, name=name, namespaces=tuple(map(tuple, self.namespaces)))


class ErasureBody(SubjectBody):
    """What is to be erased."""

    dry_run: Annotated[bool, Field(description="only count")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureView:
    """What was erased. It names nobody: `subject` is a pseudonym. `erasure_id` is null after a dry run."""

    erasure_id: UUID | None
    tenant: str
    scope: Scope
    subject: str
    asked_by: str | None
    begun_at: datetime | None
    #: Null: it is under way, or will be finished by a worker.
    ended_at: datetime | None
    #: Rows by table.
    removed: dict[str, int]
    #: Tables that keep rows, and why.
    kept: dict[str, str]

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        """Render it."""
        return cls(
            erasure_id=receipt.id, tenant=receipt.tenant, scope=receipt.scope, subject=receipt.subject,
            asked_by=receipt.asked_by, begun_at=receipt.begun_at, ended_at=receipt.ended_at,
            removed=dict(receipt.removed), kept=dict(receipt.kept),
        )  # fmt: skip


@router.post("/erasures", response_model=ErasureView)
async def erase(body: ErasureBody, runtime: CurrentRuntime) -> Json:
    """Erase it for good and return the receipt; with `dry_run`, count what would go.

    409 when it is being written to meanwhile: stop what writes, then repeat it. If the connection breaks, a worker
    finishes it.
    """
    subject, erasure = body.subject(), runtime.erasure()
    if not body.dry_run:
        return Json(ErasureView.of(await erasure.erase(subject)))
    removed = await erasure.plan(subject)
    return Json(
        ErasureView(
            erasure_id=None, tenant=principal().tenant, scope=subject.scope, subject=subject.name, asked_by=None,
            begun_at=None, ended_at=None, removed=removed, kept={},
        )
    )  # fmt: skip


@router.get("/erasures", response_model=list[ErasureView])
async def erasures(runtime: CurrentRuntime, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Json:
    """List receipts, the newest first."""
    return Json([ErasureView.of(receipt) for receipt in await runtime.erasure().receipts(limit=limit)])


@router.get("/erasures/{erasure_id}", response_model=ErasureView)
async def erasure(erasure_id: str, runtime: CurrentRuntime) -> Json:
    """Return one receipt."""
    found = await runtime.erasure().receipts(id=uuid_of(erasure_id, kind="erasure", field="erasure_id"))
    if not found:
        raise NotFound("erasure", erasure_id)
    return Json(ErasureView.of(found[0]))


@router.post("/exports", response_class=StreamingResponse)
async def export(body: SubjectBody, runtime: CurrentRuntime) -> StreamingResponse:
    """Hand out every row of it, as lines of JSON; the last line is `{"end": ...}`, or the archive is not whole."""
    subject, tenant = body.subject(), principal().tenant
    # Closed by the response's background task.
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by the response's background task
    try:
        rows = exported_rows(runtime.pool, subject)
        async for line in exported_lines(rows, subject, Codec(), tenant=tenant):
            file.write(line)
        await runtime.audit.record("data.exported", f"{subject.scope}:{subject.name}")
    # There is no response whose background task would close it, also where the client has gone.
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return StreamingResponse(
        _chunks(file), media_type="application/x-ndjson", background=BackgroundTask(file.close),
        headers={"Content-Disposition": 'attachment; filename="export.jsonl"'},
    )  # fmt: skip


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
