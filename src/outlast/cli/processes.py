"""Processes that belong together: children that end with their parent, and signals that end both in order."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from outlast.settings import Settings

T = TypeVar("T")
_PR_SET_PDEATHSIG = 1


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine on uvloop."""
    import uvloop  # noqa: PLC0415 - `outlast --help` needs no event loop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def start_child(settings: Settings, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Process:
    """Start `outlast ARGUMENTS --parent PID` on the same database.

    Call it on the main thread: the child dies with the thread that started it.
    """
    # Not DATABASE_URL: user code may read that one, and this is ours, of the highest rank.
    environment = {**os.environ, "OUTLAST_DATABASE__URL": settings.database.url}
    if settings.audit.key and "OUTLAST_AUDIT__KEY_FILE" not in os.environ:
        # It may be the private database's own, which only the parent looks up.
        environment["OUTLAST_AUDIT__KEY"] = settings.audit.key.reveal()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast", *arguments, "--parent", str(os.getpid())),
        stdin=asyncio.subprocess.DEVNULL,
        env=environment,
        pass_fds=pass_fds,
    )


def end_with_parent(pid: int | None) -> None:
    """Have the kernel kill this process as soon as its parent has gone, however it went; nothing without a pid.

    The kernel's own signal rather than a pipe watched by a thread: it also reaches a process whose threads all hang.
    """
    if pid is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != pid:
        # It went before we could ask.
        os._exit(1)


@contextmanager
def stop_signals(stop: Callable[[], None], *, interrupt: bool = True) -> Generator[None]:
    """Call `stop` on the running loop at the first SIGTERM or SIGINT; the second ends the process on the spot.

    Without `interrupt`, SIGINT is left to the parent: Ctrl-C reaches the whole process group, and would count twice.
    """
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    # A plain handler, not the loop's: the second signal has to work also when the loop hangs.
    def handle(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            os._exit(128 + number)
        loop.call_soon_threadsafe(stop)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, handle),
        signal.SIGINT: signal.signal(signal.SIGINT, handle if interrupt else signal.SIG_IGN),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
