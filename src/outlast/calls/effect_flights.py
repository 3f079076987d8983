"""Calls of receivers while they are under way, and the promise that each of them lands: its outcome is written down.

Whoever waits for a call may be cancelled: by a person, by a branch beside it that failed, by a limit of time, by a
worker that stops. The call itself is not; it gets a moment to end by itself, then it is cancelled, which leaves its
outcome unknown. Only then does whoever waited go on with being cancelled.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from outlast.domain.effect import EffectRow
from outlast.errors import DatabaseUnavailable

T = TypeVar("T")
# For a cancelled call to notice, and for its outcome to be stored.
_LAST_WORDS_SECONDS: Final = 0.5
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 2.0


class Ended(NamedTuple):
    """A call that is over, and written down."""

    row: EffectRow
    value: Any
    error: BaseException | None


@dataclass(slots=True)
class Flight:
    """One call of a receiver, from before its intent to after its outcome."""

    on_landed: Callable[[], object]
    stopping: bool = False
    _call: "asyncio.Future[Any] | None" = None
    _landed: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def carry(self, keeping: Coroutine[Any, Any, T], grace: float) -> T:
        """Return what `keeping` returns; when the caller is cancelled, it ends first."""
        keeper = asyncio.create_task(keeping, name="outlast-effect")
        keeper.add_done_callback(lambda _: self.land())
        try:
            return await asyncio.shield(keeper)
        except asyncio.CancelledError:
            self.stop(grace)
            await _outwait(keeper, grace + 2 * _LAST_WORDS_SECONDS)
            if keeper.done() and not keeper.cancelled():
                # Looked at, so that nobody is told of an error that was never retrieved.
                keeper.exception()
            raise

    async def until_first(self, announcing: Awaitable[T | None]) -> T | None:
        """Return what announcing it gave; without that it has landed already."""
        row = None
        try:
            row = await announcing
        finally:
            if row is None:
                self.land()
        return row

    async def call(self, awaitable: Awaitable[Any], *, timeout: float) -> tuple[Any, BaseException | None]:  # noqa: ASYNC109 - of what is called, not of this wait
        """Return what the receiver answered, or what was raised; never cancelled from outside but by `stop`."""
        call = self._call = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait({call}, timeout=timeout)
        except asyncio.CancelledError:
            # The event loop itself ends.
            call.cancel()
            raise
        late = not call.done()
        if late:
            call.cancel()
            await asyncio.wait({call}, timeout=_LAST_WORDS_SECONDS)
        if not call.done() or call.cancelled():
            return None, TimeoutError(f"no answer within {timeout:g} s" if late else "cancelled while it was called")
        error = call.exception()
        return (None, error) if error is not None else (call.result(), None)

    def stop(self, grace: float) -> None:
        """Cancel the call unless it ends within `grace` seconds."""
        if not self.stopping:
            self.stopping = True
            asyncio.get_running_loop().call_later(grace, self._cancel)

    def land(self) -> None:
        """Say that the outcome is written down, or never will be."""
        if not self._landed.done():
            self._landed.set_result(None)
            self.on_landed()

    async def landed(self) -> None:
        """Return when it has landed."""
        await asyncio.shield(self._landed)

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()


async def ended(flights: Sequence[Flight], grace: float) -> None:
    """Return when all have landed, or when those that could not be stopped have had their time."""
    if flights:
        waiting = [asyncio.ensure_future(flight.landed()) for flight in flights]
        _, left = await asyncio.wait(waiting, timeout=grace + _LAST_WORDS_SECONDS)
        for wait in left:
            wait.cancel()


async def patiently(write: Callable[[], Awaitable[T]], is_over: Callable[[], bool]) -> T:
    """Repeat a write, which must be safe to repeat, until the database answers or the attempt is over."""
    delay = _FIRST_DELAY_SECONDS
    while True:
        try:
            return await write()
        except DatabaseUnavailable:
            if is_over():
                raise
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)


async def _outwait(task: "asyncio.Task[Any]", seconds: float) -> None:
    """Wait for the task through further cancellations, but not for ever: a worker that stops has little time."""
    until = time.monotonic() + seconds
    while not task.done() and (left := until - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=left)
