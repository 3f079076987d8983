"""Servers whose project has an auth."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent_server_api import Server, served, write_project
from langgraph_sdk import get_client

from outlast.testing.postgres import Databases
from runtimes import Opens

_clients: dict[str, dict[str, Any]] = {}


@asynccontextmanager
async def guarded(
    databases: Databases, open_runtime: Opens, root: Path, *, auth: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[Server]:
    """A server and a worker of a project with the auth of the tests; `settings` may be among the sections."""
    settings = sections.pop("settings", {})
    shutil.copy(Path(__file__).parent / "auth_for_tests.py", root / "project_auth.py")
    project = write_project(root, auth={"path": "./project_auth.py:auth", **(auth or {})}, **sections)
    url = await databases.create()

    def opens(url: str, **more: Any) -> Any:
        return open_runtime(url, project=project, **settings, **more)

    async with served(opens, url) as server:
        try:
            yield server
        finally:
            for client in _clients.pop(server.url, {}).values():
                await client.aclose()
    await databases.leave(url)


def bearer(user: str) -> dict[str, str]:
    return {"authorization": f"Bearer {user}"}


def sdk_of(server: Server, user: str) -> Any:
    """The SDK's client of one user; closed with the server."""
    clients = _clients.setdefault(server.url, {})
    if user not in clients:
        clients[user] = get_client(url=server.url, api_key=None, headers=bearer(user))
    return clients[user]
