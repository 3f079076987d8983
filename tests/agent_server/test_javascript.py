"""The JavaScript SDK against a real server: node and npm come from a wheel, the SDK from npm, all of it pinned."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_server_api import Opens, Server
from javascript import NODE, SCRIPTS, environment
from protocol_api import protocol_served

from outlast.testing.postgres import Databases


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, tmp_path_factory: Any) -> AsyncIterator[Server]:
    async with protocol_served(databases, open_runtime, tmp_path_factory.mktemp("javascript")) as server:
        yield server


async def test_everything_that_a_page_does_works(server, packages):
    # A script finds packages from where it lies.
    script = packages / "smoke.mjs"
    shutil.copy(SCRIPTS / "smoke.mjs", script)
    process = await asyncio.create_subprocess_exec(
        NODE, script, server.url, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)

    assert process.returncode == 0, output.decode()
    assert output.decode().splitlines()[-1] == "all ok"
