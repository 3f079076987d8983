"""What a saver has stored and read, told to whoever decides what the end of a run means, or where its calls belong."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from outlast.errors import DatabaseUnavailable

# Longer than the writer insists on storing anything.
_PATIENCE: Final = timedelta(seconds=30)


@dataclass(slots=True)
class Accepted:
    """Counts what the database took from one saver; a saver that was bound to a claim counts for itself."""

    rows: int = 0
    #: The root graph's newest checkpoint among them.
    stands_at: UUID | None = None
    #: By namespace, the checkpoints that were read; what is not here belongs to a graph that keeps none of its own.
    read: dict[str, set[UUID]] = field(default_factory=dict[str, set[UUID]])
    #: By namespace, the newest checkpoint among what was stored.
    _newest: dict[str, UUID] = field(default_factory=dict[str, UUID])
    _under_way: "set[asyncio.Future[None]]" = field(default_factory=set["asyncio.Future[None]"])
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _refused: BaseException | None = None

    def checkpoint(self, ns: str, checkpoint_id: UUID) -> None:
        """Count a checkpoint."""
        self.rows += 1
        self._newest[ns] = checkpoint_id
        self._moved.set()
        if not ns:
            self.stands_at = checkpoint_id

    def looked(self, ns: str, found: UUID | None) -> None:
        """Note that a namespace was read, and what it held."""
        read = self.read.setdefault(ns, set())
        if found is not None:
            read.add(found)

    @contextmanager
    def storing(self) -> Generator[None]:
        """Mark a checkpoint as on its way for the length of the block."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(ended)
        try:
            yield
        # Also a cancellation: whoever waits must not take the checkpoint for stored.
        except BaseException as error:
            self._refused = error
            self._moved.set()
            raise
        finally:
            self._under_way.discard(ended)
            ended.set_result(None)

    async def settled(self) -> None:
        """Return when no checkpoint is on its way; raises what one of them was refused with."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._refused is not None:
            raise self._refused

    async def durable(self, ns: str, checkpoint_id: UUID) -> None:
        """Return when a checkpoint that was read, or is the newest of its namespace, is durable.

        Raises what one was refused with, and DatabaseUnavailable when it is not stored in time.
        """
        # Nearly always, and cheaper than a timer that nobody needs.
        if self._holds(ns, checkpoint_id):
            return
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                while not self._holds(ns, checkpoint_id):
                    if self._refused is not None:
                        raise self._refused
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            msg = f"checkpoint {checkpoint_id} was not stored in time; what depends on it was not begun"
            raise DatabaseUnavailable(msg) from None

    def _holds(self, ns: str, checkpoint_id: UUID) -> bool:
        return self._newest.get(ns) == checkpoint_id or checkpoint_id in self.read.get(ns, ())
