#!/usr/bin/env python3
"""Make `.venv` and install one group of locked requirements: `python3 scripts/bootstrap.py [dev|bench|lock]`.

Runs before anything is installed, so it needs the standard library only. Every `make` target calls it
first, so it has to cost nothing when there is nothing to do; and an old Python must get far enough into it
to say that it is too old, so the syntax is that of 3.7. A stamp inside `.venv` records what was
installed, from which locks, and where. The stamp is emptied before work starts and written when it ends,
so a run that was interrupted is recognised, and its half-made `.venv` thrown away, by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from steps import PYTHON, ROOT, VENV, SetupError, explain, run, say, step

STAMP = VENV / ".outlast-setup.json"
OLDEST = (3, 11)
GROUPS = {"dev": ["dev"], "bench": ["bench", "dev"], "lock": ["lock"]}
# Started from an activated .venv, `python3` is the very interpreter that may have to be replaced.
BASE = os.path.realpath(sys.executable)


def current() -> dict[str, object]:
    """Return what an up-to-date stamp says, apart from its groups."""
    import tomllib  # noqa: PLC0415 - a Python without it must live to read that it is too old

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    # Linter settings change often and install nothing.
    relevant = [project.get(key) for key in ("build-system", "project", "dependency-groups")]
    inputs = hashlib.sha256(json.dumps([relevant, project.get("tool", {}).get("hatch")]).encode())
    for lock in sorted(ROOT.glob("requirements/*.lock")):
        inputs.update(lock.read_bytes())
    # A moved checkout or an upgraded Python leaves a .venv whose paths point nowhere.
    return {"inputs": inputs.hexdigest(), "place": [str(ROOT), os.path.realpath(PYTHON)]}


def installed() -> dict[str, object]:
    """Return the stamp; empty when there is none, or when the last set-up did not get to its end."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if PYTHON.exists() else {}


def ready(group: str) -> bool:
    """Tell whether the group is there as the locks want it."""
    stamp = installed()
    return group in stamp.pop("groups", ()) and stamp == current()  # type: ignore[operator]


def usable() -> bool:
    """Tell whether the present `.venv` can be installed into, or has to be made anew."""
    if STAMP.exists():
        return bool(installed()) and installed()["place"] == current()["place"]
    # Somebody's own: it will do if its Python runs and has a pip.
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        return not subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False).returncode
    except OSError:
        return False


def make_venv(lock: Path) -> None:
    """Create `.venv` with the locked pip, by whichever way this machine offers."""
    if VENV.exists():
        with step("removing an unfinished or outdated .venv"):
            shutil.rmtree(VENV)
    VENV.mkdir()
    STAMP.touch()
    with step(f"making .venv with Python {sys.version.split()[0]}"):
        run(BASE, "-m", "venv", "--without-pip", VENV)
    import find_pip  # noqa: PLC0415 - it costs more than all of a run with nothing to do

    find_pip.install(BASE, lock)


def install(group: str) -> None:
    """Bring `.venv` to what the locks say."""
    lock = ROOT / "requirements" / f"{group}.lock"
    if not usable():
        make_venv(lock)
    before = installed()
    groups = before.get("groups", []) if before.get("inputs") == current()["inputs"] else []
    kept = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
    STAMP.write_text("")
    pip = (PYTHON, "-m", "pip", "install", "--no-user", "--no-input", "--progress-bar", "off")
    try:
        with step(f"installing {len(re.findall('==', lock.read_text()))} packages of {lock.relative_to(ROOT)}"):
            run(*pip, "--require-hashes", "-r", lock)
        with step("installing this checkout"):
            run(*pip, "--no-deps", "--no-build-isolation", "-e", ".")
    except SetupError as error:
        if error.harmless:  # offline, say: what was there still serves the locks it was made from
            STAMP.write_text(kept)
        raise
    STAMP.write_text(json.dumps({**current(), "groups": sorted({*groups, *GROUPS[group]})}))


def main(group: str) -> None:
    """Set one group up unless that is done already."""
    if ready(group):
        return
    # The lock is on this file: it needs no file of its own, and outlives any .venv.
    with Path(__file__).open("rb") as own:
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("setup: another set-up of this checkout is running, waiting for it")
            fcntl.flock(own, fcntl.LOCK_EX)
        os.set_inheritable(own.fileno(), True)
        if not ready(group):
            install(group)


def too_old() -> str:
    """Go on under a newer Python if the machine has one, else say what is needed."""
    for minor in range(30, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            os.execv(found, [found, *sys.argv])  # noqa: S606 - no shell is wanted
    return f"Python {'.'.join(map(str, OLDEST))} or later is needed; this is {sys.version.split()[0]} ({BASE})"


if __name__ == "__main__":
    wanted_group = (sys.argv[1:] or ["dev"])[0]
    try:
        if sys.version_info < OLDEST:
            sys.exit("setup: " + too_old())
        if wanted_group not in GROUPS:
            sys.exit(f"setup: there is no group {wanted_group}; there are {', '.join(GROUPS)}")
        main(wanted_group)
    except SetupError as problem:
        sys.exit(f"setup: {problem}")
    except OSError as problem:
        sys.exit(f"setup: {explain(str(problem)) or 'the checkout cannot be set up'}: {problem}")
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; the next run starts over")
