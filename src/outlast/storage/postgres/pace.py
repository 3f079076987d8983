"""How often a busy process notifies others, and of how much at once.

A NOTIFY takes a database-wide lock at commit, so a busy process must not send one per event: a few go out at once, and
from then on whatever comes within 5 ms goes out together.
"""

import asyncio
from typing import Final

#: PostgreSQL refuses a notification of 8,000 bytes; 200 ids of 32 characters and their commas fit.
MOST_IDS: Final = 200
_GATHER_SECONDS: Final = 0.005
# Sent without delay after a quiet time: a lone client's run takes four (queued, settled, and room for both sides).
_BURST: Final = 4.0


class Pace:
    """One sender's turns."""

    def __init__(self) -> None:
        self._credit = _BURST
        self._refilled_at = asyncio.get_running_loop().time()

    async def turn(self) -> None:
        """Wait until the next one may go out."""
        now = asyncio.get_running_loop().time()
        self._credit = min(_BURST, self._credit + (now - self._refilled_at) / _GATHER_SECONDS)
        self._refilled_at = now
        if self._credit < 1.0:
            await asyncio.sleep(_GATHER_SECONDS)
        self._credit -= 1.0
