"""Kill a worker half way through a batch, and count what is lost: nothing. `make demo`, or `python demo.py`.

How "read twice" is counted, without believing what Outlast says of itself:

- An outside witness: each document's task appends a line to a file when it starts and when it has finished, with the
  pid of its process.
- Right after the kill, the results that are in the database are read, as a resuming worker will read them. Those
  documents are the ones saved before the kill, to the millisecond; progress would be a step behind or ahead.
- A document that was saved before the kill and has more than one `started` line was read twice. There must be none.
- A document that was started and not yet saved was in the middle of it. It is started again; nobody can avoid that,
  and it is counted and said separately.
- At the end the saved results are asked again: each holds the pid of the process that made it, and for those that were
  saved before the kill this must still be the killed one.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from outlast import Checkpointer

HERE = Path(__file__).resolve().parent
PACE_SECONDS = "0.25"
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
MUST_GO_ON_WITHIN_SECONDS = 10.0

T = TypeVar("T")
console = Console(highlight=False)


class DemoError(Exception):
    """The demonstration could not be carried out."""


@dataclass(frozen=True, slots=True)
class Account:
    """What happened, as seen from outside."""

    count: int
    pid_before: int
    saved_before: set[str]
    seconds: float
    witness: list[tuple[str, str, int]]
    run: dict[str, Any]

    @property
    def output(self) -> dict[str, Any]:
        return self.run["output"] or {}

    @property
    def started(self) -> Counter[str]:
        return Counter(name for event, name, _ in self.witness if event == "started")

    @property
    def pid_after(self) -> int:
        return self.witness[-1][2]

    @property
    def twice(self) -> list[str]:
        return [name for name in self.saved_before if self.started[name] > 1]

    @property
    def in_the_middle(self) -> list[str]:
        return [name for name, times in self.started.items() if times > 1 and name not in self.saved_before]

    def broken(self) -> list[str]:
        """Return what did not hold."""
        made_by = self.output.get("read_by", {})
        checks = {
            f"the run {self.run['status']}": self.run["status"] == "succeeded",
            f"{len(made_by)} of {self.count} documents were read": len(made_by) == self.count,
            "nothing was saved before the kill": bool(self.saved_before),
            "the same worker went on": self.pid_after != self.pid_before,
            f"{len(self.twice)} documents were read twice": not self.twice,
            "a saved result was replaced": all(made_by.get(name) == self.pid_before for name in self.saved_before),
            f"it took {self.seconds:.1f} s to go on": self.seconds <= MUST_GO_ON_WITHIN_SECONDS,
        }
        return [text for text, holds in checks.items() if not holds]


class Outlast:
    """A running `outlast dev` and its project."""

    def __init__(self, project: Path, url: str) -> None:
        self.project = project
        self.url = url
        self.witness = project / "witness"

    def get(self, path: str) -> dict[str, Any]:
        return self.call(urllib.request.Request(self.url + path))  # noqa: S310 - our own server

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)  # noqa: S310 - as above
        return self.call(request)

    def call(self, request: urllib.request.Request) -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
            return json.load(response)

    def healthy(self) -> bool:
        try:
            return self.get("/health")["status"] == "ok"
        except urllib.error.URLError:
            return False

    def events(self) -> list[tuple[str, str, int]]:
        """Return the witness's lines: event, document, pid."""
        text = self.witness.read_text(encoding="utf-8") if self.witness.exists() else ""
        return [(event, name, int(pid)) for event, name, pid in map(str.split, text.splitlines())]

    def database_url(self) -> str:
        command = [sys.executable, "-m", "outlast", "db", "url"]
        return subprocess.run(command, cwd=self.project, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - our own command line


def main() -> int:
    """Run the demonstration; 0 only if everything held."""
    options = _options()
    try:
        with started(with_model=not options.offline) as outlast:
            account = interrupted_batch(outlast, options.count)
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started is stopped")
        return 130
    except DemoError as error:
        console.print(f"[red]{error}[/]")
        return 1
    report(account)
    broken = account.broken()
    console.print(f"[red]NOT as promised: {'; '.join(broken)}[/]" if broken else "[green]All of it held.[/]")
    return 1 if broken else 0


def interrupted_batch(outlast: Outlast, count: int) -> Account:
    """Start a batch, kill its worker at half, wait for the end."""
    database_url = outlast.database_url()
    run = outlast.post("/agent/start", {"agent": "documents", "input": {"count": count}})
    status, thread = f"/agent/status/{run['task_id']}", f"/agent/state/{run['thread_id']}"
    with progress_bar(count) as show:
        until(lambda: show(outlast.get(thread)) >= count // 2, "half of the documents")
        pid = outlast.get(status)["worker"]["pid"]
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        console.print(f"kill -9 {pid}, the worker, in the middle of its work")
        saved = asyncio.run(saved_documents(database_url, run["thread_id"]))
        until(lambda: outlast.events()[-1][2] != pid, "another worker to go on", every=0.01)
        seconds = time.monotonic() - killed_at
        console.print(f"worker {outlast.events()[-1][2]} goes on, {seconds:.1f} s later")
        until(lambda: ended(outlast.get(thread), show), "the end of the batch")
    return Account(count, pid, saved, seconds, outlast.events(), outlast.get(status))


def ended(state: dict[str, Any], show: Callable[[dict[str, Any]], int]) -> bool:
    show(state)
    return state["status"] in {"completed", "failed", "cancelled"}


async def saved_documents(database_url: str, thread_id: str) -> set[str]:
    """Return the documents whose results are in the database, read as a worker reads them that goes on."""
    async with Checkpointer.open(database_url) as saver:
        found = await saver.aget_tuple({"configurable": {"thread_id": thread_id}})
    writes = (found.pending_writes or []) if found else []
    return {value["name"] for _, _, value in writes if isinstance(value, dict) and "name" in value}


@contextmanager
def started(*, with_model: bool) -> Iterator[Outlast]:
    """Run `outlast dev` on a copy of this folder, so that nothing of another demonstration is there; then stop it."""
    project = Path(tempfile.mkdtemp(prefix="outlast-demo-"))
    for name in ("agent.py", "outlast.toml"):
        shutil.copy(HERE / name, project)
    log = project / "outlast.log"
    # A session of its own: Ctrl-C is for this process to handle, in order. Killed -9, it takes `outlast dev` with it.
    command = [sys.executable, "-m", "outlast", "dev", "--port", "0", "--parent", str(os.getpid())]
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command, cwd=project, env=environment(project, with_model=with_model),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield ready(process, project, log)
    except (DemoError, urllib.error.URLError, subprocess.CalledProcessError) as error:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-30:])
        raise DemoError(f"{error}\n\nThe last lines of Outlast:\n{tail}") from error
    finally:
        stop(process)
        # The database stops by itself, a moment after its last user; its files are removed after it.
        until(lambda: not (project / ".outlast/postgres/data/postmaster.pid").exists(), "the database to stop")
        shutil.rmtree(project, ignore_errors=True)


def environment(project: Path, *, with_model: bool) -> dict[str, str]:
    """Return an environment in which nothing of the user's changes what is shown, or costs money unasked."""
    dropped = () if with_model else KEYS
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and name != "DATABASE_URL" and not name.startswith("OUTLAST_")
    }
    return kept | {"OUTLAST_WITNESS": str(project / "witness"), "OUTLAST_DEMO_PACE": PACE_SECONDS}


def ready(process: "subprocess.Popen[bytes]", project: Path, log: Path) -> Outlast:
    """Wait until it serves and a worker is there."""
    console.print("starting `outlast dev` with a new PostgreSQL ...")

    def url() -> str | None:
        if process.poll() is not None:
            raise DemoError("`outlast dev` did not start")
        found = re.search(r"API +(http://\S+)", log.read_text(encoding="utf-8"))
        return found[1] if found else None

    outlast = Outlast(project, until(url, "`outlast dev` to start", 90))
    until(outlast.healthy, "a worker")
    console.print(f"it serves on {outlast.url}")
    return outlast


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop what was started: in order, then at once, as the second signal means; its workers end with it."""
    for give_up in (process.terminate, process.terminate, process.kill):
        give_up()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=3)
            return


@contextmanager
def progress_bar(count: int) -> Iterator[Callable[[dict[str, Any]], int]]:
    """Provide a function that shows where the batch stands and returns it; plain lines when nobody looks."""
    columns = (TextColumn("documents"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("documents", total=count)
        shown = 0

        def show(state: dict[str, Any]) -> int:
            nonlocal shown
            done = int(state["completed"] or 0)
            progress.update(bar, completed=max(shown, done))
            if not console.is_terminal and done // 10 > shown // 10:
                console.print(f"{done} of {count} documents")
            shown = max(shown, done)
            return done

        yield show


def report(account: Account) -> None:
    """Print the account in plain words."""
    output, saved, again = account.output, len(account.saved_before), len(account.in_the_middle)
    lines = {
        "documents": f"{len(output.get('read_by', {}))} of {account.count}",
        "saved before the kill": f"{saved}, by worker {account.pid_before}",
        "read after it": f"{account.count - saved}, by worker {account.pid_after}",
        "went on after": f"{account.seconds:.1f} s",
        "read twice": f"{len(account.twice)} of the {saved} that were saved",
        "begun again": f"{again} that the worker was in the middle of, or had not saved yet",
        "the run": f"{account.run['status']}: {output.get('lines', 0):,} lines, {output.get('classes')} classes, "
        f"{output.get('functions')} functions, {output.get('risky_calls')} risky calls",
        "to look at": ", ".join(output.get("findings", [])[:3]),
    }
    console.print()
    for name, text in lines.items():
        console.print(f"  {name:<24}{text}", soft_wrap=True)
    console.print()


def until(condition: Callable[[], T], what: str, seconds: float = 60, *, every: float = 0.1) -> T:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise DemoError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)
    return answer


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Kill a worker half way through a batch of documents, and see it go on."
    )
    parser.add_argument("--count", type=int, default=100, help="documents in the batch (default 100)")
    parser.add_argument("--offline", action="store_true", help="use no model, although a key is set")
    options = parser.parse_args()
    if not options.offline and any(os.environ.get(key) for key in KEYS):
        console.print("a model's key is set, so a model writes the reports (one call each); `--offline` for none")
    return options


if __name__ == "__main__":
    # Both end it in order; a shell's background jobs are born with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
