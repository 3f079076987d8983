"""What one attempt of a run was: told once when its outcome is stored, and read by logs, metrics and monitoring.

It is the field `summary` of the point `run.ended`. An attempt that was lost to another worker, or died, has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from outlast.domain.run import RunStatus

#: How an attempt ended: `interrupt` asked a person, `retry` failed and goes on later, `drained` was handed back.
RunOutcome = Literal["success", "error", "interrupt", "cancelled", "retry", "drained"]
#: The outcomes with which an attempt has not ended the run: it goes on without anybody doing anything.
GOES_ON: Final[frozenset[RunOutcome]] = frozenset({"retry", "drained"})

_MICROS: Final = Decimal(1_000_000)


@dataclass(slots=True, kw_only=True)
class ModelUse:
    """What one attempt used of one model, `provider:name`. Answers that were remembered or cached use nothing."""

    provider: str
    model: str
    #: Tries that were answered, and tries that failed.
    calls: int = 0
    failed: int = 0
    #: Answers that came from the cache.
    cached: int = 0
    #: What the provider's own cache served is part of the prompt, and reasoning of the completion.
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    #: US dollars x 1,000,000; tries that nobody knows the price of are missing, and counted below.
    cost_micros: int = 0
    unpriced: int = 0
    #: Of all tries together.
    seconds: float = 0.0

    @property
    def cost_usd(self) -> Decimal:
        """What it cost as far as it has a price, in US dollars."""
        return Decimal(self.cost_micros) / _MICROS


@dataclass(frozen=True, slots=True)
class RunContent:
    """What a run was given and what its agent said, beside its summary: shown by nobody who was not told to."""

    given: Any = field(repr=False)
    said: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One attempt, from its claim to the moment in which its outcome was stored."""

    run_id: UUID
    thread_id: str
    agent: str
    tenant: str
    user_id: str | None
    #: The number of the claim; an earlier attempt has a smaller one.
    epoch: int
    #: 32 hexadecimal digits: of the incoming `traceparent`, or else those of the run's id.
    trace_id: str
    #: What was stored, which a cancellation in the last moment may have changed.
    status: RunStatus
    outcome: RunOutcome
    #: Of this attempt, claim to settlement.
    seconds: float
    #: How long the run was ready before this claim.
    queued_seconds: float = 0.0
    #: From the creation of the run to the end of this attempt, waiting for people included.
    total_seconds: float = 0.0
    #: From the moment in which the run was ready, its time in the queue included, to the first thing that its graph
    #: said in this attempt: a token where tokens are streamed, else what the first step returned. None: nothing.
    first_byte_seconds: float | None = None
    #: The code that is stored (`ValueError`, `timed_out`...), and its message without secrets; None without an error.
    error_class: str | None = None
    error_message: str | None = field(default=None, repr=False)
    #: By `provider:name`.
    models: Mapping[str, ModelUse] = field(default_factory=dict[str, ModelUse])
    #: Nodes that were executed in this attempt.
    nodes: int = 0
    #: How often tools were called, each try and what was refused included; and how often one of them failed.
    tool_calls: int = 0
    tool_errors: int = 0
    #: Tries of model calls that failed and were made again, and calls that went to another model.
    retries: int = 0
    fallbacks: int = 0
    #: How sure the agent says it is, from 0 to 1; None: it does not say.
    confidence: float | None = None
    #: A validator found fault with an output of this attempt, mended later or not.
    invalid: bool = False
    #: Characters of what the agent said: the last message, or the output as JSON. None where nothing was looked at:
    #: the attempt did not succeed, or `[anomalies]` is off; then the following are as they stand here, too.
    output_length: int | None = None
    #: The agent said that it cannot, or will not; and it said nothing.
    refused: bool = False
    empty: bool = False
    #: SimHashes of 64 bits, signed: texts that are alike differ in few bits. None where there is no text.
    output_print: int | None = None
    input_print: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has ended or waits for a person, and does not go on by itself."""
        return self.outcome not in GOES_ON

    @property
    def main(self) -> ModelUse | None:
        """The model that was used most; None: none was."""
        return max(self.models.values(), key=lambda use: (use.calls + use.cached, use.failed), default=None)

    @property
    def model(self) -> str | None:
        """The name of the model that was used most."""
        return None if (main := self.main) is None else main.model

    @property
    def provider(self) -> str | None:
        """The provider of the model that was used most."""
        return None if (main := self.main) is None else main.provider

    @property
    def prompt_tokens(self) -> int:
        """Of all models together."""
        return sum(use.prompt_tokens for use in self.models.values())

    @property
    def completion_tokens(self) -> int:
        """Of all models together."""
        return sum(use.completion_tokens for use in self.models.values())

    @property
    def tokens(self) -> int:
        """Prompts and completions of all models together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost_usd(self) -> Decimal:
        """Of all models together, as far as they have a price."""
        return Decimal(sum(use.cost_micros for use in self.models.values())) / _MICROS
