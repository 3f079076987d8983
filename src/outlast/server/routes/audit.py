"""The audit log of the caller's tenant: look, and have it verified."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from outlast.domain.acting import principal
from outlast.domain.audit import AuditEntry, Head
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.audit_reading import AuditQuery, AuditReader, Verified, keys_of

router = APIRouter(prefix="/audit", tags=["audit"], route_class=JsonRoute, responses=DOCUMENTED)

_Text = Annotated[str | None, Query(max_length=600, pattern=r"^[^\x00]*$")]


class HeadBody(BaseModel):
    """Where the log ended once, as the log of a process said it (`audit.head`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seq: Annotated[int, Field(ge=1, le=2**53)]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class VerificationBody(BaseModel):
    """What the log is compared with besides itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heads: Annotated[list[HeadBody], Field(max_length=100)] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView:
    """Who did what to which thing."""

    seq: int
    at: datetime
    actor: str
    key_id: str | None
    action: str
    object: str
    details: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Render it."""
        return cls(
            seq=entry.seq, at=entry.at, actor=entry.actor, key_id=entry.key_id, action=entry.action,
            object=entry.object, details=orjson.loads(entry.details), hash=entry.hash.hex(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemView:
    """Where the log is not as it was written."""

    seq: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationView:
    """What came of it: whole, when there are no problems."""

    entries: int
    unsigned: int
    head: HeadBody | None
    problems: list[ProblemView]

    @classmethod
    def of(cls, found: Verified) -> Self:
        """Render it."""
        head = HeadBody(seq=found.head.seq, hash=found.head.hash.hex()) if found.head.seq else None
        problems = [ProblemView(seq=item.seq, kind=item.kind, message=item.message) for item in found.problems]
        return cls(entries=found.entries, unsigned=found.unsigned, head=head, problems=problems)


@router.get("", response_model=list[EntryView])
async def entries(  # noqa: PLR0917 - what a query may say
    runtime: CurrentRuntime,
    action: _Text = None,
    object_: Annotated[str | None, Query(alias="object", max_length=600, pattern=r"^[^\x00]*$")] = None,
    actor: _Text = None,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="entries with a smaller number")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """List entries, the newest first. `action` is one (`key.revoked`), or what stands before its dot (`key`)."""
    query = AuditQuery(action=action, object=object_, actor=actor, before=before, limit=limit)
    return Json([EntryView.of(entry) for entry in await AuditReader(runtime.pool).search(query)])


@router.post("/verification", response_model=VerificationView)
async def verify(runtime: CurrentRuntime, body: VerificationBody | None = None) -> Json:
    """Go through the whole log and say where it is not as it was written."""
    tenant = principal().tenant
    kept = [
        Head(tenant=tenant, seq=head.seq, hash=bytes.fromhex(head.hash)) for head in (body or VerificationBody()).heads
    ]
    found = await AuditReader(runtime.pool).verify(keys_of(runtime.settings.audit), kept=kept)
    of_tenant = [VerificationView.of(each) for each in found if each.tenant == tenant]
    # Nothing was ever written down.
    empty = VerificationView(entries=0, unsigned=0, head=None, problems=[])
    return Json(_plain(of_tenant[0] if of_tenant else empty))


def _plain(view: VerificationView) -> dict[str, Any]:
    return {
        "entries": view.entries, "unsigned": view.unsigned, "problems": view.problems,
        "head": None if view.head is None else view.head.model_dump(),
    }  # fmt: skip
