"""Assistants in the words of the Agent Server API: what clients send, and what they get."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from outlast.domain.assistant import Assistant, AssistantVersion
from outlast.server.paging import Limit, Offset, SortOrder, partial_model
from outlast.server.run_bodies import Body, Name

# PostgreSQL holds no NUL in a text.
Description = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]
AssistantField = Literal[
    "assistant_id", "graph_id", "name", "description", "config", "context", "created_at", "updated_at", "metadata",
    "version",
]  # fmt: skip


class NewAssistantBody(Body):
    """An assistant that is wanted. `context` and `config.configurable` are the same: one of them is enough."""

    graph_id: Name
    assistant_id: Annotated[str | None, Field(json_schema_extra={"format": "uuid"})] = None
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    name: Name | None = None
    description: Description | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None


class AssistantChangeBody(Body):
    """What changes: metadata is merged, everything else replaced."""

    graph_id: Name | None = None
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    name: Name | None = None
    description: Description | None = None


class AssistantFilterBody(Body):
    """Which assistants are meant; `name` is a part of the name, in any case."""

    metadata: dict[str, Any] | None = None
    graph_id: Name | None = None
    name: Name | None = None


class AssistantSearchBody(AssistantFilterBody):
    """Which assistants are wanted, in which order, and what of them."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"] | None = None
    sort_order: SortOrder | None = None
    select: Annotated[list[AssistantField], Field(max_length=100)] | None = None


class VersionSearchBody(Body):
    """Which versions are wanted."""

    metadata: dict[str, Any] | None = None
    limit: Limit = 10
    offset: Offset = 0


class VersionBody(Body):
    """The version that is to be the current one."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class VersionShown(BaseModel):
    """A version of an assistant."""

    assistant_id: UUID
    graph_id: str
    name: str
    description: str | None
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]
    version: int
    created_at: datetime


class AssistantShown(VersionShown):
    """An assistant."""

    updated_at: datetime


class SchemasShown(BaseModel):
    """The JSON schemas of a graph; null for what has none that can be written down."""

    graph_id: str
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    state_schema: dict[str, Any] | None
    config_schema: dict[str, Any] | None
    context_schema: dict[str, Any] | None


PartOfAssistant = partial_model(AssistantShown)


def version_body(version: AssistantVersion) -> dict[str, Any]:
    """Return a version as clients get it."""
    return {
        "assistant_id": version.id,
        "graph_id": version.graph_id,
        "name": version.name,
        "description": version.description,
        "config": version.config,
        "context": version.context,
        "metadata": version.metadata,
        "version": version.version,
        "created_at": version.created_at,
    }


def assistant_body(assistant: Assistant) -> dict[str, Any]:
    """Return an assistant as clients get it."""
    return {**version_body(assistant), "updated_at": assistant.updated_at}
