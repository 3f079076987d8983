"""Doors that agents of the tests wait at, and a note of who has come there.

One module object for the tests and for the project's agents: both find it on `sys.path`.
"""

import asyncio
from collections import Counter, defaultdict

_doors: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
arrived: Counter[str] = Counter()


async def wait_at(name: str) -> None:
    """Say that somebody is there, and wait until the door is opened."""
    arrived[name] += 1
    await _doors[name].wait()


def open_door(name: str) -> None:
    _doors[name].set()


async def has_arrived(name: str, times: int = 1) -> bool:
    return arrived[name] >= times
