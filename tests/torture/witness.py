"""What an outsider saw: lines appended to a file by every process, outside any transaction of Outlast.

An append of one short line is atomic, and it stays when the process is killed a moment later.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATH_VARIABLE = "OUTLAST_TEST_WITNESS"
# The epoch under which this process executes a run; filled by the worker process from `run.started`.
EPOCHS: dict[str, int] = {}


def say(event: str, **fields: Any) -> None:
    """Append a line to the file that the environment names."""
    line = json.dumps({"event": event, "at": time.time(), "pid": os.getpid(), **fields}) + "\n"
    fd = os.open(os.environ[PATH_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def seen(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what was witnessed so far, in order."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
