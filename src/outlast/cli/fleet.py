"""The workers of `outlast dev`: child processes that are replaced when they die."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from outlast.workers.heartbeat import EXIT_FENCED

# A worker that lived this long was well; what ended it is no reason to wait before the next one.
_WELL_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0


class Fleet:
    """Keeps `size` workers alive from `start` to `stop`; `bury` learns of a dead one and counts the runs it leaves."""

    def __init__(
        self,
        spawn: Callable[[], Awaitable[Process]],
        *,
        size: int,
        bury: Callable[[int], Awaitable[int]],
        say: Callable[[str], None],
    ) -> None:
        self._spawn = spawn
        self._size = size
        self._bury = bury
        self._say = say
        self._live: set[Process] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    @property
    def pids(self) -> list[int]:
        """The workers that live now."""
        return sorted(process.pid for process in self._live)

    async def start(self) -> None:
        """Start all workers; they register by themselves a moment later."""
        for _ in range(self._size):
            process = await self._spawn()
            self._live.add(process)
            self._keepers.append(asyncio.create_task(self._keep(process), name="outlast-keeper"))

    async def stop(self) -> None:
        """Ask every worker to hand its runs back, and wait until all have gone."""
        self._stopping.set()
        for process in self._live:
            _terminate(process)
        await asyncio.gather(*self._keepers)

    async def _keep(self, process: Process) -> None:
        pause = 0.0
        clock = asyncio.get_running_loop()
        while True:
            started_at = clock.time()
            await process.wait()
            self._live.discard(process)
            if clock.time() - started_at > _WELL_SECONDS:
                pause = 0.0
            if self._stopping.is_set():
                return
            runs = await self._bury(process.pid)
            if await self._stopped_within(pause):
                return
            pause = min(max(pause * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            process = await self._replaced(process, runs)

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    async def _replaced(self, dead: Process, runs: int) -> Process:
        successor = await self._spawn()
        self._live.add(successor)
        if self._stopping.is_set():
            _terminate(successor)
        going_on = f", its {runs} run{'s go' if runs != 1 else ' goes'} on" if runs else ""
        self._say(f"worker {dead.pid} {_end(dead.returncode)}; restarted as {successor.pid}{going_on}")
        return successor


def _end(status: int | None) -> str:
    if status is None or status == 0:
        return "stopped"
    if status < 0:
        return f"died (signal {-status})"
    if status == EXIT_FENCED:
        return "ended itself (it could not be sure to own its runs: the database was away, or user code hung)"
    return f"died (exit status {status})"


def _terminate(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
