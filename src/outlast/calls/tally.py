"""What an attempt has done so far, counted where it happens, for the summary that is told when it has ended."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from outlast.domain.run_summary import ModelUse

if TYPE_CHECKING:
    from outlast.calls.call import Usage


@dataclass(slots=True)
class Tally:
    """The counts of one attempt; subgraphs and subagents count here, too. `spending.Spent` is what caps look at."""

    #: By `provider:name`.
    models: dict[str, ModelUse] = field(default_factory=dict[str, ModelUse])
    retries: int = 0
    fallbacks: int = 0
    nodes: int = 0
    tool_calls: int = 0
    tool_errors: int = 0
    #: A validator found fault with what the run, a node or the arguments of a tool said.
    invalid: bool = False
    # Tools and inner graphs may be in threads.
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add_tries(self, tries: "Iterable[Usage]") -> None:
        """Count what tries of a model call used. On the event loop only."""
        for usage in tries:
            name = f"{usage.provider}:{usage.model}"
            use = self.models.get(name)
            if use is None:
                use = self.models[name] = ModelUse(provider=usage.provider, model=usage.model)
            _count(use, usage)

    def add_node(self) -> None:
        """Count a node that begins."""
        with self._lock:
            self.nodes += 1

    def add_tool(self, *, failed: bool = False) -> None:
        """Count a tool that was called, or refused."""
        with self._lock:
            self.tool_calls += 1
            self.tool_errors += failed


def _count(use: ModelUse, usage: "Usage") -> None:
    if usage.outcome == "cache":
        use.cached += 1
        return
    use.calls += usage.outcome == "answered"
    use.failed += usage.outcome == "failed"
    use.prompt_tokens += usage.input_tokens
    use.completion_tokens += usage.output_tokens
    use.cached_tokens += usage.cache_read_tokens
    use.reasoning_tokens += usage.reasoning_tokens
    use.cost_micros += usage.cost_micros or 0
    use.unpriced += usage.cost_micros is None
    use.seconds += usage.seconds
