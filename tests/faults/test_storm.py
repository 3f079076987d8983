"""The short form of benchmarks/storm.py: real workers, and a provider that allows less than is asked of it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/storm.py"


@pytest.mark.processes
async def test_no_run_fails_in_a_storm_of_429_and_limits_keep_it_from_the_provider(database_url: str) -> None:
    load = ["--workers", "2", "--concurrency", "100", "--runs", "150", "--rate", "20", "--window", "5"]
    # A window of 5 s instead of a minute: what a busy machine sends late, and at once, weighs twelve times as much.
    options = [*load, "--burst", "0", "--above", "30", "--assert"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *options,
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    assert process.returncode == 0, said.decode()
