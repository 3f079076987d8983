"""A server of the Agent Server API on a real port of this process, and the SDK's clients, async and sync as one."""

import asyncio
import inspect
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient

from outlast.agents.project import Project, find_project
from outlast.runtime import Runtime
from outlast.server.app import serve
from outlast.settings import ServerSettings
from runtimes import Opens, working
from waiting import until

UNFINISHED = ("pending", "running")
GRAPHS = (
    "agent", "steps", "hold", "ask", "ask_two", "ask_twice", "broken", "tokens", "nested", "nested_ask", "see",
    "routed", "remember", "echo", "nested_hold", "ask_and_hold",
)  # fmt: skip


def write_project(root: Path, **sections: Any) -> Project:
    """Write a project with the graphs of the tests; more keys of `langgraph.json` may be given."""
    shutil.copy(Path(__file__).parent / "agent_server_agents.py", root / "agent_server_project.py")
    graphs = {name: f"./agent_server_project.py:{name}" for name in GRAPHS}
    content = {"dependencies": ["."], "graphs": graphs, **sections}
    (root / "langgraph.json").write_text(json.dumps(content))
    return find_project(root)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens; `sdk` is the async client, `http` asks for what the SDK hides."""

    runtime: Runtime
    url: str
    http: httpx.AsyncClient
    sdk: LangGraphClient

    async def status_of(self, run: Any) -> str:
        found = await self.sdk.runs.get(run["thread_id"], run["run_id"])
        return found["status"]

    async def ended(self, run: Any, timeout_seconds: float = 15.0) -> dict[str, Any]:
        """Wait until a run has ended and return it."""

        async def over() -> bool:
            return await self.status_of(run) not in UNFINISHED

        await until(over, timeout_seconds, f"run {run['run_id']} does not end")
        return dict(await self.sdk.runs.get(run["thread_id"], run["run_id"]))

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        async with self.runtime.pool.unscoped() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()


@asynccontextmanager
async def serving(runtime: Runtime, **settings: Any) -> AsyncIterator[Server]:
    """Serve the runtime on a free port, as `outlast serve` does."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(runtime, ServerSettings(port=0, **settings), ready=ready.set_result))
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        url = await ready
        async with httpx.AsyncClient(base_url=url, timeout=30) as http, get_client(url=url, api_key=None) as sdk:
            yield Server(runtime, url, http, sdk)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def served(open_runtime: Opens, url: str, *, workers: int = 1, **settings: Any) -> AsyncIterator[Server]:
    """An API on a database, and workers that share nothing with it but the database."""
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(working(await stack.enter_async_context(open_runtime(url, **settings))))
        runtime = await stack.enter_async_context(open_runtime(url, **settings))
        yield await stack.enter_async_context(serving(runtime))


class SyncClient:
    """The SDK's synchronous client in the shape of the asynchronous one: a thread waits where that would await."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found):
            return SyncClient(found)

        def call(*args: Any, **kwargs: Any) -> Any:
            if inspect.isgeneratorfunction(found) or name in {"stream", "join_stream"}:
                return _iterated(lambda: found(*args, **kwargs))
            return asyncio.to_thread(found, *args, **kwargs)

        return call


async def _iterated(start: Callable[[], Iterator[Any]]) -> AsyncIterator[Any]:
    parts = await asyncio.to_thread(start)
    nothing = object()
    try:
        while (part := await asyncio.to_thread(next, parts, nothing)) is not nothing:
            yield part
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            await asyncio.to_thread(close)


def sync_client(url: str) -> Any:
    return SyncClient(get_sync_client(url=url, api_key=None))


def some_id() -> str:
    return str(uuid4())


async def ran(client: Any, server: Server, graph: str = "steps", thread: str | None = None, **given: Any) -> str:
    """Return a thread after one run more."""
    thread = thread or (await client.threads.create())["thread_id"]
    await server.ended(await client.runs.create(thread, graph, **{"input": {}, **given}))
    return thread


async def parts_of(stream: Any) -> list[Any]:
    """Read a stream to its end."""
    async with asyncio.timeout(30):
        # The asynchronous client has to be waited for to get the stream of a thread, and only that.
        parts = await stream if inspect.isawaitable(stream) else stream
        return [part async for part in parts]
