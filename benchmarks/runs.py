"""Runs end to end through HTTP: start on a new thread, wait for the end.

An API process, worker processes, the embedded PostgreSQL (or DATABASE_URL) and this load generator share the machine.
A run is ten steps, each committed before the next (durability "sync"), on a thread of its own, created by the start.
With --sdk the same runs go through LangGraph's SDK, as stateless runs that are waited for; its own work counts.

    python benchmarks/runs.py [--sdk] [--workers 1] [--clients 1 16 64] [--seconds 10] [--assert]
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop
from langgraph_sdk import get_client
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from http_client import Client
from outlast.storage.postgres.embedded import EmbeddedPostgres

PROJECT = Path(__file__).parent / "project"
BODY = {"agent": "ten", "input": {"messages": [{"role": "user", "content": "x" * 200}]}}
NEEDED_RUNS_PER_SECOND = 100
NEEDED_P50_MS = 15


def main() -> int:
    arguments = _arguments()
    with ExitStack() as stack:
        url = os.environ.get("DATABASE_URL")
        if not url:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="outlast-bench-"))
            url = stack.enter_context(EmbeddedPostgres.start(Path(folder) / "postgres")).url
        port = _free_port()
        environment = {**os.environ, "DATABASE_URL": url}
        _run(["db", "migrate"], environment)
        workers = [["worker", "--concurrency", "64"]] * arguments.workers
        for command in (["serve", "--port", str(port)], *workers):
            stack.callback(_stop, _start(command, environment))
        load = _load_through_sdk if arguments.sdk else _load
        rows = uvloop.run(_measure(port, load, arguments.clients, arguments.seconds))
    return _report(rows, title=f"10-step runs through {'the SDK' if arguments.sdk else 'HTTP'}", check=arguments.check)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdk", action="store_true", help="through langgraph_sdk")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=10.0, help="per number of clients")
    parser.add_argument("--assert", dest="check", action="store_true", help="fail when a target is missed")
    return parser.parse_args()


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "outlast", *command], cwd=PROJECT, env=environment, check=True)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "outlast", *command], cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


Load = Callable[[int, int, float], Awaitable[list[float]]]


async def _measure(
    port: int, load: Load, clients: list[int], seconds: float
) -> list[tuple[int, int, float, list[float]]]:
    await _until_healthy(port)
    rows: list[tuple[int, int, float, list[float]]] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("runs", total=len(clients))
        await load(port, 8, 2.0)
        for count in clients:
            progress.update(task, description=f"{count} clients")
            started = time.perf_counter()
            latencies = await load(port, count, seconds)
            rows.append((count, len(latencies), time.perf_counter() - started, sorted(latencies)))
            progress.advance(task)
    return rows


async def _until_healthy(port: int) -> None:
    give_up_at = time.monotonic() + 30
    while True:
        try:
            async with Client("127.0.0.1", port) as client:
                if (await client.get("/health"))[0] == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > give_up_at:
            sys.exit("the API or the worker did not start within 30 s")
        await asyncio.sleep(0.1)


async def _load(port: int, clients: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        async with Client("127.0.0.1", port) as client:
            while (started := time.perf_counter()) < end:
                status, run = await client.post("/agent/start", BODY)
                assert status == 202, run
                status, run = await client.get(f"/agent/status/{run['task_id']}?wait=30")
                assert run["status"] == "succeeded", run
                latencies.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(one() for _ in range(clients)))
    return latencies


async def _load_through_sdk(port: int, clients: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        async with get_client(url=f"http://127.0.0.1:{port}", api_key=None) as client:
            while (started := time.perf_counter()) < end:
                values = await client.runs.wait(None, BODY["agent"], input=BODY["input"])
                assert isinstance(values, dict), values
                assert "__error__" not in values, values
                latencies.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(one() for _ in range(clients)))
    return latencies


def _report(rows: list[tuple[int, int, float, list[float]]], *, title: str, check: bool) -> int:
    table = Table("clients", "runs", "runs/s", "steps/s", "p50 ms", "p95 ms", title=title)
    missed: list[str] = []
    for clients, runs, elapsed, latencies in rows:
        p50, p95 = latencies[runs // 2], latencies[int(runs * 0.95)]
        rate = runs / elapsed
        table.add_row(str(clients), str(runs), f"{rate:.1f}", f"{rate * 10:.0f}", f"{p50:.1f}", f"{p95:.1f}")
        if clients == 64 and rate < NEEDED_RUNS_PER_SECOND:
            missed.append(f"{rate:.1f} runs/s at 64 clients, {NEEDED_RUNS_PER_SECOND} wanted")
        if clients == 1 and p50 > NEEDED_P50_MS:
            missed.append(f"p50 {p50:.1f} ms at 1 client, {NEEDED_P50_MS} wanted")
    console = Console()
    console.print(table)
    for miss in missed:
        console.print(f"missed: {miss}")
    return 1 if check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
