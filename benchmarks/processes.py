"""The processes that a benchmark measures: `outlast` commands on one database, and when they are ready."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from http_client import Client
from outlast.storage.postgres.embedded import EmbeddedPostgres

PROJECT = Path(__file__).parent / "project"
START_SECONDS = 60.0


@contextmanager
def database() -> Iterator[str]:
    """Use the database of DATABASE_URL, or one of a PostgreSQL of our own."""
    if given := os.environ.get("DATABASE_URL"):
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="outlast-bench-") as folder,
        EmbeddedPostgres.start(Path(folder) / "postgres") as server,
    ):
        yield server.url


def run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "outlast", *command], cwd=PROJECT, env=environment, check=True)


def start(
    command: list[str], environment: dict[str, str], *, stderr: IO[bytes] | None = None
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "outlast", *command],
        cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=stderr,
    )  # fmt: skip


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until_healthy(port: int) -> None:
    """Wait for the API and a worker; end the program when they do not come."""
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        try:
            async with Client("127.0.0.1", port) as client:
                if (await client.get("/health"))[0] == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > give_up_at:
            sys.exit(f"the API or the worker did not start within {START_SECONDS:g} s")
        await asyncio.sleep(0.1)
