"""The JavaScript SDK against a real server: node and npm come from a wheel, the SDK from npm, all of it pinned."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_server_api import Server, served
from javascript import SCRIPTS, node
from protocol_api import protocol_served

from outlast.agents.project import find_project
from outlast.testing.postgres import Databases
from runtimes import Opens

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, tmp_path_factory: Any) -> AsyncIterator[Server]:
    async with protocol_served(databases, open_runtime, tmp_path_factory.mktemp("javascript")) as server:
        yield server


async def test_everything_that_a_page_does_works(server, packages):
    # A script finds packages from where it lies.
    script = packages / "smoke.mjs"
    shutil.copy(SCRIPTS / "smoke.mjs", script)

    assert (await node(script, server.url)).splitlines()[-1] == "all ok"


async def test_the_client_of_the_chat_page_works_as_it_is_shown(databases, open_runtime, packages, monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    page = (EXAMPLES / "chat-ui.md").read_text()
    shown = page.split("```js\n")[1].split("```")[0]
    script = packages / "chat-ui.mjs"
    url = await databases.create()
    async with served(open_runtime, url, project=find_project(EXAMPLES / "react")) as server:
        # Connections that the SDK keeps would keep the process, too.
        script.write_text(shown.replace("http://localhost:8123", server.url) + "process.exit(0);\n")
        said = await node(script)
    await databases.leave(url)

    assert said == "calculate: 4\n"
