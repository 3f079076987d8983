"""The store over HTTP: the items that graphs reach by `get_store()`.

An auth handler narrows what a caller sees by rewriting `namespace`; items have no metadata, so a filter that it returns
has nothing to match.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from outlast.admission.payload import check_value
from outlast.errors import InvalidInput, NotSupported
from outlast.server.auth.access import allowed
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentGate, CurrentRuntime
from outlast.server.paging import Limit, Offset
from outlast.server.problems import DOCUMENTED
from outlast.server.run_bodies import Body

router = APIRouter(prefix="/store", tags=["Store"], route_class=JsonRoute, responses=DOCUMENTED)

_TEN_YEARS_IN_MINUTES: Final = 5_256_000
# LangGraph keeps this namespace for itself.
_RESERVED: Final = "langgraph"

Labels = Annotated[list[str], Field(max_length=100)]
Key = Annotated[str, Field(max_length=1000)]
Minutes = Annotated[float, Field(gt=0, le=_TEN_YEARS_IN_MINUTES, allow_inf_nan=False)]


class PutBody(Body):
    """An item. `index` names the texts that it is found by, false none; without it the project's choice counts."""

    namespace: Annotated[Labels, Field(min_length=1)]
    key: Key
    value: dict[str, Any]
    index: Literal[False] | Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=100)] | None = None
    ttl: Annotated[Minutes | None, Field(description="minutes; null: for ever")] = None


class DeleteBody(Body):
    """Which item."""

    namespace: Labels
    key: Key


class SearchBody(Body):
    """Which items: under a namespace, with these values, by their meaning."""

    namespace_prefix: Labels
    filter: Annotated[dict[str, Any] | None, Field(description="values, or $eq $ne $gt $gte $lt $lte of values")] = None
    limit: Limit = 10
    offset: Offset = 0
    query: Annotated[str, Field(max_length=65_536)] | None = None
    refresh_ttl: bool | None = None


class NamespacesBody(Body):
    """Which namespaces; "*" stands for any one label."""

    prefix: Labels | None = None
    suffix: Labels | None = None
    max_depth: Annotated[int, Field(ge=1, le=100)] | None = None
    limit: Limit = 100
    offset: Offset = 0


class ItemShown(BaseModel):
    """An item as it is stored."""

    namespace: list[str]
    key: str
    value: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class FoundItemShown(ItemShown):
    """An item that was searched for; `score` is null where no meaning was asked for."""

    score: float | None


class FoundShown(BaseModel):
    """What a search found."""

    items: list[FoundItemShown]


class NamespacesShown(BaseModel):
    """Namespaces, in order."""

    namespaces: list[list[str]]


@router.put("/items", status_code=204)
async def put(body: PutBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate) -> Response:
    """Store an item, in the place of the one that is there."""
    if body.index and not runtime.store.indexed:
        raise NotSupported(_no_index("index"), field="index")
    check_value(body.value, gate.limits, field="value")
    value = body.model_dump(include={"key", "value", "index"}) | {"namespace": tuple(body.namespace)}
    value, _ = await allowed(request, "store", "put", value)
    namespace = _labels(value["namespace"], "namespace")
    if not namespace or namespace[0] == _RESERVED:
        msg = f"an item needs a namespace, and not one under {_RESERVED!r}"
        raise InvalidInput(msg, field="namespace")
    # Null is for ever, left out is what the project says.
    lifetime = {"ttl": body.ttl} if "ttl" in body.model_fields_set else {}
    await runtime.store.aput(namespace, value["key"], value["value"], value["index"], **lifetime)
    return Response(status_code=204)


@router.get("/items", response_model=ItemShown | None)
async def get(
    request: Request,
    runtime: CurrentRuntime,
    *,
    namespace: Annotated[str, Query(description="labels, joined by dots")],
    key: Annotated[str, Query(max_length=1000)],
    refresh_ttl: Annotated[bool | None, Query(description="begin its life anew")] = None,
) -> Json:
    """Return an item, or null when there is none."""
    value = {"namespace": tuple(namespace.split(".")), "key": key}
    value, _ = await allowed(request, "store", "get", value)
    item = await runtime.store.aget(_labels(value["namespace"], "namespace"), value["key"], refresh_ttl=refresh_ttl)
    return Json(None if item is None else _shown(item))


@router.delete("/items", status_code=204)
async def delete(body: DeleteBody, request: Request, runtime: CurrentRuntime) -> Response:
    """Delete an item, if there is one."""
    value = {"namespace": tuple(body.namespace), "key": body.key}
    value, _ = await allowed(request, "store", "delete", value)
    await runtime.store.adelete(_labels(value["namespace"], "namespace"), value["key"])
    return Response(status_code=204)


@router.post("/items/search", response_model=FoundShown)
async def search(body: SearchBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate) -> Json:
    """Return the items under a namespace: the nearest in meaning first, or those that changed last."""
    if body.query and not runtime.store.indexed:
        raise NotSupported(_no_index("query"), field="query")
    check_value(body.filter, gate.limits, field="filter")
    value = body.model_dump(include={"filter", "limit", "offset", "query"})
    value, _ = await allowed(request, "store", "search", {"namespace": tuple(body.namespace_prefix), **value})
    items = await runtime.store.asearch(
        _labels(value["namespace"], "namespace_prefix"),
        filter=value["filter"],
        limit=value["limit"],
        offset=value["offset"],
        query=value["query"],
        refresh_ttl=body.refresh_ttl,
    )
    return Json({"items": [_shown(item) | {"score": item.score} for item in items]})


@router.post("/namespaces", response_model=NamespacesShown)
async def namespaces(body: NamespacesBody, request: Request, runtime: CurrentRuntime) -> Json:
    """Return the namespaces that hold items."""
    value = body.model_dump(include={"max_depth", "limit", "offset"})
    given = {"namespace": _given(body.prefix), "suffix": _given(body.suffix), **value}
    value, _ = await allowed(request, "store", "list_namespaces", given)
    found = await runtime.store.alist_namespaces(
        prefix=_labels(value["namespace"] or (), "prefix"),
        suffix=_labels(value["suffix"] or (), "suffix"),
        max_depth=value["max_depth"],
        limit=value["limit"],
        offset=value["offset"],
    )
    return Json({"namespaces": found})


def _shown(item: Any) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


def _given(labels: list[str] | None) -> tuple[str, ...] | None:
    return None if labels is None else tuple(labels)


def _labels(labels: Any, field: str) -> tuple[str, ...]:
    """Return a namespace, as the client or an auth handler gave it; raises InvalidInput."""
    if not isinstance(labels, list | tuple):
        labels = [None]
    for label in cast("Sequence[object]", labels):
        if not isinstance(label, str) or not label or "." in label or "\0" in label:
            msg = f"{str(label)[:100]!r} is no label; a namespace is a list of texts that are not empty and hold no dot"
            raise InvalidInput(msg, field=field)
    return tuple(cast("Sequence[str]", labels))


def _no_index(field: str) -> str:
    return f"{field} is about meaning, and the project embeds nothing; configure store.index in langgraph.json"
