"""What seeing everything costs: the runs of `benchmarks/runs.py` with telemetry off, on, and with every run traced.

An API process and a worker for each way, on databases of one server, and one load generator that loads them in turns,
so that all of them see the same machine. On: a log line for each node and run (into a file), metrics, observations,
anomalies, alerts, objectives, which is what Outlast does by itself. Traced: the same, and all spans of all runs go to a
receiver on this machine, whose own work does not count. CPU is that of API, worker and database for one ten-step run.

    python benchmarks/telemetry.py [--rounds 5] [--seconds 6] [--clients 64] [--assert]
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

import report
import runs
from processes import database, free_port, run, start, stop, until_healthy

OFF = {
    "OUTLAST_METRICS__ENABLED": "false", "OUTLAST_ANOMALIES__ENABLED": "false", "OUTLAST_ALERTS__ENABLED": "false",
    "OUTLAST_LOGS__NODES": "false", "OUTLAST_LOGS__RUNS": "false",
}  # fmt: skip
MOST_PERCENT, MOST_PERCENT_TRACED = 5.0, 15.0


@dataclass
class Fleet:
    """An API process and a worker that see, or do not see, what they do."""

    name: str
    port: int
    processes: list[psutil.Process]
    rates: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])


class Sink(BaseHTTPRequestHandler):
    """Takes whatever it is sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as above
        """Say nothing."""


def main() -> int:
    if sys.argv[1:2] == ["--sink"]:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Sink).serve_forever()
    arguments = _arguments()
    report.heading("Telemetry", {"load": f"{arguments.clients} clients, 10-step runs"})
    with tempfile.TemporaryDirectory() as folder, database() as url, ExitStack() as stack:
        sink = free_port()
        stack.callback(stop, subprocess.Popen([sys.executable, __file__, "--sink", str(sink)]))
        traced = {"OUTLAST_TRACING__ENDPOINT": f"http://127.0.0.1:{sink}", "OUTLAST_TRACING__SAMPLE": "1"}
        ways: Mapping[str, dict[str, str]] = {"off": OFF, "on, no traces": {}, "on, every run traced": traced}
        fleets = [_fleet(name, way, url, Path(folder), stack) for name, way in ways.items()]
        report.run(_measure(fleets, arguments), loop=arguments.loop)
    return _report(fleets, strict=arguments.strict)


def _arguments() -> Any:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each way in a round")
    parser.add_argument("--clients", type=int, default=64)
    return parser.parse_args()


def _fleet(name: str, way: Mapping[str, str], url: str, folder: Path, stack: ExitStack) -> Fleet:
    own = f"bench_{name.replace(',', '').replace(' ', '_')}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {own}".encode())
    environment = {**os.environ, "DATABASE_URL": make_conninfo(url, dbname=own), **way}
    run(["db", "migrate"], environment)
    port = free_port()
    started: list[psutil.Process] = []
    for command in (["serve", "--port", str(port)], ["worker", "--concurrency", "64"]):
        log = stack.enter_context((folder / f"{own}-{command[0]}.log").open("wb"))
        process = start(command, environment, stderr=log)
        stack.callback(stop, process)
        started.append(psutil.Process(process.pid))
    return Fleet(name, port, started)


async def _measure(fleets: list[Fleet], arguments: Any) -> None:
    await asyncio.gather(*(until_healthy(fleet.port) for fleet in fleets))
    with report.progress(len(fleets) * (arguments.rounds + 1)) as tick:
        for fleet in fleets:
            await runs.load_http(fleet.port, arguments.clients, 3.0)
            tick()
        for number in range(arguments.rounds):
            # Whoever comes first in one round is not the first in the next.
            turn = number % len(fleets)
            for fleet in fleets[turn:] + fleets[:turn]:
                before, began = _cpu(fleet), time.perf_counter()
                done = len(await runs.load_http(fleet.port, arguments.clients, arguments.seconds))
                fleet.rates.append(done / (time.perf_counter() - began))
                # What is done a second later belongs to the runs, too.
                await asyncio.sleep(1.5)
                fleet.cpu.append((_cpu(fleet) - before) / done * 1000)
                tick()


def _cpu(fleet: Fleet) -> float:
    """Return the seconds that its processes and the database have taken so far."""
    servers = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "postgres"]
    total = 0.0
    for process in (*fleet.processes, *servers):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _report(fleets: list[Fleet], *, strict: bool) -> int:
    off, on, traced = fleets

    def more(fleet: Fleet) -> float:
        return statistics.median(100 * (here / there - 1) for here, there in zip(fleet.cpu, off.cpu, strict=True))

    report.table(
        "10-step runs",
        ["telemetry", "runs/s", "CPU ms a run", "in rounds", "more CPU"],
        [
            [
                fleet.name, f"{statistics.median(fleet.rates):.1f}", f"{statistics.median(fleet.cpu):.2f}",
                f"{min(fleet.cpu):.2f} .. {max(fleet.cpu):.2f}", f"{more(fleet):+.1f} %",
            ]
            for fleet in fleets
        ],
    )  # fmt: skip
    targets = [
        report.Target(name="all but traces", measured=more(on), limit=MOST_PERCENT, at_least=False, unit=" %"),
        report.Target(
            name="with all traces", measured=more(traced), limit=MOST_PERCENT_TRACED, at_least=False, unit=" %"
        ),
    ]
    return report.verdict(targets, strict=strict)


if __name__ == "__main__":
    sys.exit(main())
