"""The command `outlast` as a person uses it: started in a project, read from its output, ended by signals."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from waiting import wait_until

OUTLAST = (sys.executable, "-m", "outlast")
PROJECT = """
import asyncio, os, signal
from pathlib import Path
from langgraph.func import entrypoint, task

HERE = Path(__file__).parent

def note(text):
    with (HERE / "notes").open("a") as notes:
        notes.write(f"{text} {os.getpid()}\\n")

@task
async def step(number):
    note(f"step-{number}")
    return number

@entrypoint()
async def steady(given):
    total = 0
    for number in range(given.get("steps", 1)):
        total += await step(number)
        while (HERE / "hold").exists():
            await asyncio.sleep(0.02)
    return {"total": total, "pid": os.getpid()}

@entrypoint()
async def poison(given):
    note("poison")
    os.kill(os.getpid(), signal.SIGKILL)

@entrypoint()
async def endless(given):
    note("endless")
    try:
        await asyncio.Event().wait()
    finally:
        note("cleaned")

@entrypoint()
async def greedy(given):
    return {"length": len(bytearray(8 << 30))}

@entrypoint()
async def stubborn(given):
    note("stubborn")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
"""
AGENTS = ("steady", "poison", "endless", "greedy", "stubborn")


def make_project(folder: Path, *, settings: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agent.py").write_text(PROJECT)
    agents = "\n".join(f'{name} = "./agent.py:{name}"' for name in AGENTS)
    (folder / "outlast.toml").write_text(f"[agents]\n{agents}\n{settings}")
    return folder


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would configure Outlast."""
    kept = {k: v for k, v in os.environ.items() if k != "DATABASE_URL" and not k.startswith("OUTLAST_")}
    return kept | changes


def outlast(*arguments: object, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*OUTLAST, *map(str, arguments)], cwd=cwd, env=environment(**changes),
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


class Running:
    """A command that goes on until it is told to stop."""

    def __init__(self, *arguments: object, cwd: Path, **changes: str) -> None:
        self.folder = cwd
        self._log = cwd / f"log-{'-'.join(map(str, arguments[:1]))}"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*OUTLAST, *map(str, arguments)], cwd=cwd, env=environment(**changes),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self._log.read_text()

    def find(self, pattern: str, timeout_seconds: float = 60) -> re.Match[str]:
        """Wait for the pattern in the output."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.text)
            assert match or self.process.poll() is None, f"it ended without {pattern!r}:\n{self.text}"
            return match

        wait_until(found, timeout_seconds, f"no {pattern!r}")
        match = found()
        assert match
        return match

    def notes(self) -> list[tuple[str, int]]:
        """What the agents did, and in which process."""
        file = self.folder / "notes"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(text, int(pid)) for text, pid in map(str.split, lines)]

    @property
    def url(self) -> str:
        return self.find(r"API:? +(http://\S+)")[1]

    def call(self, path: str, body: object = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def start_run(self, agent: str, **given: object) -> str:
        return self.call("/agent/start", {"agent": agent, "input": given})["task_id"]

    def run(self, run_id: str) -> dict:
        return self.call(f"/agent/status/{run_id}")

    def wait_for_status(self, run_id: str, wanted: str, timeout_seconds: float = 40) -> dict:
        def reached() -> bool:
            run = self.run(run_id)
            assert run["status"] == wanted or run["ended_at"] is None, f"{run}\n{self.text}"
            return run["status"] == wanted

        wait_until(reached, timeout_seconds, f"it did not become {wanted}")
        return self.run(run_id)

    def workers(self) -> list[int]:
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if "worker" in child.cmdline()]

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)


@contextlib.contextmanager
def running(*arguments: object, cwd: Path, **changes: str) -> Iterator[Running]:
    command = Running(*arguments, cwd=cwd, **changes)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            # Its children end with it: the kernel sees to that.
            command.process.kill()
            command.process.wait()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
