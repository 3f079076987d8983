"""How an outbox is emptied: when a run has ended or asks something, and at least as often as the settings say."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from outlast.queues.wakeup import SETTLED, Wakeup
from outlast.telemetry import emit

#: What one round sends at most.
BATCH: Final = 20
#: Longer than an attempt may take, so that two senders do not have the same message.
LEASE_MARGIN: Final = timedelta(seconds=20)


async def send_for_ever(wakeup: Wakeup, send: Callable[[], Awaitable[int]], *, poll: timedelta, loop: str) -> None:
    """Call `send` again and again, at once while it returns a whole batch; `loop` names it in what is told."""
    ended = asyncio.Event()
    unsubscribe = wakeup.subscribe(lambda topic, _ids: ended.set() if topic == SETTLED else None)
    try:
        while True:
            ended.clear()
            if await _safely(send, loop) < BATCH:
                await _pause(ended, poll.total_seconds())
    finally:
        unsubscribe()


async def _safely(send: Callable[[], Awaitable[int]], loop: str) -> int:
    try:
        return await send()
    # The loop must outlive whatever one round meets, or nobody is ever told anything again.
    except Exception as error:  # noqa: BLE001
        emit("loop.failed", loop=loop, error=type(error).__name__)
        return 0


async def _pause(ended: asyncio.Event, poll: float) -> None:
    try:
        async with asyncio.timeout(poll):
            await ended.wait()
    except TimeoutError:
        return
    # Runs may end by the thousand each second; few of them have anything to be told.
    await asyncio.sleep(poll / 10)
