"""`outlast top`: frames of a real database, and the command on a real terminal."""

import asyncio
import codecs
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import termios
from datetime import timedelta
from uuid import uuid4

import pytest
from outlast_command import OUTLAST, environment, outlast
from rich.console import Console

from outlast.cli.top_frame import age, frame, short, span
from outlast.domain.acting import across_tenants, acting_for
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.top import TopStore
from usage_rows import insert_usage
from waiting import until

SECOND = timedelta(seconds=1)


async def execute(pool, statement, *parameters):
    with across_tenants():
        async with pool.connection() as connection:
            await connection.execute(statement, list(parameters))


async def insert_run(pool, status, *, ago=SECOND, tenant="default", agent="support", worker=None):
    key, run = uuid4(), uuid4()
    ended = status in {"succeeded", "failed", "cancelled"}
    await execute(pool, "INSERT INTO threads (key, tenant, thread_id) VALUES (%s, %s, %s)", key, tenant, key.hex)
    await execute(
        pool,
        "INSERT INTO runs (id, thread_key, agent, status, epoch, tenant, worker_id, available_at, ended_at) VALUES"
        " (%s, %s, %s, %s, 1, %s, %s, clock_timestamp() - %s::interval,"
        " CASE WHEN %s::bool THEN clock_timestamp() - %s::interval END)",
        run, key, agent, status, tenant, worker, ago, ended, ago,
    )  # fmt: skip
    return run


async def observe(pool, count, *, agent="support", status="success", seconds=2.0):
    await execute(
        pool,
        "INSERT INTO run_observations (tenant, agent, run_id, epoch, status, seconds, first_byte_seconds, tokens,"
        " cost_usd, tool_calls, tool_errors) SELECT 'default', %s, gen_random_uuid(), 1, %s, %s, 0.25, 1000, 0.5, 2, 1"
        " FROM generate_series(1, %s::int)",
        agent, status, seconds, count,
    )  # fmt: skip


async def shown(pool, *, width=150, trouble=None, agents=True):
    store = TopStore(pool)
    with across_tenants():
        figures = await store.figures(await store.agents() if agents else ())
    console = Console(file=io.StringIO(), width=width, height=60)
    console.print(frame(figures, title="outlast top", trouble=trouble))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines), "nothing is wider than the terminal"
    return lines


def line_with(lines, *words):
    found = [line for line in lines if all(word in line for word in words)]
    assert found, (words, lines)
    return found[0]


WANTED = (
    ("queued", "3"),
    ("ended", "12 (0.2/s)"),
    ("error rate", "10.0%"),
    ("tokens", "12k in, 10 out"),
    ("cost", "$0.0200"),
    ("in an hour", "$1.20 at this rate"),
    ("inbox", "1"),
    ("oldest", "3h"),
    ("dead letters", "1"),
    ("alerts, anomalies", "1, 1"),
    ("support", "2", "3", "0.0%", "2.0s", "250ms", "3k", "$1.5000", "6 (3 failed)"),
    ("all", "25.0%"),
    ("1 WORKERS, 2 OF 32 PLACES TAKEN",),
    ("node-7", "4711", "2/32", "live", "9s ago"),
    ("queue_age", "2h", "runs wait"),
    ("output_length", "support", "length 41 against a median"),
)


async def happenings(pool):
    worker = uuid4()
    await execute(
        pool,
        "INSERT INTO workers (id, host, pid, concurrency, agents, running, heartbeat_at)"
        " VALUES (%s, 'node-7', 4711, 32, '{}', 2, clock_timestamp() - interval '9 seconds')",
        worker,
    )
    for status, count in (("queued", 3), ("running", 2), ("succeeded", 9), ("failed", 1), ("cancelled", 2)):
        for _ in range(count):
            await insert_run(pool, status, worker=worker if status == "running" else None)
    waiting = await insert_run(pool, "waiting")
    await execute(
        pool,
        "INSERT INTO questions (id, tenant, run_id, thread_key, agent, epoch, interrupt_id, kind, hash, allowed,"
        " asked_at) SELECT gen_random_uuid(), 'default', id, thread_key, agent, 1, 'i', 'effect', repeat('0', 64),"
        " '{}', clock_timestamp() - interval '3 hours' FROM runs WHERE id = %s",
        waiting,
    )
    await insert_run(pool, "succeeded", ago=timedelta(minutes=2))
    await insert_usage(pool, cost_micros=20_000, input_tokens=12_000)
    await insert_usage(pool, outcome="failed", cost_micros=0, input_tokens=0, output_tokens=0)
    await observe(pool, 3)
    await observe(pool, 1, status="error", agent="re\x1b[31msearch")
    await execute(
        pool,
        "INSERT INTO anomalies (tenant, agent, model, kind, severity, text) VALUES ('default', 'support', '',"
        " 'output_length', 'warning', 'length 41 against a median of 1,830 over 200 runs')",
    )
    await execute(
        pool,
        "INSERT INTO alerts (tenant, rule, subject, severity, state, text, started_at, fired_at) VALUES ('default',"
        " 'queue_age', '', 'error', 'firing', 'runs wait', clock_timestamp(), clock_timestamp() - interval '2 hours')",
    )


async def test_a_frame_shows_what_happens(pool):
    await happenings(pool)
    lines = await shown(pool)
    for words in WANTED:
        assert line_with(lines, *words)
    assert not any("\x1b" in line for line in lines), "no name commands the terminal"
    # Half as wide it is longer, and has all of it.
    narrow = await shown(pool, width=80)
    assert line_with(narrow, "queued", "3")
    assert line_with(narrow, "dead letters", "1")


async def test_an_installation_where_nothing_happens(pool):
    lines = await shown(pool, trouble="PostgreSQL does not answer: what follows is older")
    assert line_with(lines, "no worker lives")
    assert line_with(lines, "what follows is older")
    assert line_with(lines, "ended", "0 (0.0/s)")
    assert not any("AGENT" in line for line in lines)


async def test_a_tenant_sees_its_own(pool):
    await insert_run(pool, "queued", tenant="acme")
    await insert_run(pool, "queued")
    with acting_for("acme"):
        figures = await TopStore(pool).figures()
    assert figures.runs["queued"] == 1


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (age(0.4), "0s"), (age(89), "1m"), (age(7200), "2h"), (age(200_000), "2d"),
        (span(None), ""), (span(0.0321), "32ms"), (span(12.34), "12.3s"),
        (short(999), "999"), (short(1500), "1.5k"), (short(999_900), "1M"), (short(2_500_000), "2.5M"),
    ],
)  # fmt: skip
def test_figures_are_short(said, wanted):
    assert said == wanted


async def test_through_a_pipe_it_is_one_frame(database, database_url, tmp_path):
    pool = Pool(database, application_name="test")
    await pool.open()
    await insert_run(pool, "queued")
    await pool.close()
    found = await asyncio.to_thread(outlast, "top", cwd=tmp_path, DATABASE_URL=database_url)
    assert (found.returncode, found.stderr) == (0, "")
    assert "queued" in found.stdout
    assert "\x1b" not in found.stdout
    figures = await asyncio.to_thread(outlast, "top", "--json", cwd=tmp_path, DATABASE_URL=database_url)
    assert json.loads(figures.stdout)["runs"]["queued"] == 1


class Terminal:
    """A terminal of a certain size with the command on it."""

    def __init__(self, columns):
        self.ours, self.theirs = pty.openpty()
        self.size(columns)
        os.set_blocking(self.ours, False)
        # A character may come in parts.
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""

    def size(self, columns):
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))

    async def shows(self, wanted, after=0):
        async def there():
            with contextlib.suppress(BlockingIOError):
                self.text += self._decoder.decode(os.read(self.ours, 100_000))
            return re.search(wanted, self.text[after:])

        await until(there, 30)

    def close(self):
        os.close(self.ours)
        os.close(self.theirs)


@pytest.mark.processes
@pytest.mark.parametrize("end", ["q", "interrupt"])
async def test_on_a_terminal_it_is_drawn_anew_until_somebody_ends_it(pool, tmp_path, database_url, end):
    terminal = Terminal(100)
    before = termios.tcgetattr(terminal.theirs)
    given = {name: value for name, value in environment(DATABASE_URL=database_url, TERM="xterm").items()
             if name not in {"COLUMNS", "LINES"}}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *OUTLAST, "top", "--every", "0.2", cwd=tmp_path, env=given,
        stdin=terminal.theirs, stdout=terminal.theirs, stderr=terminal.theirs,
    )  # fmt: skip
    try:
        await terminal.shows("no worker lives")
        drawn = len(terminal.text)
        await execute(
            pool,
            "INSERT INTO workers (id, host, pid, concurrency, agents) VALUES (%s, 'node-8', 1, 1, '{}')", uuid4(),
        )  # fmt: skip
        await terminal.shows("node-8", after=drawn)
        if end == "q":
            drawn = len(terminal.text)
            terminal.size(140)
            process.send_signal(signal.SIGWINCH)
            # Now there is room for four panels beside one another.
            await terminal.shows(r"╮╭[^╮\n]*╮╭[^╮\n]*╮╭", after=drawn)
            os.write(terminal.ours, b"q")
        else:
            process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 0
        # As it was: the alternate screen is left, and keys are echoed.
        await terminal.shows(r"\x1b\[\?1049l")
        assert termios.tcgetattr(terminal.theirs) == before
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        terminal.close()
