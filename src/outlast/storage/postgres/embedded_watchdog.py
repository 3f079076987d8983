"""Stops the embedded PostgreSQL when its last user has gone, however that user went.

Runs as a small process of its own, from this file alone and with nothing but the standard library, so that it starts
at once and stays small: `python -I -S embedded_watchdog.py DATA_DIR LINGER_SECONDS WATCHDOG_LOCK_FD`.

All agreement between processes is made of flocks, because the kernel drops them with the process, also on kill -9:

    users.lock     shared, held by every process that uses the server
    start.lock     exclusive, held while somebody starts or stops the server
    watchdog.lock  exclusive, held by the watchdog for its whole life
    server.lock    exclusive, inherited by initdb, the postmaster and every backend: while it is held, something
                   of this server lives; when it is free, whatever a pid file says is a leftover

A process takes users.lock before start.lock; the watchdog takes them in the opposite order but never waits for the
second, so the two cannot block each other for ever.
"""

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

USERS_LOCK = "users.lock"
START_LOCK = "start.lock"
WATCHDOG_LOCK = "watchdog.lock"
SERVER_LOCK = "server.lock"
PGDATA = "data"

POLL_SECONDS = 0.02
# A fast shutdown writes one checkpoint; only a broken disk makes that take a minute. Immediate shutdown loses
# nothing either, the next start replays the log.
FAST_SHUTDOWN_SECONDS = 60.0
GIVE_UP_SECONDS = 75.0


class Postmaster(NamedTuple):
    """What `postmaster.pid` says; nothing of it is true until it was checked."""

    pid: int
    socket_dir: str
    status: str


def open_lock(path: Path) -> int:
    """Open a lock file; the descriptor is closed on exec, so no subprocess inherits what it locks."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def lock_now(fd: int, mode: int = fcntl.LOCK_EX) -> bool:
    """Take the lock if that is possible without waiting."""
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock(path: Path, mode: int = fcntl.LOCK_EX) -> int | None:
    """Open and lock without waiting; closing the returned descriptor releases the lock."""
    fd = open_lock(path)
    if lock_now(fd, mode):
        return fd
    os.close(fd)
    return None


def is_locked(path: Path) -> bool:
    """Whether anybody holds the lock right now."""
    fd = try_lock(path)
    if fd is None:
        return True
    os.close(fd)
    return False


def read_postmaster(pgdata: Path) -> Postmaster | None:
    """Read `postmaster.pid`; None while the server has not written all of it."""
    try:
        lines = (pgdata / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return Postmaster(int(lines[0]), lines[4], lines[7].strip() if len(lines) > 7 else "")  # noqa: PLR2004
    except (OSError, ValueError, IndexError):
        return None


def is_postmaster_of(pid: int, pgdata: Path) -> bool:
    """Whether this pid is a live postmaster on this data directory.

    Judged by the command line: unlike /proc/PID/exe and /proc/PID/cwd it may be read across users without
    CAP_SYS_PTRACE (which root in a container lacks), a zombie has none, and backends overwrite theirs.
    """
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return arguments[0].endswith(b"/postgres") and arguments[1:3] == [b"-D", os.fsencode(pgdata)]


def find_postmaster(pgdata: Path) -> Postmaster | None:
    """Return the postmaster that `postmaster.pid` names, if it really is one of this data directory."""
    postmaster = read_postmaster(pgdata)
    return postmaster if postmaster and is_postmaster_of(postmaster.pid, pgdata) else None


def signal_postmaster(postmaster: Postmaster, pgdata: Path, signum: signal.Signals) -> None:
    """Send the signal to that postmaster and to no other process, even if its pid is being reused just now."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(postmaster.pid)
        try:
            # The check comes after the pidfd is open: it pins the process, so what was checked is what is signalled.
            if is_postmaster_of(postmaster.pid, pgdata):
                signal.pidfd_send_signal(pidfd, signum)
        finally:
            os.close(pidfd)


def stop_server(data_dir: Path) -> bool:
    """Shut the server down and wait until nothing of it lives; False if that did not happen in time.

    The caller holds start.lock. A server that is still starting is waited for and stopped too.
    """
    pgdata = data_dir / PGDATA
    started = time.monotonic()
    sent: signal.Signals | None = None
    socket_dir = ""
    while (postmaster := find_postmaster(pgdata)) or is_locked(data_dir / SERVER_LOCK):
        elapsed = time.monotonic() - started
        if elapsed > GIVE_UP_SECONDS:
            return False
        wanted = signal.SIGINT if elapsed < FAST_SHUTDOWN_SECONDS else signal.SIGQUIT
        if postmaster and sent is not wanted:
            signal_postmaster(postmaster, pgdata, wanted)
            sent, socket_dir = wanted, postmaster.socket_dir
        time.sleep(POLL_SECONDS)
    with suppress(OSError):
        Path(socket_dir).rmdir()  # refused, as it should be, when the socket lives in the data directory itself
    return True


def watch(data_dir: Path, linger_seconds: float, watchdog_lock: int) -> None:
    """Wait until the server has been without users for the linger time, stop it, return."""
    users, start = open_lock(data_dir / USERS_LOCK), open_lock(data_dir / START_LOCK)
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(linger_seconds)
        fcntl.flock(start, fcntl.LOCK_EX)
        if not _is_still(users, data_dir / USERS_LOCK):
            return
        if lock_now(users):
            stop_server(data_dir)
            # Before the other locks go: whoever comes next must not take this process for a watchdog that stays.
            os.close(watchdog_lock)
            return
        fcntl.flock(start, fcntl.LOCK_UN)


def _is_still(fd: int, path: Path) -> bool:
    """Whether the path leads to the open file; if not, the directory was removed and is not ours any more.

    The server of a removed directory ends by itself: a postmaster that misses its pid file shuts down within a minute.
    """
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    watch(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
