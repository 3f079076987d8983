"""A server with the graphs of `protocol_agents`."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent_server_api import Server, served

from outlast.agents.project import Project, find_project
from outlast.testing.postgres import Databases
from runtimes import Opens

GRAPHS = ("helper", "slow", "quick", "broken", "held", "two_questions")
#: What a person says to `helper`.
INPUT = {"messages": [{"role": "user", "content": "hi", "id": "h1"}], "items": []}


def protocol_project(root: Path) -> Project:
    shutil.copy(Path(__file__).parent / "protocol_agents.py", root / "protocol_project.py")
    graphs = {name: f"./protocol_project.py:{name}" for name in GRAPHS}
    (root / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": graphs}))
    return find_project(root)


@asynccontextmanager
async def protocol_served(databases: Databases, open_runtime: Opens, root: Path) -> AsyncIterator[Server]:
    url = await databases.create()
    async with served(open_runtime, url, project=protocol_project(root)) as server:
        yield server
    await databases.leave(url)
