"""What admission costs a request: `POST /agent/start` at a warm server, with stage upon stage switched on.

One API process for each configuration on one database, and one client, which asks them in turns, so that all of them
see the same machine at the same time. A turn is some requests one behind the other: a server that is asked once while
four others are asked is a cold one, whose code and rows have left the processor's caches. No worker: runs stay queued.
A request is timed from its first byte to the last one of the answer.

    python benchmarks/admission.py [--requests 1500] [--clients 1] [--assert]
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack

import processes
import report
from http_client import Client

BODY = {"agent": "ten", "input": {"messages": [{"role": "user", "content": "How do I return a parcel? " * 8}]}}
NEEDED_MS = 1.0
WARM_UP = 100
ROUNDS = 5
#: Requests in a turn.
TURN = 25

_OFF = {"OUTLAST_ADMISSION__RECORD": "nothing", "OUTLAST_LIMITS__QUEUED": "10000000"}
_RULES = ["1000000/minute per user", "10000000/hour per tenant", "1000000/minute per api_key on ten burst 900000"]
_POLICIES = {
    "OUTLAST_POLICIES__PERSONAL_DATA__FOUND": "mask",
    "OUTLAST_POLICIES__PATTERNS": json.dumps(
        {"orders": {"pattern": r"ignore (all|previous) instructions"}, "keys": {"pattern": r"-----BEGIN [A-Z ]+-----"}}
    ),
    "OUTLAST_POLICIES__RUNS__STEPS": "100",
    "OUTLAST_POLICIES__MODELS__DENY": '["openai:gpt-3*"]',
    "OUTLAST_POLICIES__HOURS__DAYS": '["mon", "tue", "wed", "thu", "fri", "sat", "sun"]',
}
_BUDGETS = {
    "tenant-month": {"per": "tenant", "period": "month", "usd": 1000},
    "user-day": {"per": "user", "period": "day", "usd": 100, "tokens": 10_000_000},
    "thread": {"per": "thread", "usd": 10},
}
#: Each adds to the one before.
STEPS: Mapping[str, Mapping[str, str]] = {
    "off": _OFF,
    "+ decisions are kept": {"OUTLAST_ADMISSION__RECORD": "all"},
    "+ 3 limits": {"OUTLAST_LIMITS__RULES": json.dumps(_RULES)},
    "+ policies": _POLICIES,
    "+ budgets": {"OUTLAST_BUDGETS__RULES": json.dumps(_BUDGETS)},
}
Latencies = dict[str, list[float]]


def configurations() -> dict[str, dict[str, str]]:
    """Return the settings of each server, as variables."""
    made: dict[str, dict[str, str]] = {}
    so_far: dict[str, str] = {}
    for name, more in STEPS.items():
        so_far = {**so_far, **more}
        made[name] = so_far
    return made


async def measure(ports: Mapping[str, int], arguments: argparse.Namespace) -> list[Latencies]:
    """Ask the servers in turns and return the milliseconds of each round."""
    for port in ports.values():
        await _until_serving(port)
    rounds: list[Latencies] = []
    with report.progress(ROUNDS + 1) as tick:
        await _round(ports, WARM_UP, arguments.clients)
        tick()
        for _ in range(ROUNDS):
            rounds.append(await _round(ports, arguments.requests // ROUNDS, arguments.clients))
            tick()
    return rounds


async def _round(ports: Mapping[str, int], requests: int, clients: int) -> Latencies:
    latencies: Latencies = {name: [] for name in ports}

    async def one() -> None:
        async with AsyncExitStack() as stack:
            asked = {name: await stack.enter_async_context(Client("127.0.0.1", port)) for name, port in ports.items()}
            for _ in range(requests // clients // TURN):
                for name, client in ((name, client) for name, client in asked.items() for _ in range(TURN)):
                    started = time.perf_counter()
                    status, answer = await client.post("/agent/start", BODY)
                    latencies[name].append((time.perf_counter() - started) * 1000)
                    assert status == 202, answer

    await asyncio.gather(*(one() for _ in range(clients)))
    return latencies


async def _until_serving(port: int) -> None:
    give_up_at = time.monotonic() + processes.START_SECONDS
    while True:
        try:
            async with Client("127.0.0.1", port) as client:
                if (await client.get("/health/live"))[0] == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > give_up_at:
            sys.exit(f"an API did not start within {processes.START_SECONDS:g} s")
        await asyncio.sleep(0.1)


def show(rounds: Sequence[Latencies], clients: int) -> list[report.Target]:
    """Print what each stage adds, and return the target."""
    rows: list[list[str]] = []
    off = [statistics.median(found["off"]) for found in rounds]
    for name in STEPS:
        medians = [statistics.median(found[name]) for found in rounds]
        tails = [statistics.quantiles(found[name], n=20)[-1] for found in rounds]
        added = [median - base for median, base in zip(medians, off, strict=True)]
        spread = f"{min(added):+.2f} .. {max(added):+.2f}"
        rows.append([
            name, f"{statistics.median(medians):.2f}", f"{statistics.median(tails):.2f}",
            f"{statistics.median(added):+.2f}", spread,
        ])  # fmt: skip
    title = f"POST /agent/start, {clients} client{'s' if clients > 1 else ''}, ms"
    report.table(title, ["admission", "p50", "p95", "added at p50", f"in {len(rounds)} rounds"], rows)
    cost = statistics.median(
        statistics.median(found["+ budgets"]) - base for found, base in zip(rounds, off, strict=True)
    )
    return [
        report.Target(name="admission per request at p50", measured=cost, limit=NEEDED_MS, at_least=False, unit=" ms")
    ]


def parse() -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--requests", type=int, default=1500, help="for each configuration (%(default)s)")
    parser.add_argument("--clients", type=int, default=1, help="at the same time (%(default)s)")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    report.heading("What admission costs", {"versions": report.versions("outlast", "psycopg", "uvicorn")})
    with processes.database() as url, ExitStack() as stack:
        environment = {**os.environ, "DATABASE_URL": url}
        processes.run(["db", "migrate"], environment)
        ports: dict[str, int] = {}
        for name, settings in configurations().items():
            ports[name] = processes.free_port()
            command = ["serve", "--port", str(ports[name])]
            stack.callback(processes.stop, processes.start(command, {**environment, **settings}))
        rounds = report.run(measure(ports, arguments), loop=arguments.loop)
    return report.verdict(show(rounds, arguments.clients), strict=arguments.strict)


if __name__ == "__main__":
    sys.exit(main())
