"""Write `requirements/*.lock` from pyproject.toml: `make lock`, or `make lock ARGS=--upgrade`.

The locks hold names, versions, markers and hashes, and no address: where packages come from is for each
machine's pip configuration to say.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import find_pip
from steps import ROOT, step

UV = Path(sys.executable).with_name("uv")


def lock(group: str, *, project: bool, options: list[str]) -> None:
    """Lock one dependency group, with or without what the project itself needs."""
    command = [
        *(UV, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"),
        *("--no-annotate", "--no-emit-index-url", "--no-emit-package", "outlast"),
        *("--custom-compile-command", "make lock", "--group", f"pyproject.toml:{group}"),
        *("--output-file", f"requirements/{group}.lock", *options),
    ]
    # The groups ask for the project's own extras, which uv would otherwise look for in the index.
    sources, text = (["-"], "-e .[embedded]\n") if project else ([], "")
    environment = find_pip.uv_environment(everything=False)
    with step(f"locking {group}"):
        subprocess.run([*command, *sources], cwd=ROOT, env=environment, input=text, text=True, check=True)


if __name__ == "__main__":
    ROOT.joinpath("requirements").mkdir(exist_ok=True)
    # One environment holds all groups, so the others follow the versions of the first.
    same = ["--constraint", "requirements/dev.lock"]
    try:
        lock("dev", project=True, options=sys.argv[1:])
        lock("bench", project=True, options=[*sys.argv[1:], *same])
        lock("lock", project=False, options=[*sys.argv[1:], *same])
    except subprocess.CalledProcessError as problem:
        sys.exit(problem.returncode)
