"""Run the commands of the set-up: one line of progress for each, and a failure that says what to do."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"

# The first pattern found in a command's output says what went wrong, in words that say what to do.
HINTS = {
    r"No space left on device": "the disk is full: .venv needs about 600 MB, and pip's cache and TMPDIR 300 MB more",
    r"DO NOT MATCH THE HASHES": "the package index served a file that is not the one this checkout locks",
    r"Retrying \(Retry|Connection(?:Error| refused)|SSLError|Max retries|Network is unreachable|timed out": (
        "no package index could be reached: check the network, or tell pip which index to use "
        "(pip.conf or PIP_INDEX_URL; PIP_CERT if its certificate is private)"
    ),
    r"No matching distribution": "the package index lacks a locked version, or has none for this Python and platform",
}


class SetupError(Exception):
    """The set-up cannot go on; `hint` says what to do, if that is known, and `harmless` that nothing changed."""

    hint = ""
    harmless = False


def explain(output: str) -> str:
    """Return what to do about an error, if its text is a known one."""
    return next((hint for pattern, hint in HINTS.items() if re.search(pattern, output)), "")


def say(text: str, end: str = "\n") -> None:
    """Show progress at once, also through a pipe: silence for half a minute looks like a hang."""
    print(text, end=end, flush=True)


@contextlib.contextmanager
def step(what: str, otherwise: str = "failed"):  # noqa: ANN201 - a generator's type would need an import that only checkers use
    """Say what is being done, then how long it took."""
    started = time.monotonic()
    say(f"setup: {what} ... ", end="")
    try:
        yield
    except BaseException:
        say(otherwise)
        raise
    say(f"{time.monotonic() - started:.1f} s")


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in the log; raise with the reason and the last lines if it fails."""
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        close_fds=False,  # the child shares the lock, so a killed set-up stays locked until pip has ended
    )
    with process, LOG.open("a", encoding="utf-8") as log:
        for line in process.stdout or ():
            lines.append(line)
            log.write(line)
            if "Retrying (Retry" in line:
                say("\n  pip cannot reach the package index, trying again ... ", end="")
    if process.returncode:
        raise failure(Path(command[0]).name, lines)


def failure(name: str, lines: list[str]) -> SetupError:
    """Return the error for a command that ended badly after printing these lines."""
    output = "".join(lines)
    hint = explain(output)
    told = "".join(f"  {line.rstrip()[:300]}\n" for line in lines[-8:])
    error = SetupError(f"{name} failed{hint and ': ' + hint}\n{told}  (all of it: {LOG})")
    error.hint = hint
    # pip fetches everything before it changes anything.
    error.harmless = "Installing collected packages" not in output
    return error
