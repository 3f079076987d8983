"""Find promtool, prometheus and amtool, or fetch them as Debian packages; no root is needed.

What is on PATH is taken. Else the packages are downloaded with apt, which checks them against the signed index of the
distribution, and unpacked; every file is checked against the list of its package. Nothing is installed:
they lie in `~/.cache/outlast/tools` (XDG_CACHE_HOME is honoured), so that the next checkout has them, too.

    python scripts/prometheus_tools.py            where they are, one line each
    python scripts/prometheus_tools.py promtool   the path of one of them
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Alertmanager itself is not among them: Debian's reads a file below /usr/share, and so runs only where it is installed.
#: Program -> Debian package. All of them answer to `--version`.
PACKAGES: Final = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
}
_NEEDED: Final = ("apt-get", "dpkg-deb")
_SECONDS: Final = 300


class ToolMissing(Exception):
    """A program is neither on PATH nor to be had; the message says why, and what to do."""


def cache() -> Path:
    """Return the folder that keeps what was fetched."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outlast" / "tools"


def tool(name: str) -> Path:
    """Return the path of a program of PACKAGES; fetches its package when it is not there.

    Safe to call from several processes at a time: one fetches, the others wait. Raises ToolMissing.
    """
    if found := shutil.which(name):
        return Path(found)
    package = PACKAGES[name]
    path = cache() / package / "usr" / "bin" / name
    if not path.exists():
        with _alone():
            if not path.exists():
                fetch(package)
    _try(path)
    return path


def fetch(package: str) -> None:
    """Download, unpack and check a package; it is in its place as a whole or not at all. Raises ToolMissing."""
    for needed in _NEEDED:
        if shutil.which(needed) is None:
            msg = (
                f"{package} is not installed, and there is no {needed} to fetch it with: install Prometheus and "
                f"Alertmanager so that {', '.join(PACKAGES)} are on PATH"
            )
            raise ToolMissing(msg)
    place = cache() / package
    with tempfile.TemporaryDirectory(dir=cache(), prefix=f"{package}-") as unfinished:
        archive = _download(package, Path(unfinished))
        unpacked = Path(unfinished) / "unpacked"
        _run("dpkg-deb", "--extract", str(archive), str(unpacked))
        _run("dpkg-deb", "--control", str(archive), str(unpacked / "DEBIAN"))
        _check(unpacked)
        shutil.rmtree(place, ignore_errors=True)
        unpacked.rename(place)


def _download(package: str, folder: Path) -> Path:
    try:
        _run("apt-get", "download", package, folder=folder)
    except ToolMissing:
        # The machine's index is missing or old, and only root may renew that one: take an index of our own.
        _run("apt-get", "update", *_own_index(), folder=folder)
        _run("apt-get", "download", package, *_own_index(), folder=folder)
    # Its name holds the version.
    return next(folder.glob(f"{package}_*.deb"))


def _own_index() -> list[str]:
    state = cache() / "apt"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = {"Dir::State": state, "Dir::Cache": state, "Dir::State::status": "/var/lib/dpkg/status"}
    return [part for key, value in options.items() for part in ("-o", f"{key}={value}")]


def _check(unpacked: Path) -> None:
    """Compare every file with the list that the package brings: a full disk truncates without a word."""
    for line in (unpacked / "DEBIAN" / "md5sums").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        found = hashlib.md5((unpacked / name).read_bytes(), usedforsecurity=False).hexdigest()
        if found != digest:
            msg = f"{name} of the package is damaged; try again when the disk has room"
            raise ToolMissing(msg)


def _try(path: Path) -> None:
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    if answer.returncode:
        msg = f"{path} does not run on this machine ({answer.stderr.strip()[:200]}): delete the folder {cache()}"
        raise ToolMissing(msg)


def _run(*command: str, folder: Path | None = None) -> None:
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        msg = f"`{' '.join(command)}` did not end within {_SECONDS} s: check the network"
        raise ToolMissing(msg) from None
    if ended.returncode:
        told = " ".join((ended.stderr or ended.stdout).split())[-400:]
        msg = f"`{' '.join(command)}` failed: {told}. Install Prometheus and Alertmanager, or check the network"
        raise ToolMissing(msg)


@contextmanager
def _alone() -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Print where the programs are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PACKAGES)}; default: all")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in PACKAGES]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PACKAGES)}")
    try:
        for name in names or PACKAGES:
            print(tool(name) if names else f"{name}\t{tool(name)}")
    except ToolMissing as error:
        print(f"prometheus_tools: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
