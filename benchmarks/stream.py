"""Streams: many clients that are cut off and come back, and the time to the first event.

    make bench-stream ARGS="--clients 500 --seconds 30 --assert"

Real processes on one database: two `outlast serve`, one `outlast worker`. The clients listen to runs that count aloud;
each is cut off without a goodbye at a random moment 1 to 3 s after it connected, and goes on at the other server with
Last-Event-ID. Each has to hear every number once, in order, and the end.

The time to the first event is that of one client with one connection: from its request to the first event of the
stream mode, on a new thread; `metadata` does not count. First with API and worker apart, then with `outlast dev
--in-process`.
"""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

import psutil

import report
from http_client import Client
from processes import database, free_port, run, start, stop, until_healthy
from stream_clients import Heard, first_event, follow

PAUSE_SECONDS = 0.1
RUNS = 25
MESSAGE = {"messages": [{"role": "user", "content": "x" * 200}]}
CUT_SECONDS = (1.0, 3.0)
# Before the first number: a quiet time in which all are connected.
QUIET_SECONDS = 5.0


@dataclass(slots=True)
class Held:
    """What streams take in the API processes, looked at now and then."""

    connections: list[float] = field(default_factory=list)
    followers: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Crowd:
    """How the many clients fared."""

    clients: int
    wrong: int
    heard: int
    connections: int
    seconds: float
    growth_mb: float
    held: Held


def main() -> int:
    arguments = _arguments()
    report.heading("Streams", {"versions": report.versions("langgraph", "uvicorn", "psycopg")})
    targets: list[report.Target] = []
    with database() as url:
        environment = {**os.environ, "DATABASE_URL": url, "LANGSMITH_TRACING": "false"}
        run(["db", "migrate"], environment)
        targets += _apart(environment, arguments)
        targets += _in_process(environment, arguments)
    return report.verdict(targets, strict=arguments.strict)


def _arguments() -> Any:
    parser = report.parser(__doc__)
    parser.add_argument("--clients", type=int, default=500, help="that come and go (%(default)s; 0: leave them out)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of talking (%(default)s)")
    parser.add_argument("--requests", type=int, default=300, help="for the time to the first event (%(default)s)")
    return parser.parse_args()


def _apart(environment: dict[str, str], arguments: Any) -> list[report.Target]:
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        servers = [start(["serve", "--port", str(port)], environment) for port in ports]
        worker = start(["worker", "--concurrency", "64"], environment)
        for process in (*servers, worker):
            stack.callback(stop, process)
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        return report.run(_measure_apart(urls, servers, arguments), loop=arguments.loop)


def _in_process(environment: dict[str, str], arguments: Any) -> list[report.Target]:
    port = free_port()
    with ExitStack() as stack:
        stack.callback(stop, start(["dev", "--in-process", "--port", str(port)], environment))
        return report.run(
            _measure_first(f"http://127.0.0.1:{port}", arguments.requests, "in one process", limit=8),
            loop=arguments.loop,
        )


async def _measure_apart(urls: list[str], servers: list["subprocess.Popen[bytes]"], arguments: Any) -> list[Any]:
    for url in urls:
        await until_healthy(int(url.rpartition(":")[2]))
    targets = await _measure_first(urls[0], arguments.requests, "API and worker apart", limit=15)
    if arguments.clients:
        # What imports, caches and the first connections take is not what clients take.
        await _crowd(urls, servers, clients=50, seconds=3.0)
        targets += _told(await _crowd(urls, servers, clients=arguments.clients, seconds=arguments.seconds))
    return targets


# many clients


async def _crowd(urls: list[str], servers: list["subprocess.Popen[bytes]"], *, clients: int, seconds: float) -> Crowd:
    before = _rss(servers)
    started = time.perf_counter()
    paths = [await _talking(urls[0], round(seconds / PAUSE_SECONDS)) for _ in range(min(RUNS, clients))]
    heard = [Heard() for _ in range(clients)]
    held = Held()
    watching = asyncio.create_task(_watch(urls, servers, held))
    await asyncio.gather(
        *(follow(urls, paths[i % len(paths)], one, Random(i), cut=CUT_SECONDS) for i, one in enumerate(heard))
    )
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    expected = list(range(round(seconds / PAUSE_SECONDS)))
    return Crowd(
        clients=clients,
        wrong=sum(one.numbers != expected for one in heard),
        heard=sum(len(one.numbers) for one in heard),
        connections=sum(one.connections for one in heard),
        seconds=time.perf_counter() - started - QUIET_SECONDS,
        growth_mb=max(after - first for after, first in zip(held.rss, before, strict=True)) / 2**20,
        held=held,
    )


async def _talking(url: str, count: int) -> str:
    """Start a run that counts aloud and return where it can be heard."""
    async with Client("127.0.0.1", int(url.rpartition(":")[2])) as client:
        given = {"count": count, "pause": PAUSE_SECONDS, "before": QUIET_SECONDS}
        status, thread = await client.post("/threads", {})
        assert status == 200, thread
        body = {"assistant_id": "talker", "input": given, "stream_mode": "custom", "stream_resumable": True}
        status, run = await client.post(f"/threads/{thread['thread_id']}/runs", body)
        assert status == 200, run
        return f"/threads/{run['thread_id']}/runs/{run['run_id']}/stream"


async def _watch(urls: list[str], servers: list["subprocess.Popen[bytes]"], held: Held) -> None:
    held.rss = _rss(servers)
    while True:
        gauges = [await _gauges(url) for url in urls]
        held.connections.append(sum(gauge["outlast_stream_connections"] for gauge in gauges))
        held.followers.append(sum(gauge["outlast_stream_followers"] for gauge in gauges))
        held.rss = list(map(max, held.rss, _rss(servers)))
        await asyncio.sleep(0.25)


async def _gauges(url: str) -> dict[str, float]:
    async with Client("127.0.0.1", int(url.rpartition(":")[2])) as client:
        status, figures = await client.get("/metrics?format=json")
        assert status == 200, figures
        return {figure["name"]: figure["value"] for figure in figures}


def _rss(servers: list["subprocess.Popen[bytes]"]) -> list[int]:
    return [psutil.Process(server.pid).memory_info().rss for server in servers]


def _told(crowd: Crowd) -> list[report.Target]:
    held = crowd.held
    report.table(
        f"{crowd.clients} clients, each cut off every {CUT_SECONDS[0]:g}-{CUT_SECONDS[1]:g} s, two API processes",
        ["", "figure"],
        [
            ["events heard", f"{crowd.heard:,}"],
            ["events/s", report.figure(crowd.heard / crowd.seconds)],
            ["connections made", f"{crowd.connections:,}"],
            ["streams open, most", f"{max(held.followers):.0f}"],
            ["pool connections held by streams, median", report.figure(median(held.connections))],
            ["the same, most at a moment of reading", f"{max(held.connections):.0f}"],
        ],
    )
    return [
        report.Target(name="clients that missed or repeated an event", measured=crowd.wrong, limit=0, at_least=False),
        report.Target(
            name="pool connections that streams hold", measured=median(held.connections), limit=0, at_least=False
        ),
        report.Target(
            name="growth of an API process", measured=crowd.growth_mb, limit=50, at_least=False, unit=" MB"
        ),
    ]  # fmt: skip


# the first event


async def _measure_first(url: str, requests: int, title: str, *, limit: float) -> list[report.Target]:
    await until_healthy(int(url.rpartition(":")[2]))
    rows: list[list[str]] = []
    measured: dict[str, list[float]] = {}
    for mode in ("values", "updates"):
        pairs = await _first_events(url, requests, mode)
        firsts, ends = sorted(first for first, _ in pairs), sorted(end for _, end in pairs)
        measured[mode] = firsts
        rows.append([mode, *(f"{part[int(len(part) * q)]:.1f}" for part in (firsts, ends) for q in (0.5, 0.95))])
    report.table(
        f"Milliseconds of a run over an agent that answers at once, {title}",
        ["stream mode", "first event p50", "p95", "end p50", "p95"],
        rows,
    )
    p50 = median(measured["values"])
    return [report.Target(name=f"first event, {title}, p50", measured=p50, limit=limit, at_least=False, unit=" ms")]


async def _first_events(url: str, requests: int, mode: str) -> list[tuple[float, float]]:
    body = {"assistant_id": "one", "input": MESSAGE, "stream_mode": mode}
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1 << 20)
    try:
        for _ in range(30):
            await first_event(reader, writer, "/runs/stream", body)
        return [await first_event(reader, writer, "/runs/stream", body) for _ in range(requests)]
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main())
