"""Which event loop the calling thread runs: sync nodes have a thread of their own, and may run a loop in it."""

import asyncio


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that the caller runs on; None in a thread without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
