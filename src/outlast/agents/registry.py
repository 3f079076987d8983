"""The project's agents by name: loaded on first use, checked together at start-up."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.store.base import BaseStore
from langgraph_sdk.auth.types import BaseUser

from outlast.agents.building import AnyGraph, Source, build_graph, find_source
from outlast.agents.factories import AccessContext, Occasion
from outlast.agents.project import AgentSpec, Project, find_project, load_project
from outlast.agents.version import graph_version
from outlast.errors import AgentLoadError, NotFound

__all__ = ["AccessContext", "Agent", "AgentSpec", "Project", "Registry", "find_project", "load_project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A graph that can run, and the version that names its shape."""

    name: str
    graph: AnyGraph
    version: str


class Registry:
    """Loads the agents of one project and keeps them until `aclose`.

    An agent is imported once. Its graph is built once too, unless its factory takes the config or the runtime:
    then each call builds one. A failed load is not remembered, so the next call tries again.
    `store` is what factories see as the runtime's. Belongs to one event loop.
    """

    def __init__(self, project: Project, *, store: BaseStore | None = None) -> None:
        self.names: tuple[str, ...] = tuple(project.agents)
        self._project = project
        self._store = store
        self._sources: dict[str, Source] = {}
        self._agents: dict[str, Agent] = {}
        self._loading = asyncio.Lock()
        self._closing = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []

    async def get(self, name: str, config: RunnableConfig | None = None) -> Agent:
        """Return the agent, loading it on first use.

        Raises NotFound for an unknown name and AgentLoadError when it cannot be loaded, or when its
        graph lives as long as one run only (a context manager that takes config or runtime): see `opened`.
        """
        found = await self._found(name)
        if isinstance(found, Agent):
            return found
        return _agent(found, await build_graph(found, Occasion(config=config, store=self._store), None))

    @asynccontextmanager
    async def opened(
        self,
        name: str,
        config: RunnableConfig | None = None,
        *,
        access: AccessContext = "threads.read",
        user: BaseUser | Mapping[str, Any] | None = None,
        context: Any = None,
    ) -> AsyncGenerator[Agent, None]:
        """Provide the agent for one use; what its factory opened for it is closed at the end.

        `access` tells a factory why it is called; only `threads.create_run` runs nodes, and only then it sees the
        context. Raises NotFound, AgentLoadError, and InvalidInput for a context that is not what the factory declares.
        """
        found = await self._found(name)
        if isinstance(found, Agent):
            yield found
            return
        occasion = Occasion(access=access, config=config, user=user, context=context, store=self._store)
        async with AsyncExitStack() as resources:
            yield _agent(found, await build_graph(found, occasion, resources))

    async def load_all(self) -> None:
        """Load every agent; raises one AgentLoadError that names all broken ones."""
        errors: list[AgentLoadError] = []
        for name in self.names:
            try:
                async with self.opened(name):
                    pass
            except AgentLoadError as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            details = "\n\n".join(str(error) for error in errors)
            raise AgentLoadError(
                f"{len(errors)} of {len(self.names)} agents cannot be loaded:\n\n{details}"
            ) from ExceptionGroup("broken agents", errors)

    async def aclose(self) -> None:
        """Leave the context managers that factories returned. The graphs must not be used afterwards."""
        self._closing.set()
        await asyncio.gather(*self._keepers)

    async def _found(self, name: str) -> Agent | Source:
        """Return the agent that all uses share, or what builds one for each use."""
        # What is loaded is there without the lock: another agent's import may hold it for seconds.
        if name in self._agents:
            return self._agents[name]
        source = self._sources.get(name)
        if source is not None and source.per_call:
            return source
        async with self._loading:
            source = await self._source(name)
            return source if source.per_call else await self._kept(source)

    async def _source(self, name: str) -> Source:
        if name not in self._project.agents:
            raise NotFound("agent", name)
        if name not in self._sources:
            # In a thread, because an import may take seconds and because modules exist that call
            # asyncio.run() while they are imported, which fails where a loop is running.
            self._sources[name] = await asyncio.to_thread(find_source, self._project, self._project.agents[name])
        return self._sources[name]

    async def _kept(self, source: Source) -> Agent:
        name = source.spec.name
        if name not in self._agents:
            ready: asyncio.Future[Agent] = asyncio.get_running_loop().create_future()
            # In a context of its own: what it opens is everybody's, not that of whoever came first.
            keeper = asyncio.create_task(self._keep(source, ready), name=f"agent {name}", context=Context())
            try:
                await asyncio.wait({keeper, ready}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                keeper.cancel()
                raise
            if not ready.done():
                await keeper  # raises what went wrong
            self._agents[name] = ready.result()
            self._keepers.append(keeper)
        return self._agents[name]

    async def _keep(self, source: Source, ready: asyncio.Future[Agent]) -> None:
        # Context managers that hold a cancel scope (MCP clients do) must be left by the task that entered them.
        async with AsyncExitStack() as resources:
            ready.set_result(_agent(source, await build_graph(source, Occasion(store=self._store), resources)))
            await self._closing.wait()


def _agent(source: Source, graph: AnyGraph) -> Agent:
    return Agent(name=source.spec.name, graph=graph, version=graph_version(graph))
