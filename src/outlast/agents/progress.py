"""`outlast.progress(done, total)`: how far a run is, kept like a checkpoint and shown to whoever asks."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from outlast.agents.loops import running_loop
from outlast.errors import InvalidInput

Save = Callable[[int, int], Awaitable[None]]


class Progress:
    """Saves the newest report of one run; reports that come while one is being saved replace each other."""

    def __init__(self, save: Save) -> None:
        self._save = save
        self.loop = asyncio.get_running_loop()
        self._newest: tuple[int, int] | None = None
        self._saving: asyncio.Task[None] | None = None

    def report(self, done: int, total: int) -> "asyncio.Task[None]":
        """Start saving; the task ends when this report, or a newer one, is durable. On the event loop only."""
        self._newest = (done, total)
        if self._saving is None or self._saving.done():
            self._saving = self.loop.create_task(self._drain(), name="outlast-progress")
        return self._saving

    def report_from_thread(self, done: int, total: int) -> "Future[None]":
        """Save from another thread; the future ends when it is durable."""
        return asyncio.run_coroutine_threadsafe(self._report_and_wait(done, total), self.loop)

    async def flush(self) -> None:
        """Wait until the last report is durable; raises what saving it raised."""
        if self._saving is not None:
            await self._saving

    async def _report_and_wait(self, done: int, total: int) -> None:
        await asyncio.shield(self.report(done, total))

    async def _drain(self) -> None:
        while self._newest is not None:
            newest, self._newest = self._newest, None
            await self._save(*newest)


class _Saved:
    """What `progress` returns: nothing to do, but it may be awaited."""

    def __init__(self, task: "asyncio.Future[None] | None") -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, None]:
        if self._task is not None:
            yield from asyncio.shield(self._task).__await__()


current: ContextVar[Progress | None] = ContextVar("outlast_progress", default=None)


def progress(done: int, total: int) -> Awaitable[None]:
    """Report that `done` of `total` units of the current run are finished.

    Call it in a node or task. It is durable when the result is awaited, and in any case before the run ends; in a sync
    node it returns when it is durable. Outside a run it does nothing, so a graph can be tried by itself.

    Raises InvalidInput unless 0 <= done <= total.
    """
    if not 0 <= done <= total:
        msg = f"progress({done}, {total}): needs 0 <= done <= total"
        raise InvalidInput(msg, field="done")
    reporter = current.get()
    if reporter is None:
        return _Saved(None)
    loop = running_loop()
    if loop is None:
        reporter.report_from_thread(done, total).result()
        return _Saved(None)
    if loop is not reporter.loop:
        # A sync node that runs a loop of its own.
        return _Saved(asyncio.wrap_future(reporter.report_from_thread(done, total)))
    return _Saved(reporter.report(done, total))
