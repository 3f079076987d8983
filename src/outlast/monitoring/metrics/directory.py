"""Figures of several processes of one machine, kept together.

prometheus_client keeps each figure in a file that is mapped into memory, one file per kind and process, so that what a
process has counted is there when it is killed. Whoever shares the directory shows the sum of all. Here is what it
lacks: gauges of dead processes go, and so that files do not become more with each restart, what dead processes have
counted is added up in one. A process lives as long as it holds the lock on `PID.alive`, which no kill -9 leaves behind.
"""

import fcntl
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

# What the dead have counted is under a number that no process has.
_ALL_DEAD: Final = 0
_ALIVE: Final = ".alive"
_COUNTED: Final = ("counter", "histogram")


class Membership:
    """This process's place in a directory; there is one of them, however often it joins."""

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self._lock = lock

    @classmethod
    def of(cls, directory: Path) -> "Membership":
        """Join; raises OSError when the directory cannot be written to."""
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{os.getpid()}{_ALIVE}"
        if (known := _memberships.get(file)) is None:
            known = _memberships[file] = cls(directory, _locked(file))
        return known

    def leave(self) -> None:
        """Say that this process counts no more."""
        for file in [file for file, membership in _memberships.items() if membership is self]:
            del _memberships[file]
            os.close(self._lock)


# By the file that says that this process lives, in which its number is: a fork of it has not joined.
_memberships: Final[dict[Path, Membership]] = {}


def _locked(file: Path) -> int:
    while True:
        lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        # Whoever looks whether we live holds it for a moment, and may find that we do not, not yet.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists() and os.fstat(lock).st_ino == file.stat().st_ino:
            return lock
        os.close(lock)


def read(directory: Path) -> list[Any]:
    """Return the figures of all processes, without the gauges of those that have died."""
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - see `Meter`

    collector: Any = MultiProcessCollector
    with _whole(directory):
        return list(collector(None, str(directory)).collect())


def others(base: Path) -> Iterator[Path]:
    """Yield the directories below `base` in which nobody counts any more."""
    for each in base.iterdir() if base.is_dir() else ():
        if each.is_dir() and not any(_lives(file) for file in each.glob(f"*{_ALIVE}")):
            yield each


def swept(base: Path) -> None:
    """Remove them."""
    for directory in list(others(base)):
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _whole(directory: Path) -> Generator[None]:
    """Clear away after the dead, alone; to the end of the block, nobody else does."""
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for file in list(directory.glob(f"*{_ALIVE}")):
            if not _lives(file):
                _bury(directory, file.stem)
                file.unlink(missing_ok=True)
        yield


def _lives(file: Path) -> bool:
    try:
        lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _bury(directory: Path, pid: str) -> None:
    from prometheus_client import multiprocess  # noqa: PLC0415 - see `Meter`

    client: Any = multiprocess
    client.mark_process_dead(int(pid), str(directory))
    for kind in _COUNTED:
        file = directory / f"{kind}_{pid}.db"
        if file.exists():
            _add_up(file, directory / f"{kind}_{_ALL_DEAD}.db")
            file.unlink()


def _add_up(file: Path, into: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - see `Meter`

    reading: Any = MmapedDict
    sums = reading(str(into))
    try:
        for key, value, _, _ in reading.read_all_values_from_file(str(file)):
            before, _ = sums.read_value(key)
            sums.write_value(key, before + value, 0.0)
    finally:
        sums.close()
