"""Assistants: make, find, change, go back to a version, and what their graphs look like."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final
from uuid import UUID

import uuid_utils.compat as uuid_utils
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from outlast.admission.payload import check_value
from outlast.admission.secrets import check_secrets
from outlast.agents.schemas import graph_body, schemas_of, subgraph_schemas
from outlast.domain.assistant import Assistant, system_id
from outlast.errors import Conflict, NotFound
from outlast.runtime import Runtime
from outlast.server.assistant_bodies import (
    AssistantChangeBody,
    AssistantFilterBody,
    AssistantSearchBody,
    AssistantShown,
    NewAssistantBody,
    PartOfAssistant,
    SchemasShown,
    VersionBody,
    VersionSearchBody,
    VersionShown,
    assistant_body,
    version_body,
)
from outlast.server.auth.access import CurrentUser, allowed
from outlast.server.auth.users import User
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentGate, CurrentRuntime
from outlast.server.ids import AssistantId, uuid_of
from outlast.server.paging import chosen, paged
from outlast.server.problems import DOCUMENTED
from outlast.server.routes.agent_server.threads import delete_thread
from outlast.storage.postgres.assistants import AssistantChange, AssistantQuery
from outlast.storage.postgres.listing import Page

router = APIRouter(tags=["Assistants"], route_class=JsonRoute, responses=DOCUMENTED)

_UNTITLED: Final = "Untitled"
_JSON_FIELDS: Final = ("config", "context", "metadata")
NameOrId = Annotated[str, Path(description="an assistant's id, or a graph's name", max_length=255)]
Depth = Annotated[int, Field(ge=0, le=100)]


@router.post("/assistants", response_model=AssistantShown)
async def create(body: NewAssistantBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate) -> Json:
    """Make an assistant of a graph."""
    _check_sizes(body, gate)
    wanted = uuid_utils.uuid7() if body.assistant_id is None else _id_of(body.assistant_id)
    value = {**body.model_dump(exclude_none=True), "assistant_id": str(wanted), "metadata": dict(body.metadata or {})}
    value, access = await allowed(request, "assistants", "create", value)
    assistant = await runtime.assistants.create(
        _id_of(str(value["assistant_id"])),
        graph_id=_known_graph(runtime, value["graph_id"]),
        name=value.get("name") or _UNTITLED,
        description=value.get("description"),
        config=value.get("config"),
        context=value.get("context"),
        metadata=value.get("metadata") or {},
        exist_ok=value.get("if_exists") == "do_nothing",
        access=access,
    )
    return Json(assistant_body(assistant))


@router.post("/assistants/search", response_model=list[PartOfAssistant])
async def search(body: AssistantSearchBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate) -> Json:
    """Return assistants, newest first unless asked otherwise."""
    page = Page(body.limit, body.offset)
    found, total = await runtime.assistants.search(
        await _query(request, gate, body),
        sort_by=body.sort_by or "created_at",
        order=body.sort_order or "desc",
        page=page,
    )
    return paged([chosen(assistant_body(assistant), body.select) for assistant in found], total=total, page=page)


@router.post("/assistants/count", response_model=int)
async def count(body: AssistantFilterBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate) -> Json:
    """Return how many assistants there are."""
    return Json(await runtime.assistants.count(await _query(request, gate, body)))


async def _query(request: Request, gate: CurrentGate, body: AssistantFilterBody) -> AssistantQuery:
    check_value(body.metadata, gate.limits, field="metadata")
    value, access = await allowed(request, "assistants", "search", body.model_dump(exclude_none=True))
    return AssistantQuery(
        metadata=value.get("metadata"), graph_id=value.get("graph_id"), name=value.get("name"), access=access
    )


@router.get("/assistants/{assistant_id}", response_model=AssistantShown)
async def get(assistant_id: AssistantId, request: Request, runtime: CurrentRuntime) -> Json:
    """Return an assistant."""
    return Json(assistant_body(await _readable(request, runtime, assistant_id)))


@router.patch("/assistants/{assistant_id}", response_model=AssistantShown)
async def update(
    assistant_id: AssistantId, body: AssistantChangeBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate
) -> Json:
    """Change an assistant; what it was stays as a version."""
    _check_sizes(body, gate)
    value: dict[str, Any] = {**body.model_dump(exclude_none=True), "assistant_id": str(assistant_id)}
    value, access = await allowed(request, "assistants", "update", value)
    graph_id = value.get("graph_id")
    if graph_id is not None:
        _known_graph(runtime, graph_id)
        if _of_system(runtime, assistant_id) not in (None, graph_id):
            msg = "this is the assistant that its graph has by itself; make another one for another graph"
            raise Conflict(msg)
    change = AssistantChange(
        graph_id=graph_id,
        name=value.get("name"),
        description=value.get("description"),
        config=value.get("config"),
        context=value.get("context"),
        metadata=value.get("metadata") or {},
    )
    return Json(assistant_body(await runtime.assistants.update(assistant_id, change, access=access)))


@router.delete("/assistants/{assistant_id}", status_code=204)
async def delete(
    assistant_id: AssistantId,
    request: Request,
    runtime: CurrentRuntime,
    *,
    delete_threads: Annotated[bool, Query(description="with the threads that it has worked on")] = False,
) -> Response:
    """Delete an assistant with its crons; its runs stay."""
    _, access = await allowed(request, "assistants", "delete", {"assistant_id": str(assistant_id)})
    assistant = await runtime.assistants.get(assistant_id, access=access)
    if _of_system(runtime, assistant.id) is not None:
        msg = f"this is the assistant that graph {assistant.graph_id!r} has by itself; it would be there again at once"
        raise Conflict(msg)
    if delete_threads:
        _, threads = await allowed(request, "threads", "delete", {"assistant_id": str(assistant_id)})
        await _delete_threads(runtime, assistant_id, access=threads)
    await runtime.assistants.delete(assistant_id, access=access)
    return Response(status_code=204)


async def _delete_threads(runtime: Runtime, assistant_id: UUID, *, access: str | None) -> None:
    for thread_id in await runtime.threads.of_assistant(assistant_id, access=access):
        try:
            await delete_thread(runtime, thread_id, access=access)
        except NotFound:
            # Somebody else was faster.
            continue


@router.post("/assistants/{assistant_id}/versions", response_model=list[VersionShown])
async def versions(
    assistant_id: AssistantId, body: VersionSearchBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate
) -> Json:
    """Return the versions of an assistant, newest first."""
    check_value(body.metadata, gate.limits, field="metadata")
    _, access = await allowed(request, "assistants", "read", {"assistant_id": str(assistant_id)})
    found = await runtime.assistants.versions(
        assistant_id, metadata=body.metadata, page=Page(body.limit, body.offset), access=access
    )
    return Json([version_body(version) for version in found])


@router.post("/assistants/{assistant_id}/latest", response_model=AssistantShown)
async def set_latest(assistant_id: AssistantId, body: VersionBody, request: Request, runtime: CurrentRuntime) -> Json:
    """Make a version the current one."""
    value = {"assistant_id": str(assistant_id), "version": body.version}
    _, access = await allowed(request, "assistants", "update", value)
    return Json(assistant_body(await runtime.assistants.set_latest(assistant_id, body.version, access=access)))


@router.get("/assistants/{assistant_id}/graph")
async def graph(
    assistant_id: NameOrId,
    request: Request,
    runtime: CurrentRuntime,
    user: CurrentUser,
    *,
    xray: Annotated[Depth | bool, Query(description="draw subgraphs too; a number says how deep")] = False,
) -> dict[str, Any]:
    """Return the nodes and edges of an assistant's graph."""
    async with _opened(request, runtime, user, assistant_id) as (_, graph):
        return await graph_body(graph, xray=xray)


@router.get("/assistants/{assistant_id}/schemas", response_model=SchemasShown)
async def schemas(
    assistant_id: NameOrId, request: Request, runtime: CurrentRuntime, user: CurrentUser
) -> dict[str, Any]:
    """Return the JSON schemas of what an assistant's graph takes, gives and keeps."""
    async with _opened(request, runtime, user, assistant_id) as (name, graph):
        return schemas_of(name, graph)


@router.get("/assistants/{assistant_id}/subgraphs", response_model=dict[str, SchemasShown])
async def subgraphs(
    assistant_id: NameOrId, request: Request, runtime: CurrentRuntime, user: CurrentUser, *, recurse: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the schemas of the graphs inside an assistant's graph, by namespace."""
    async with _opened(request, runtime, user, assistant_id) as (_, graph):
        return subgraph_schemas(graph, recurse=recurse)


@router.get("/assistants/{assistant_id}/subgraphs/{namespace}", response_model=dict[str, SchemasShown])
async def subgraph(
    assistant_id: NameOrId,
    namespace: str,
    request: Request,
    runtime: CurrentRuntime,
    user: CurrentUser,
    *,
    recurse: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return the schemas of the graph in a namespace; none where there is no graph."""
    async with _opened(request, runtime, user, assistant_id) as (_, graph):
        return subgraph_schemas(graph, namespace=namespace, recurse=recurse)


async def _readable(request: Request, runtime: Runtime, assistant_id: UUID) -> Assistant:
    """Return an assistant; what a graph has by itself is nobody's own, so no filter hides it."""
    _, access = await allowed(request, "assistants", "read", {"assistant_id": str(assistant_id)})
    if _of_system(runtime, assistant_id) is not None:
        access = None
    return await runtime.assistants.get(assistant_id, access=access)


@asynccontextmanager
async def _opened(
    request: Request, runtime: Runtime, user: User | None, name_or_id: str
) -> AsyncGenerator[tuple[str, Any]]:
    """Provide the graph of an assistant, as its config makes it; raises NotFound, AgentLoadError."""
    found = await runtime.assistants.resolve(name_or_id)
    assistant = await _readable(request, runtime, found.id)
    opened = runtime.registry.opened(
        assistant.graph_id,
        dict(assistant.config),  # pyright: ignore[reportArgumentType]
        access="assistants.read",
        user=None if user is None else user.given,
        context=assistant.context,
    )
    async with opened as agent:
        yield agent.name, agent.graph


def _id_of(text: str) -> UUID:
    return uuid_of(text, kind="assistant", field="assistant_id")


def _known_graph(runtime: Runtime, graph_id: str) -> str:
    """Return the graph's name; raises NotFound."""
    if graph_id not in runtime.registry.names:
        kind, expected = "graph", ", ".join(repr(name) for name in runtime.registry.names)
        raise NotFound(kind, graph_id, hint=f"; expected one of {expected}")
    return graph_id


def _of_system(runtime: Runtime, assistant_id: UUID) -> str | None:
    """Return the graph that has this assistant by itself."""
    return next((name for name in runtime.registry.names if system_id(name) == assistant_id), None)


def _check_sizes(body: NewAssistantBody | AssistantChangeBody, gate: CurrentGate) -> None:
    for field in _JSON_FIELDS:
        check_value(getattr(body, field), gate.limits, field=field)
        check_secrets(getattr(body, field), field=field)
