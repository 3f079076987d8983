"""What a saver has stored, told to whoever decides what the end of a run means."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(slots=True)
class Accepted:
    """Counts what the database took from one saver; a saver that was bound to a claim counts for itself."""

    rows: int = 0
    #: The root graph's newest checkpoint among them.
    stands_at: UUID | None = None
    _under_way: "set[asyncio.Future[None]]" = field(default_factory=set["asyncio.Future[None]"])
    _refused: BaseException | None = None

    def checkpoint(self, ns: str, checkpoint_id: UUID) -> None:
        """Count a checkpoint."""
        self.rows += 1
        if not ns:
            self.stands_at = checkpoint_id

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
