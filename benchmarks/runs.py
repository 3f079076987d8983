"""Runs end to end through HTTP: start on a new thread, wait for the end.

An API process, worker processes, the embedded PostgreSQL (or DATABASE_URL) and this load generator share the machine.
A run is ten steps, each committed before the next (durability "sync"), on a thread of its own, created by the start.
With --sdk the same runs go through LangGraph's SDK, as stateless runs that are waited for; its own work counts.

    python benchmarks/runs.py [--sdk] [--workers 1] [--clients 1 16 64] [--seconds 10] [--assert]
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import uvloop
from langgraph_sdk import get_client
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from http_client import Client
from processes import database, free_port, run, start, stop, until_healthy

BODY = {"agent": "ten", "input": {"messages": [{"role": "user", "content": "x" * 200}]}}
NEEDED_RUNS_PER_SECOND = 100
NEEDED_P50_MS = 15


def main() -> int:
    arguments = _arguments()
    with database() as url, ExitStack() as stack:
        port = free_port()
        environment = {**os.environ, "DATABASE_URL": url}
        run(["db", "migrate"], environment)
        workers = [["worker", "--concurrency", "64"]] * arguments.workers
        for command in (["serve", "--port", str(port)], *workers):
            stack.callback(stop, start(command, environment))
        load = _load_through_sdk if arguments.sdk else load_http
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


Load = Callable[[int, int, float], Awaitable[list[float]]]


async def _measure(
    port: int, load: Load, clients: list[int], seconds: float
) -> list[tuple[int, int, float, list[float]]]:
    await until_healthy(port)
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


async def load_http(port: int, clients: int, seconds: float) -> list[float]:
    """Keep so many clients busy for so long; return the milliseconds of each run."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        async with Client("127.0.0.1", port) as client:
            while (started := time.perf_counter()) < end:
                status, begun = await client.post("/agent/start", BODY)
                assert status == 202, begun
                status, ended = await client.get(f"/agent/status/{begun['task_id']}?wait=30")
                assert ended["status"] == "succeeded", ended
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
