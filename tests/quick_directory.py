"""Where the tests keep their files, PostgreSQL's above all: in memory, where there is enough of it.

Each test has a database of its own, which is a thousand files. Making them takes 20 ms in memory and up to 600 ms on a
virtual machine's disk. Nothing that is tested needs the disk: what is killed is processes, and the kernel keeps what
they have written.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")
# A server of one process of pytest-xdist takes 300 MB; a container has 64 MB here unless it is told otherwise.
_ENOUGH_BYTES = 4 << 30


def quick_directory() -> Path:
    """Make a new directory with a short path, as that of a Unix socket in it has at most 107 bytes."""
    parent = _IN_MEMORY if _has_room() else None
    if parent is not None:
        _remove_leftovers(parent)
    return Path(tempfile.mkdtemp(prefix=f"outlast-{os.getpid()}-", dir=parent))


def use_for_tmp_path() -> None:
    """Let pytest make its temporary directories there too, unless somebody has chosen another place."""
    if _has_room():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))


def _has_room() -> bool:
    try:
        return os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_BYTES
    except OSError:
        return False


def _remove_leftovers(parent: Path) -> None:
    """Free the memory of test runs that were killed."""
    for directory in parent.glob("outlast-*-*"):
        found = re.fullmatch(r"outlast-(\d+)-\w+", directory.name)
        if found is not None and not Path(f"/proc/{found[1]}").exists():
            # What belongs to somebody else stays.
            shutil.rmtree(directory, ignore_errors=True)
