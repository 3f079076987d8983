"""Waiting for something to become true, instead of for time to pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable


def wait_until(predicate: Callable[[], object], timeout_seconds: float = 10.0, message: str = "") -> None:
    """Poll until the predicate is true; an AssertionError with the message says that it did not become true in time."""
    deadline = time.monotonic() + timeout_seconds
    while not predicate():
        assert time.monotonic() < deadline, message or f"not true within {timeout_seconds} s"
        time.sleep(0.01)


async def until(predicate: Callable[[], Awaitable[object]], timeout_seconds: float = 10.0, message: str = "") -> None:
    """Do the same on the event loop."""
    deadline = time.monotonic() + timeout_seconds
    while not await predicate():
        assert time.monotonic() < deadline, message or f"not true within {timeout_seconds} s"
        await asyncio.sleep(0.01)
