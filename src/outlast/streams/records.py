"""The types of a stream; see `domain.records` for what they promise."""

from datetime import timedelta
from typing import Final, Protocol

from outlast.domain.records import RUN, STATE_UPDATE, Item, Record, RunEnd

__all__ = ["HEARTBEAT", "RUN", "STATE_UPDATE", "Emitter", "Item", "Record", "RunEnd"]

#: Silence after which a stream says that it is there.
HEARTBEAT: Final = timedelta(seconds=5)


class Emitter(Protocol):
    """What a run says goes in here; one for each claim, used on the event loop only."""

    @property
    def wanted(self) -> bool:
        """Whether anybody listens, now or later. While it is false, nothing needs to be encoded."""
        ...

    def emit(self, mode: str, ns: str, data: bytes) -> None:
        """Say something, to listeners of this process at once and to others within milliseconds. Waits for nothing.

        What is said while nobody wants it, or after the run was lost to another owner, is dropped.
        """
        ...

    async def flush(self) -> int | None:
        """Wait until others can read all of it; return the last position, None when nothing was kept.

        Raises nothing and waits 10 s at most: a stream must not fail a run. Nothing may be said afterwards.
        """
        ...

    def drop(self) -> None:
        """Say nothing more and wait for nothing: the run is lost, or its worker must stop at once."""
        ...
