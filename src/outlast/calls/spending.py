"""What a run has used so far, as its caps see it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from outlast.calls.call import Usage


@dataclass(slots=True)
class Spent:
    """The counters of one attempt, with what earlier attempts of the run have used once `restored` is true.

    Subgraphs and subagents inherit the attempt's scope, and so they count here, too.
    """

    #: When the run's time began, on the event loop's clock.
    began_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    #: Model calls that were begun; replayed ones are not.
    turns: int = 0
    #: Input and output, what a provider's cache served included.
    tokens: int = 0
    #: US dollars x 1,000,000; what is unpriced is missing.
    cost_micros: int = 0
    restored: bool = False
    #: Held while it is restored: parallel calls wait for the figures.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, tries: "Iterable[Usage]") -> None:
        """Count what tries used; a cached answer uses nothing."""
        for usage in tries:
            if usage.outcome != "cache":
                self.tokens += usage.input_tokens + usage.output_tokens
                self.cost_micros += usage.cost_micros or 0

    @property
    def seconds(self) -> float:
        """How long the run goes on."""
        return asyncio.get_running_loop().time() - self.began_at


class UsageLog(Protocol):
    """Where the usage of earlier attempts is found."""

    async def spent_by(self, run_id: UUID) -> tuple[int, int, int]:
        """Return the run's turns, tokens and micro dollars."""
        ...
