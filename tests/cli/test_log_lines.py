"""What a process writes to stderr: no secrets, whoever writes them, and nothing that it waits for."""

import json
import os
import pty
import subprocess
import sys

SCRIPT = """
import logging, structlog
from outlast.cli import logs
logs.configure()
token = "sk-proj-Zk3vQ9xWb7LmT2pRy8NcJ5dHs6FgA1eU"
fields = {"api_key": "hunter2x", "run": "r1", "nested": {"password": "hunter2x"}}
structlog.stdlib.get_logger("outlast").warning(f"told {token}", **fields)
logging.getLogger("library").error("connecting to %s", "postgresql://app:hunter2x@db/a")
try:
    raise ValueError(f"cannot use {token}")
except ValueError:
    logging.getLogger("library").exception("failed")
"""


def test_secrets_are_taken_out_of_texts_fields_and_tracebacks() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert "hunter2x" not in done.stderr
    assert "Zk3vQ9x" not in done.stderr
    assert lines[0]["event"] == "told ***"
    assert (lines[0]["api_key"], lines[0]["run"], lines[0]["nested"]) == ("***", "r1", {"password": "***"})
    assert lines[1]["event"] == "connecting to postgresql://app:***@db/a"
    assert "ValueError: cannot use ***" in lines[2]["exception"]


NOBODY_READS = """
import logging, os
from outlast.cli import logs
logs.configure()
for number in range(30_000):
    logging.getLogger("outlast.test").warning("line %d %s", number, "x" * 100)
print("the agent goes on", flush=True)
os._exit(0)
"""


def test_a_stderr_that_nobody_reads_does_not_stop_the_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", NOBODY_READS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "the agent goes on\n"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()


ON_A_TERMINAL = """
import structlog
from outlast.cli import logs
logs.configure()
structlog.stdlib.get_logger("outlast").warning("told", text="a\\nb\\x1b[2K")
"""


def test_a_person_at_a_terminal_reads_short_lines() -> None:
    ours, its = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", ON_A_TERMINAL], stderr=its, timeout=60, check=True)
        shown = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(its)

    assert "told" in shown
    assert "a\\nb" in shown
    assert "\x1b[2K" not in shown
    assert shown.count("\n") == 1


def test_lines_are_text_where_the_settings_say_so() -> None:
    script = """
import logging
from outlast.cli import logs
from outlast.settings_logs import LogSettings
logs.configure(LogSettings(format="text", libraries="error"))
logging.getLogger("library").warning("not shown")
logging.getLogger("library").error("shown")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert "[error] shown" in done.stderr.replace("  ", " ")
    assert "not shown" not in done.stderr
