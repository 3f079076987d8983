"""Rounds of a background loop: whatever one of them meets is told, and the next one comes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from outlast.telemetry.events import emit


async def rounds_for_ever(
    one: Callable[[], Awaitable[object]], *, seconds: float, loop: str, at_once: bool = True
) -> NoReturn:
    """Call `one` again and again until cancelled, with a pause of `seconds` behind each.

    `loop` names it in `loop.failed`. Without `at_once` there is a pause before the first one, too.
    """
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await one()
        # The loop must outlive whatever one round meets, or nothing of what it does is ever done again.
        except Exception as error:  # noqa: BLE001
            emit("loop.failed", loop=loop, error=type(error).__name__)
        await asyncio.sleep(seconds)
