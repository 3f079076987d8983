"""Assistants in the database. Each change is a version of its own, and no version ever changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from psycopg import AsyncConnection

from outlast.domain.acting import across_tenants
from outlast.domain.assistant import BY_SYSTEM, Assistant, AssistantVersion, mirrored, system_id
from outlast.errors import Conflict, NotFound
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.listing import Listing, Page, containing
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("assistants")
_KIND = "assistant"
AssistantSort = Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"]
Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantQuery:
    """Which assistants are wanted; None does not filter."""

    metadata: Mapping[str, Any] | None = None
    graph_id: str | None = None
    name: str | None = None
    access: str | None = None

    @property
    def flags(self) -> set[str]:
        """The parts of the statement that are needed."""
        given = {
            "metadata": self.metadata, "graph_id": self.graph_id, "name": self.name, "access": self.access
        }  # fmt: skip
        return {part for part, value in given.items() if value}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all parts."""
        return {
            "metadata": jsonb(dict(self.metadata or {})),
            "graph_id": self.graph_id,
            "name": containing(self.name or ""),
            "access": self.access,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantChange:
    """What a change says; None leaves it as it is. Metadata is merged, config and context are replaced."""

    graph_id: str | None = None
    name: str | None = None
    description: str | None = None
    config: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def applied(self, old: Assistant) -> dict[str, Any]:
        """Return the new version's fields; raises InvalidInput when config and context contradict each other."""
        config, context = self._mirrored(old)
        return {
            "id": old.id,
            "graph_id": self.graph_id or old.graph_id,
            "name": self.name or old.name,
            "description": old.description if self.description is None else self.description,
            "config": jsonb(config),
            "context": jsonb(context),
            "metadata": jsonb({**old.metadata, **self.metadata}),
        }

    def _mirrored(self, old: Assistant) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        if self.config is None and self.context is None:
            return old.config, old.context
        if self.config is None:
            rest = {key: value for key, value in old.config.items() if key != "configurable"}
            return mirrored(rest, self.context)
        return mirrored(self.config, self.context)


class AssistantStore:
    """Assistants. `access` is a jsonpath that the metadata has to match; what it does not match is not found."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._list = Listing(pool, ("assistants", "search"), ("assistants", "count"), _assistant)

    async def ensure(self, graphs: Mapping[str, str]) -> None:
        """Give each graph (name -> description) its own assistant, if it has none yet."""
        parameters = {
            "ids": [system_id(name) for name in graphs],
            "graph_ids": list(graphs),
            "descriptions": [description or None for description in graphs.values()],
            "metadata": jsonb(dict(BY_SYSTEM)),
        }
        with across_tenants():
            async with self._pool.connection() as connection:
                await connection.execute(_SQL.ensure, parameters)

    async def resolve(self, name_or_id: str, *, access: str | None = None) -> Assistant:
        """Return the assistant of this id, or the graph's own one of this name; raises NotFound."""
        try:
            assistant_id = UUID(name_or_id)
        except ValueError:
            assistant_id = system_id(name_or_id)
        try:
            return await self.get(assistant_id, access=access)
        except NotFound:
            raise NotFound(_KIND, name_or_id) from None

    async def get(self, assistant_id: UUID, *, access: str | None = None) -> Assistant:
        """Return an assistant; raises NotFound."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.get, {"id": assistant_id, "access": access}, binary=True)
            return _found(await cursor.fetchone(), assistant_id)

    async def create(
        self,
        assistant_id: UUID,
        *,
        graph_id: str,
        name: str,
        description: str | None,
        config: Mapping[str, Any] | None,
        context: Mapping[str, Any] | None,
        metadata: Mapping[str, Any],
        exist_ok: bool,
        access: str | None = None,
    ) -> Assistant:
        """Store an assistant as version 1; with `exist_ok` return the one of this id that is there.

        Raises Conflict when there is one, NotFound when `exist_ok` finds one that is hidden from the caller.
        """
        given_config, given_context = mirrored(config, context)
        parameters = {
            "id": assistant_id,
            "graph_id": graph_id,
            "name": name,
            "description": description,
            "config": jsonb(given_config),
            "context": jsonb(given_context),
            "metadata": jsonb(dict(metadata)),
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.create, parameters, binary=True)
            row = await cursor.fetchone()
        if row is not None:
            return _assistant(row)
        if not exist_ok:
            msg = f"Assistant with ID {assistant_id} already exists"
            raise Conflict(msg)
        return await self.get(assistant_id, access=access)

    async def update(self, assistant_id: UUID, change: AssistantChange, *, access: str | None = None) -> Assistant:
        """Store the next version and make it the current one; raises NotFound, InvalidInput."""
        async with self._pool.transaction() as connection:
            old = await _locked(connection, assistant_id, access)
            cursor = await connection.execute(_SQL.change, change.applied(old), binary=True)
            return _found(await cursor.fetchone(), assistant_id)

    async def set_latest(self, assistant_id: UUID, version: int, *, access: str | None = None) -> Assistant:
        """Make a version the current one; raises NotFound for the assistant or the version."""
        async with self._pool.transaction() as connection:
            await _locked(connection, assistant_id, access)
            parameters = {"id": assistant_id, "version": version}
            cursor = await connection.execute(_SQL.set_latest, parameters, binary=True)
            row = await cursor.fetchone()
        if row is None:
            raise NotFound("version", str(version))
        return _assistant(row)

    async def delete(self, assistant_id: UUID, *, access: str | None = None) -> None:
        """Delete an assistant with its versions and crons; its runs stay. Raises NotFound."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.delete, {"id": assistant_id, "access": access})
            if await cursor.fetchone() is None:
                raise NotFound(_KIND, str(assistant_id))

    async def versions(
        self, assistant_id: UUID, *, metadata: Mapping[str, Any] | None, page: Page, access: str | None = None
    ) -> list[AssistantVersion]:
        """Return an assistant's versions, newest first; raises NotFound."""
        await self.get(assistant_id, access=access)
        parameters = {"id": assistant_id, "metadata": jsonb(dict(metadata or {})), **page._asdict()}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.versions, parameters, binary=True)
            return [AssistantVersion(**_version(row)) for row in await cursor.fetchall()]

    async def search(
        self, query: AssistantQuery, *, sort_by: AssistantSort, order: Order, page: Page
    ) -> tuple[list[Assistant], int]:
        """Return one page, and how many match."""
        return await self._list.search(query, f"{sort_by}_{order}", page=page)

    async def count(self, query: AssistantQuery) -> int:
        """Return how many match."""
        return await self._list.count(query)


async def _locked(connection: AsyncConnection[Any], assistant_id: UUID, access: str | None) -> Assistant:
    cursor = await connection.execute(_SQL.lock, {"id": assistant_id, "access": access}, binary=True)
    return _found(await cursor.fetchone(), assistant_id)


def _found(row: tuple[Any, ...] | None, assistant_id: UUID) -> Assistant:
    if row is None:
        raise NotFound(_KIND, str(assistant_id))
    return _assistant(row)


def _assistant(row: tuple[Any, ...]) -> Assistant:
    return Assistant(**_version(row), updated_at=row[9])


def _version(row: tuple[Any, ...]) -> dict[str, Any]:
    names = (
        "id", "graph_id", "name", "description", "config", "context", "metadata", "version", "created_at"
    )  # fmt: skip
    return dict(zip(names, row, strict=False))
