"""Models, tools, effects and budgets."""

from collections.abc import Mapping
from typing import Any, Final

from outlast.calls.call import Usage
from outlast.calls.kinds import Kind
from outlast.monitoring.metrics.figure import NAMES, OTHER, USUAL, counter, histogram, stored
from outlast.monitoring.metrics.meter import Handler, Meter
from outlast.telemetry import surroundings

_MICRO: Final = 1e-6
_ENDED: Final = frozenset({"ok", "error"})

TOKENS_OF_AGENT = counter(
    "agent_tokens_total", "Tokens of prompts and answers, as providers counted them.", agent_name=NAMES, model=NAMES
)
COST = counter(
    "agent_cost_usd_total", "What model calls cost, in US dollars, as far as they have a price.", agent_name=NAMES,
    model=NAMES,
)  # fmt: skip
TOKENS = counter(
    "outlast_tokens_total", "Tokens by kind; `cached` is part of the input, `reasoning` of the output.",
    agent_name=NAMES, model=NAMES, kind=("input", "output", "cached", "reasoning"),
)  # fmt: skip
MODEL_CALLS = counter(
    "outlast_model_calls_total", "Tries of model calls, by how they went.", model=NAMES, outcome=("ok", "error")
)
MODEL_SECONDS = histogram("outlast_model_call_seconds", "One try of a model call.", USUAL, model=NAMES)
RETRIES = counter(
    "outlast_retries_total", "Tries of model calls that failed and, where that helps, were made again.",
    reason=tuple(kind.value for kind in Kind),
)  # fmt: skip
FALLBACKS = counter("outlast_fallbacks_total", "Calls that went to this model instead of a preferred one.", model=NAMES)
CACHE_HITS = counter("outlast_cache_hits_total", "Answers that came from the cache.", model=NAMES)
TOOL_CALLS = counter(
    "outlast_tool_calls_total", "Calls of tools, by how they went; refused: by a policy or a person.",
    agent_name=NAMES, tool=NAMES, outcome=("ok", "error", "refused"),
)  # fmt: skip
UNKNOWN = counter("outlast_effects_unknown_total", "Effects of which nobody knows whether they were applied.")
BUDGET_STOPS = counter("outlast_budget_stops_total", "Calls that were not made because a budget had too little left.")
BUDGETS = stored(
    "outlast_budget_used_ratio", "What is spent and reserved of the fullest budget of this day, this month, or for "
    "ever; 1: all of it.", period=("day", "month", "total"), unit=("usd", "tokens"),
)  # fmt: skip
BREAKER = stored(
    "outlast_breaker_state", "0: calls pass, 1: one call tries whether the model answers again, 2: it is left alone.",
    "gauge", "max", model=NAMES,
)  # fmt: skip
BREAKERS = stored(
    "outlast_breakers_open", "API keys under which a model is left alone because it fails.", model=NAMES
)  # fmt: skip

FIGURES = (
    TOKENS_OF_AGENT, COST, TOKENS, MODEL_CALLS, MODEL_SECONDS, RETRIES, FALLBACKS, CACHE_HITS, TOOL_CALLS, UNKNOWN,
    BUDGET_STOPS, BUDGETS, BREAKER, BREAKERS,
)  # fmt: skip


def _metered(meter: Meter, fields: Mapping[str, Any]) -> None:
    usage: Usage = fields["usage"]
    agent, model = fields["agent"], f"{usage.provider}:{usage.model}"
    meter.add(MODEL_CALLS, model, "ok" if usage.outcome == "answered" else "error")
    meter.observe(MODEL_SECONDS, usage.seconds, model)
    if usage.input_tokens or usage.output_tokens:
        _tokens(meter, agent, model, usage)
    if usage.cost_micros:
        meter.add(COST, agent, model, by=usage.cost_micros * _MICRO)


def _tokens(meter: Meter, agent: str | None, model: str, usage: Usage) -> None:
    meter.add(TOKENS_OF_AGENT, agent, model, by=usage.input_tokens + usage.output_tokens)
    meter.add(TOKENS, agent, model, "input", by=usage.input_tokens)
    meter.add(TOKENS, agent, model, "output", by=usage.output_tokens)
    if usage.cache_read_tokens:
        meter.add(TOKENS, agent, model, "cached", by=usage.cache_read_tokens)
    if usage.reasoning_tokens:
        meter.add(TOKENS, agent, model, "reasoning", by=usage.reasoning_tokens)


def _tool(meter: Meter, fields: Mapping[str, Any]) -> None:
    # One that asked a person, or was cancelled, is called again.
    if fields["outcome"] in _ENDED:
        meter.add(TOOL_CALLS, surroundings().get("agent"), fields["tool"], fields["outcome"])


def _refused(meter: Meter, fields: Mapping[str, Any]) -> None:
    # Models make up tools.
    tool = fields["tool"] if fields.get("exists") else OTHER
    meter.add(TOOL_CALLS, surroundings().get("agent"), tool, "refused")


HEARD: Final[Mapping[str, Handler]] = {
    "call.metered": _metered,
    "call.try_failed": lambda meter, fields: meter.add(RETRIES, fields["kind"]),
    "call.fell_back": lambda meter, fields: meter.add(FALLBACKS, fields["model"]),
    "call.cached": lambda meter, fields: meter.add(CACHE_HITS, fields["model"]),
    "tool.ended": _tool,
    "tool.refused": _refused,
    "effect.unknown": lambda meter, _: meter.add(UNKNOWN),
    "budget.exceeded": lambda meter, _: meter.add(BUDGET_STOPS),
}
