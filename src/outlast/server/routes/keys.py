"""API keys of the caller's tenant: make, list, replace, revoke."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from outlast.domain.access import CLIENT_SCOPES, SCOPES, checked_scopes, checked_user, has_scope
from outlast.domain.acting import principal
from outlast.domain.api_key import ApiKey, Minted
from outlast.errors import Forbidden
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.api_keys import ApiKeyStore

router = APIRouter(prefix="/keys", tags=["keys"], route_class=JsonRoute, responses=DOCUMENTED)

_LONGEST_SECONDS: Final = 10 * 366 * 24 * 3600
_A_DAY: Final = 24 * 3600
_A_MONTH: Final = 31 * _A_DAY
Seconds = Annotated[float, Field(gt=0, le=_LONGEST_SECONDS, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewKeyBody(_Body):
    """What a new key is for."""

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]*$")] | None = None
    user: Annotated[
        str | None, Field(description="on whose behalf it acts; runs and usage are counted for this user")
    ] = None
    scopes: Annotated[
        list[str] | None, Field(max_length=len(SCOPES), description="left out: what a client of the API needs")
    ] = None
    expires_in_seconds: Annotated[Seconds | None, Field(description="left out: it lives until it is revoked")] = None


class RotateBody(_Body):
    """For how long the old key goes on."""

    grace_seconds: Annotated[float, Field(ge=0, le=_A_MONTH, allow_inf_nan=False)] = _A_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBody:
    """A key, without its secret."""

    key_id: str
    tenant: str
    user: str | None
    name: str | None
    scopes: list[str]
    state: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaced_by: str | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Render it."""
        return cls(
            key_id=key.key_id, tenant=key.tenant, user=key.user, name=key.name, scopes=sorted(key.scopes),
            state=key.state, created_at=key.created_at, expires_at=key.expires_at, revoked_at=key.revoked_at,
            last_used_at=key.last_used_at, replaced_by=key.replaced_by,
        )  # fmt: skip


class NewKeyReply(BaseModel):
    """A new key. `key` is told this once, and can be read nowhere afterwards."""

    key: str
    details: KeyBody


@router.post("", status_code=201, response_model=NewKeyReply)
async def create(body: NewKeyBody, runtime: CurrentRuntime) -> Json:
    """Make a key for the caller's tenant. Nobody can hand out scopes that they do not have themselves."""
    scopes = _own_scopes() if body.scopes is None else checked_scopes(body.scopes)
    _require_to_have(scopes)
    user = checked_user(body.user)
    lifetime = None if body.expires_in_seconds is None else timedelta(seconds=body.expires_in_seconds)
    key, minted = await ApiKeyStore(runtime.pool).create(scopes=scopes, user=user, name=body.name, lifetime=lifetime)
    await runtime.audit.record("key.created", f"key:{key.key_id}", {"scopes": sorted(key.scopes)})
    return _told(key, minted)


@router.get("", response_model=list[KeyBody])
async def keys(
    runtime: CurrentRuntime,
    everything: Annotated[bool, Query(alias="all", description="also what is expired or revoked")] = False,  # noqa: FBT002 - as FastAPI wants it
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """List the keys of the caller's tenant, the newest first."""
    found = await ApiKeyStore(runtime.pool).listed(everything=everything, limit=limit)
    return Json([KeyBody.of(key) for key in found])


@router.delete("/{key_id}", status_code=204, response_class=Response)
async def revoke(key_id: str, runtime: CurrentRuntime) -> Response:
    """End a key for ever. Every process refuses it within five seconds."""
    key = await ApiKeyStore(runtime.pool).revoke(key_id)
    await runtime.audit.record("key.revoked", f"key:{key.key_id}")
    return Response(status_code=204)


@router.post("/{key_id}/rotate", status_code=201, response_model=NewKeyReply)
async def rotate(key_id: str, runtime: CurrentRuntime, body: RotateBody | None = None) -> Json:
    """Make a key that opens what this one does, which ends after `grace_seconds`: a day, unless told otherwise."""
    store = ApiKeyStore(runtime.pool)
    old = await store.one(key_id)
    _require_to_have(old.scopes)
    grace = timedelta(seconds=(body or RotateBody()).grace_seconds)
    key, minted = await store.rotate(key_id, grace=grace)
    await runtime.audit.record("key.rotated", f"key:{old.key_id}", {"replaced_by": key.key_id})
    return _told(key, minted)


def _own_scopes() -> frozenset[str]:
    return frozenset(scope for scope in CLIENT_SCOPES if has_scope(principal().scopes, scope))


def _require_to_have(scopes: Iterable[str]) -> None:
    missing = sorted(scope for scope in scopes if not has_scope(principal().scopes, scope))
    if missing:
        raise Forbidden(f"you do not have {', '.join(missing)} yourself, so no key of yours can have it")


def _told(key: ApiKey, minted: Minted) -> Json:
    content: dict[str, Any] = {"key": minted.text, "details": KeyBody.of(key)}
    return Json(content, status_code=201)
