"""What a saver has stored, told to whoever decides what the end of a run means."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True)
class Accepted:
    """Counts what the database took from one saver; a saver that was bound to a claim counts for itself."""

    rows: int = 0
    #: The root graph's newest checkpoint among them.
    stands_at: UUID | None = None

    def checkpoint(self, ns: str, checkpoint_id: UUID) -> None:
        """Count a checkpoint."""
        self.rows += 1
        if not ns:
            self.stands_at = checkpoint_id
