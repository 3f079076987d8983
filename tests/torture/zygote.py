"""Forks worker processes from one that has imported everything: a worker starts in 50 ms instead of seconds.

    python zygote.py PROJECT_FILE [MODULE...]

One JSON object per line on stdin starts a worker: {"url": ..., "environment": {...}, "log": PATH}. On stdout one line
per event: {"started": pid} in the order of the requests, {"ended": pid, "status": code} (negative: the signal).
Everything ends when stdin does.
"""

import asyncio
import ctypes
import json
import os
import select
import signal
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import uuid_utils.compat
from witness import EPOCHS

from outlast import telemetry
from outlast.agents.project import load_project
from outlast.runtime import Runtime, work
from outlast.settings import load

warnings.simplefilter("ignore")
_PR_SET_PDEATHSIG = 1
_PRELOADED = (psycopg, uuid_utils.compat)


async def worker(url: str, project: Path) -> None:
    settings = load(arguments={"database": {"url": url}})
    telemetry.arm(settings.fault)
    async with Runtime.open(settings, load_project(project), application_name="outlast-worker") as runtime:
        made = runtime.worker()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, made.drain)
        await work(runtime, made)


def _note_epochs(point: str, fields: Any) -> None:
    if point == "run.started":
        EPOCHS[str(fields["run_id"])] = fields["epoch"]


def _be_worker(request: dict[str, Any], project: Path) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.environ.update(request["environment"])
    telemetry.subscribe(_note_epochs)
    status = 1
    try:
        asyncio.run(worker(request["url"], project))
        status = 0
    except BaseException:  # noqa: BLE001 - the child must not go on as a second zygote
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _tell(**event: Any) -> None:
    os.write(1, (json.dumps(event) + "\n").encode())


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(ended=pid, status=os.waitstatus_to_exitcode(status))


def main() -> None:
    project = Path(sys.argv[1])
    for module in sys.argv[2:]:
        import_module(module)
    wake, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    buffered = b""
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _reap()
        if 0 in readable:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, buffered = (buffered + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    os.close(wake)
                    os.close(wakeup)
                    _be_worker(json.loads(line), project)
                _tell(started=pid)


if __name__ == "__main__":
    main()
