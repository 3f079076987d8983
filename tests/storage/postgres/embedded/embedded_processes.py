"""Processes that use an embedded server, and what can be seen of it from outside."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg

from outlast.storage.postgres import embedded_watchdog as watchdog

StartUser = Callable[..., "UserProcess"]

USER = """
import sys
from pathlib import Path
from outlast.storage.postgres.embedded import EmbeddedPostgres
sys.stdin.readline()
server = EmbeddedPostgres.start(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.readline()
"""


class UserProcess:
    """A process that uses the server from `go()` until it is killed."""

    def __init__(self, data_dir: Path, code: str = USER, interpreter: str = sys.executable, **options) -> None:
        self.process = subprocess.Popen(
            [interpreter, "-c", code, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def url(self) -> str:
        line = self.process.stdout.readline().strip()
        assert line, "the user process ended before it had a server"
        return line

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def query(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster_pid(data_dir: Path) -> int:
    postmaster = watchdog.find_postmaster(data_dir / "data")
    assert postmaster is not None, "no server runs"
    return postmaster.pid


def watchdog_pid(data_dir: Path) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(str(watchdog.__file__)) in arguments and os.fsencode(data_dir) in arguments:
            return int(folder.name)
    return None


def is_stopped(data_dir: Path) -> bool:
    return not watchdog.is_locked(data_dir / "server.lock") and not watchdog.is_locked(data_dir / "watchdog.lock")


def server_uid(data_dir: Path) -> int:
    return Path(f"/proc/{postmaster_pid(data_dir)}").stat().st_uid


def bystander(uid: int) -> subprocess.Popen[bytes]:
    """A process that has nothing to do with the database, of the same user as the server."""
    as_user = {"user": uid} if os.geteuid() == 0 else {}
    return subprocess.Popen(["/bin/sleep", "60"], **as_user)
