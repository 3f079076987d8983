"""The short form of benchmarks/outage.py: real workers, a provider in a process of its own, and an outage."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/outage.py"


@pytest.mark.processes
async def test_no_run_fails_in_an_outage_and_the_provider_is_left_alone(database_url: str) -> None:
    load = ["--workers", "2", "--rate", "25", "--before", "3", "--outage", "4", "--after", "6"]
    # A fifth of a minute: the calls until the breaker opens weigh five times as much as in the long form.
    options = [*load, "--retries", "30", "--assert"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *options,
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    # The script compares with what was promised: open everywhere in 5 s, one probe a second, no failure.
    assert process.returncode == 0, said.decode()
