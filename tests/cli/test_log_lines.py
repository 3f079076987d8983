"""Log lines hold no secrets, whoever writes them."""

import json
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
