"""What each try costs, by the provider's own count: the innermost layer round the provider.

A failed try is metered too, with what is known of it. One that the provider refused costs nothing. One that was given
up (a timeout, a cancelled run) or broke in the middle of a stream may be billed, and nobody says how much: unless the
stream had reported its usage by then, it counts as unpriced. What was not reported is never guessed.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from outlast.calls.call import Answer, Handler, Layer, Listener, ModelCall, Target, Usage
from outlast.calls.kinds import kind_of
from outlast.calls.prices import Prices, Tokens
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.calls.services import Calls

# More is a mistake of the provider, and would break sums.
_MOST_TOKENS: Final = 10**12
# Where answers name their model, and where they carry plain counts when there is no `usage_metadata`.
_MODEL_NAMES: Final = ("model_name", "model", "model_id")
_PLAIN_COUNTS: Final = ("token_usage", "usage")
_CACHE_READ: Final = ("cache_read", "priority_cache_read", "flex_cache_read")
_CACHE_WRITE: Final = ("cache_creation", "priority_cache_creation", "flex_cache_creation")
_CACHE_WRITE_1H: Final = "ephemeral_1h_input_tokens"
_CACHE_WRITE_BY_AGE: Final = ("ephemeral_5m_input_tokens", _CACHE_WRITE_1H)
_REASONING: Final = ("reasoning", "priority_reasoning", "flex_reasoning")
# Providers' names of the usual tier, which has no price of its own.
_USUAL_TIERS: Final = frozenset({"standard", "auto"})
_NONE: Final[Mapping[str, Any]] = {}


def metered(calls: "Calls") -> Layer:
    """Append a `Usage` to `call.spent` for each try, whether it was answered or not."""
    prices = calls.prices
    unpriced: set[str] = set()

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            target = call.target or call.targets[0]
            loading = prices.loading()
            listen, heard = call.listen, _Heard()
            if listen is not None:
                call.listen = heard.before(listen)
            began = time.perf_counter()
            try:
                answer = await following(call)
                seconds = time.perf_counter() - began
            # A try that was cancelled may have been paid as well.
            except BaseException as error:
                _spend(call, _failed(prices, target, heard, error, time.perf_counter() - began))
                raise
            finally:
                call.listen = listen
            if loading is not None:
                await asyncio.shield(loading)
            usage = _answered(prices, target, answer.result, seconds)
            if usage.cost_micros is None:
                _tell(unpriced, usage)
            _spend(call, usage)
            return answer

        return handle

    return layer


@dataclass(slots=True)
class _Heard:
    """What a stream has reported, for the case that it breaks."""

    begun: bool = False
    usage: UsageMetadata | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    def before(self, listen: Listener) -> Listener:
        """Return a listener that reads along."""

        async def reading(chunk: ChatGenerationChunk) -> None:
            self.begun = True
            message = chunk.message
            if isinstance(message, AIMessage) and message.usage_metadata:
                self.usage = add_usage(self.usage, message.usage_metadata)
                self.metadata.update(message.response_metadata)
            await listen(chunk)

        return reading


def _answered(prices: Prices, target: Target, result: ChatResult, seconds: float) -> Usage:
    message = result.generations[0].message if result.generations else None
    metadata: Mapping[str, Any] = message.response_metadata if message is not None else _NONE
    counted = message.usage_metadata if isinstance(message, AIMessage) else None
    tokens = _tokens(cast("Mapping[str, Any]", counted)) if counted else _plain(metadata, result.llm_output or _NONE)
    if tokens is None:
        return _usage(target, Tokens(), None, "answered", seconds)
    cost = prices.cost_micros(target, tokens, answered_by=_text(metadata, _MODEL_NAMES), tier=_tier(metadata))
    return _usage(target, tokens, cost, "answered", seconds)


def _failed(prices: Prices, target: Target, heard: _Heard, error: BaseException, seconds: float) -> Usage:
    if heard.usage is None:
        given_up = isinstance(error, asyncio.CancelledError) or kind_of(error) == "timeout"
        return _usage(target, Tokens(), None if heard.begun or given_up else 0, "failed", seconds)
    tokens = _tokens(cast("Mapping[str, Any]", heard.usage))
    metadata = heard.metadata
    cost = prices.cost_micros(target, tokens, answered_by=_text(metadata, _MODEL_NAMES), tier=_tier(metadata))
    return _usage(target, tokens, cost, "failed", seconds)


def _usage(
    target: Target, tokens: Tokens, cost: int | None, outcome: Literal["answered", "failed"], seconds: float
) -> Usage:
    return Usage(
        provider=target.provider,
        model=target.model,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        reasoning_tokens=tokens.reasoning,
        cost_micros=cost,
        outcome=outcome,
        seconds=seconds,
    )


def _spend(call: ModelCall, usage: Usage) -> None:
    call.spent.append(usage)
    emit("call.metered", usage=usage, agent=None if call.scope is None else call.scope.agent)


def _tell(unpriced: set[str], usage: Usage) -> None:
    model = f"{usage.provider}:{usage.model}"
    # The log shows a model once; what counts listens to each.
    emit(
        "call.unpriced", model=model, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens,
        first=model not in unpriced,
    )  # fmt: skip
    unpriced.add(model)


def _tokens(usage: Mapping[str, Any]) -> Tokens:
    """Return what LangChain counted: its `input_tokens` contain what the provider's cache read and took in."""
    of_input: Mapping[str, Any] = usage.get("input_token_details") or _NONE
    of_output: Mapping[str, Any] = usage.get("output_token_details") or _NONE
    if not of_input and not of_output:
        return Tokens(_count(usage.get("input_tokens")), _count(usage.get("output_tokens")))
    return Tokens(
        input=_count(usage.get("input_tokens")),
        output=_count(usage.get("output_tokens")),
        cache_read=_sum(of_input, _CACHE_READ),
        # Either the whole, or its parts by how long they are kept.
        cache_write=max(_sum(of_input, _CACHE_WRITE), _sum(of_input, _CACHE_WRITE_BY_AGE)),
        cache_write_1h=_count(of_input.get(_CACHE_WRITE_1H)),
        reasoning=_sum(of_output, _REASONING),
        input_audio=_count(of_input.get("audio")),
        output_audio=_count(of_output.get("audio")),
    )


def _plain(*places: Mapping[str, Any]) -> Tokens | None:
    """Return the counts of an integration that fills no `usage_metadata`; None when there are none at all."""
    for place in places:
        for name in _PLAIN_COUNTS:
            usage = place.get(name)
            if not isinstance(usage, Mapping):
                continue
            counts = cast("Mapping[str, Any]", usage)
            read = counts.get("prompt_tokens", counts.get("input_tokens"))
            written = counts.get("completion_tokens", counts.get("output_tokens"))
            if read is not None or written is not None:
                return Tokens(_count(read), _count(written))
    return None


def _tier(metadata: Mapping[str, Any]) -> str:
    tier = metadata.get("service_tier")
    return tier if isinstance(tier, str) and tier not in _USUAL_TIERS else ""


def _text(metadata: Mapping[str, Any], names: Iterable[str]) -> str:
    return next((value for name in names if isinstance(value := metadata.get(name), str)), "")


def _sum(counts: Mapping[str, Any], names: Iterable[str]) -> int:
    return sum(_count(counts[name]) for name in names if name in counts)


def _count(value: object) -> int:
    """Return a provider's figure, 0 where it cannot be one."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0
