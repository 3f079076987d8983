"""Runs that wait for people: what 10,000 of them cost while nothing happens, and how soon an answer gets a run going.

One API process and one worker process with the default settings, on one database. First both are looked at with no run
at all, then with all the waiting ones, each of which really was executed up to its question. Then so many questions are
answered at once over HTTP, each of them twice at the same time; and as many again, one after another. An answer's time
is measured from outside, from its first byte to the moment at which the node that asked goes on.

    python benchmarks/inbox.py [--waiting 10000] [--answers 100] [--idle 30] [--assert]
"""

import argparse
import asyncio
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson
import psutil

import asking
import processes
import report
from asking import most
from http_client import Client
from outlast.domain.run import NewRun
from outlast.queues.queue import RunQueue
from outlast.storage.postgres.pool import Pool

SECONDS_PER_RUN = 0.05
SAMPLE_SECONDS = 0.25
QUIET_SECONDS = 10.0
STARTED_AT_ONCE = 50

# A connection that is held is one on which somebody else cannot work: a statement or a transaction that lasts.
_HELD = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND state <> 'idle' AND clock_timestamp() - coalesce(xact_start, query_start) > interval '1 second'
"""
_OPEN = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'outlast-%' AND application_name <> 'outlast-asking'
"""


@dataclass
class Idle:
    """What the processes did while nothing happened."""

    waiting: int
    seconds: float
    cpu: dict[str, float]
    leases: int
    held: int
    connections: int

    @property
    def percent(self) -> float:
        """CPU time of API and worker together, of one core."""
        return 100 * sum(self.cpu.values()) / self.seconds


@dataclass
class Answered:
    """What became of answers, and the seconds from each to its run."""

    name: str
    accepted: int = 0
    refused: int = 0
    #: Refusals that do not say who was first and when.
    nameless: int = 0
    resumed: int = 0
    sent_at: dict[UUID, float] = field(default_factory=dict[UUID, float])
    seconds: list[float] = field(default_factory=list[float])
    #: Seconds of each process, all in all.
    cpu: dict[str, float] = field(default_factory=dict[str, float])


def main() -> int:
    arguments = _arguments()
    report.heading(
        "The inbox",
        {
            "load": f"{arguments.waiting} waiting runs, {arguments.answers} answers at once, each twice",
            "processes": "1 API, 1 worker, default settings",
            "versions": report.versions("outlast", "langgraph", "psycopg"),
        },
    )
    with processes.database() as url, ExitStack() as stack:
        idle, answered = report.run(_measure(arguments, url, stack), loop=arguments.loop)
    return _report(idle, answered, strict=arguments.strict)


def _arguments() -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--waiting", type=int, default=10_000, help="runs that wait (%(default)s)")
    parser.add_argument("--answers", type=int, default=100, help="answered at once, each twice (%(default)s)")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds without anything to do (%(default)s)")
    made = parser.parse_args()
    if made.waiting < 2 * made.answers:
        parser.error("--waiting has to be at least twice --answers: they are answered in two ways")
    return made


async def _measure(arguments: argparse.Namespace, url: str, stack: ExitStack) -> tuple[list[Idle], list[Answered]]:
    async with asking.queue_on(url) as (pool, queue):
        port = processes.free_port()
        environment = {**os.environ, "DATABASE_URL": url, "LANGSMITH_TRACING": "false"}
        watched = {
            name: _started(command, environment, stack)
            for name, command in (("API", ["serve", "--port", str(port)]), ("worker", ["worker"]))
        }
        await processes.until_healthy(port)
        idle = [await _idle(pool, watched, 0, arguments.idle)]
        with report.progress(arguments.waiting) as tick:
            await _wait_for_people(pool, queue, arguments.waiting, tick)
        idle.append(await _idle(pool, watched, arguments.waiting, arguments.idle))
        chosen = await _open_questions(port, 2 * arguments.answers)
        answered: list[Answered] = []
        for part, times, name in (
            (chosen[: arguments.answers], 2, "at once, each twice"),
            (chosen[arguments.answers :], 1, "one after another"),
        ):
            before = {name: _cpu_seconds(process) for name, process in watched.items()}
            answered.append(await _answer(port, part, times=times, name=name))
            await _went_on(pool, answered[-1])
            answered[-1].cpu = {name: _cpu_seconds(process) - before[name] for name, process in watched.items()}
        return idle, answered


def _started(command: list[str], environment: dict[str, str], stack: ExitStack) -> psutil.Process:
    process = processes.start(command, environment)
    stack.callback(processes.stop, process)
    return psutil.Process(process.pid)


async def _wait_for_people(pool: Pool, queue: RunQueue, count: int, tick: Callable[[], None]) -> None:
    """Start runs, and return when all of them wait for a person."""
    for first in range(0, count, STARTED_AT_ONCE):
        numbers = range(first, min(count, first + STARTED_AT_ONCE))
        await asyncio.gather(*(queue.enqueue(_run(number)) for number in numbers))
    give_up_at = time.monotonic() + processes.START_SECONDS + count * SECONDS_PER_RUN
    shown = 0
    while shown < count:
        (waiting,) = (await asking.rows(pool, "SELECT count(*) FROM runs WHERE status = 'waiting'"))[0]
        for _ in range(waiting - shown):
            tick()
        shown = waiting
        if time.monotonic() > give_up_at:
            sys.exit(f"{waiting} of {count} runs wait for a person; the others did not get there in time")
        await asyncio.sleep(0.5)


def _run(number: int) -> NewRun:
    run_id = uuid4()
    given = {"number": number}
    return NewRun(id=run_id, thread_id=str(run_id), agent="waiting", input=given, config={}, metadata={})


async def _idle(pool: Pool, watched: dict[str, psutil.Process], waiting: int, seconds: float) -> Idle:
    """Look at processes that have nothing to do; what the load before has left them to do is over by then."""
    await asyncio.sleep(QUIET_SECONDS)
    before = {name: _cpu_seconds(process) for name, process in watched.items()}
    began = time.monotonic()
    held = 0
    while time.monotonic() < began + seconds:
        held = max(held, (await asking.rows(pool, _HELD))[0][0])
        await asyncio.sleep(SAMPLE_SECONDS)
    took = time.monotonic() - began
    cpu = {name: _cpu_seconds(process) - before[name] for name, process in watched.items()}
    (leases,) = (await asking.rows(pool, "SELECT count(*) FROM runs WHERE worker_id IS NOT NULL"))[0]
    (connections,) = (await asking.rows(pool, _OPEN))[0]
    return Idle(waiting=waiting, seconds=took, cpu=cpu, leases=leases, held=held, connections=connections)


def _cpu_seconds(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (member.cpu_times() for member in family))


async def _open_questions(port: int, count: int) -> list[dict[str, Any]]:
    """Return open questions as the inbox lists them, page by page."""
    found: list[dict[str, Any]] = []
    async with Client("127.0.0.1", port) as client:
        while len(found) < count:
            began = time.monotonic()
            status, page = await client.get(f"/inbox?limit={min(100, count - len(found))}&offset={len(found)}")
            assert status == 200, page
            assert page, f"the inbox lists {len(found)} questions, {count} are wanted"
            report.console.print(f"GET /inbox, {len(page)} lines: {1000 * (time.monotonic() - began):.0f} ms")
            found += page
    return found


async def _answer(port: int, questions: Sequence[dict[str, Any]], *, times: int, name: str) -> Answered:
    """Answer questions, all at the same time where each is answered more than once."""
    done = Answered(name)
    asked = [question for question in questions for _ in range(times)]
    random.Random(1).shuffle(asked)
    async with AsyncExitStack() as stack:
        count = len(asked) if times > 1 else 1
        clients = [await stack.enter_async_context(Client("127.0.0.1", port)) for _ in range(count)]
        if times > 1:
            await asyncio.gather(*map(_sent, clients, asked, [done] * count))
        else:
            for question in asked:
                await _sent(clients[0], question, done)
    return done


async def _sent(client: Client, question: dict[str, Any], done: Answered) -> None:
    done.sent_at.setdefault(UUID(question["run_id"]), time.time())
    status, answer = await client.post(f"/inbox/{question['id']}/answer", {"decision": "approve"})
    if status == 409:
        done.refused += 1
        done.nameless += not {"answered_by", "answered_at", "decision"} <= answer.keys()
        return
    assert status == 200, answer
    done.accepted += 1


async def _went_on(pool: Pool, done: Answered) -> None:
    """Wait for the runs that were answered, and put down how long each took to go on."""
    ids = list(done.sent_at)
    await asking.ended(pool, ids, time.monotonic() + 30)
    for run_id, output in await asking.rows(
        pool,
        "SELECT r.id, d.output FROM runs r JOIN run_details d ON d.run_id = r.id "
        "WHERE r.id = ANY(%(ids)s) AND r.status = 'succeeded'",
        ids=ids,
    ):
        done.resumed += 1
        done.seconds.append(orjson.loads(output)["went_on"] - done.sent_at[run_id])


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else math.inf


def _report(idle: Sequence[Idle], answered: Sequence[Answered], *, strict: bool) -> int:
    report.table(
        "Nothing to do",
        ["waiting runs", "API, % of a core", "worker, % of a core", "leases", "connections held", "connections open"],
        [
            [f"{look.waiting:,}", *(f"{100 * cpu / look.seconds:.2f}" for cpu in look.cpu.values()), str(look.leases),
             str(look.held), str(look.connections)]
            for look in idle
        ],
    )  # fmt: skip
    report.table(
        "Answers over HTTP",
        ["", "accepted", "409", "resumed", "to running: p50", "p99", "longest", "CPU per answer: API", "worker"],
        [
            [
                done.name, str(done.accepted), str(done.refused), str(done.resumed),
                *(f"{_quantile(done.seconds, share):.2f} s" for share in (0.5, 0.99, 1.0)),
                *(f"{1000 * cpu / (done.accepted + done.refused):.1f} ms" for cpu in done.cpu.values()),
            ]
            for done in answered
        ],
    )  # fmt: skip
    storm, full = answered[0], idle[-1]
    wanted = len(storm.sent_at)
    return report.verdict(
        [
            most(f"idle CPU of API and worker, {full.waiting:,} waiting", full.percent, 2.0, "% of a core"),
            most("leases of waiting runs", float(full.leases), 0.0),
            most("connections held", float(full.held), 0.0),
            report.Target(name="resumed", measured=float(storm.resumed), limit=float(wanted), at_least=True),
            report.Target(
                name="second answers refused (409)", measured=float(storm.refused), limit=float(wanted), at_least=True
            ),
            most("answers accepted beyond one each", float(storm.accepted - wanted), 0.0),
            most("refusals that do not name the first", float(storm.nameless), 0.0),
            most("answer to running, p99", max(_quantile(done.seconds, 0.99) for done in answered), 2.0, " s"),
        ],
        strict=strict,
    )


if __name__ == "__main__":
    sys.exit(main())
