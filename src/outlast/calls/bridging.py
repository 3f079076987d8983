"""Calls that come from another thread, or another event loop, than the one they belong to.

Inside of a run that is the run's loop, where the pool and the clients of the process are at home. Outside of a run,
sync callers share one loop of their own in a daemon thread, so that what a breaker learns in one call is known in the
next; the models themselves are then asked by their sync methods, in threads.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Generic, TypeVar

from outlast.calls.scope import Scope
from outlast.errors import BlockingCall

T = TypeVar("T")
# Sync calls that may wait for their models at the same time; each one has a thread while it does.
_THREADS: Final = 128


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that the caller runs on; None in a thread without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def home_of(scope: Scope | None, what: str) -> asyncio.AbstractEventLoop:
    """Return the loop that a sync call has to go to; raises BlockingCall on that loop's own thread."""
    if scope is None:
        return _threads.loop()
    if running_loop() is scope.loop:
        raise BlockingCall(what)
    return scope.loop


def wait_for(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Run it on another thread's loop, with the caller's context, and return what it returns."""
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    # Interrupted from the keyboard, for one: nobody waits for the answer any more.
    except BaseException:
        future.cancel()
        raise


def iterate(stream: AsyncGenerator[T], loop: asyncio.AbstractEventLoop) -> Iterator[T]:
    """Yield what an async generator yields on another thread's loop; leaving early closes it."""
    end = object()

    async def step() -> Any:
        return await anext(stream, end)

    try:
        while (item := wait_for(step(), loop)) is not end:
            yield item
    finally:
        wait_for(_close(stream), loop)


async def elsewhere(make: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> T:
    """Await it on another loop than the running one, or right here if it is the same."""
    if asyncio.get_running_loop() is loop:
        return await make()
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), loop))


def heard_here(
    listen: Callable[[T], Awaitable[None]], said_on: asyncio.AbstractEventLoop
) -> Callable[[T], Awaitable[None]]:
    """Return a listener that hears on the running loop what is said on the other one."""
    here = asyncio.get_running_loop()
    if here is said_on:
        return listen

    async def hear(item: T) -> None:
        async def told() -> None:
            await listen(item)

        await elsewhere(told, here)

    return hear


async def paced(ask: Callable[[Callable[[T], Awaitable[None]]], Coroutine[Any, Any, object]]) -> AsyncGenerator[T]:
    """Yield what `ask` tells its listener, no faster than it is taken; raises what `ask` raises.

    Leaving early cancels it.
    """
    handed = _Handed[T]()
    task = asyncio.create_task(ask(handed.over))
    task.add_done_callback(handed.ended)
    try:
        while await handed.there():
            yield handed.item()
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            # Looked at, so that nobody is told of an error that was never retrieved.
            task.exception()


class _Handed(Generic[T]):
    """Items that go from one task to another one by one: a queue for each chunk of a stream, at half its price."""

    def __init__(self) -> None:
        # Both ends are on the listener's loop (`heard_here`); to ask for it each time is a system call each time.
        self._loop = asyncio.get_running_loop()
        self._items: list[T] = []
        self._given: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._ended = False

    async def over(self, item: T) -> None:
        """Hand an item over; returns when the next one is asked for."""
        self._items.append(item)
        self._taken = self._loop.create_future()
        _wake(self._given)
        await self._taken

    def ended(self, _: object) -> None:
        """Say that nothing more comes."""
        self._ended = True
        _wake(self._given)

    async def there(self) -> bool:
        """Wait for the next item; False when there is none. The one before is done with."""
        _wake(self._taken)
        while not self._items and not self._ended:
            self._given = self._loop.create_future()
            await self._given
        return bool(self._items)

    def item(self) -> T:
        """Return what is there."""
        return self._items.pop()


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


async def _close(stream: AsyncGenerator[Any]) -> None:
    await stream.aclose()


class _ThreadsLoop:
    """The loop of sync callers outside of runs; one per process, made on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child inherits the loop, but not the thread that ran it.
            if self._loop is None or self._process != os.getpid():
                self._start()
            return self._loop  # pyright: ignore[reportReturnType]

    def _start(self) -> None:
        self._process, self._loop = os.getpid(), asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="outlast-call"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="outlast-calls", daemon=True)
        self._thread.start()
        atexit.register(self._stop, self._loop, self._thread)

    def _stop(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        if self._process == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=1)
            if not loop.is_running():
                loop.close()


_threads: Final = _ThreadsLoop()
