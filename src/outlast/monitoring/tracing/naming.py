"""Our spans and fields in the words of OpenTelemetry's semantic conventions.

`gen_ai.*` of https://github.com/open-telemetry/semantic-conventions-genai, `db.*`, `http.*` and `error.*` of
https://opentelemetry.io/docs/specs/semconv/; what they have no words for is `outlast.*`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

Attribute: TypeAlias = str | bool | int | float | Sequence[str]
Attributes: TypeAlias = dict[str, Attribute]

#: What a span has that everything below it has, too. Each costs 5 us for each span.
INHERITED: Final[Mapping[str, str]] = {
    "run_id": "outlast.run_id",
    "thread_id": "gen_ai.conversation.id",
    "agent": "gen_ai.agent.name",
}
_NAMED: Final[Mapping[str, str]] = {
    "tenant": "outlast.tenant",
    # What Langfuse and Phoenix group by.
    "session": "session.id",
    "epoch": "outlast.epoch",
    "attempt": "outlast.attempt",
    "outcome": "outlast.outcome",
    "error": "error.type",
    "node": "outlast.node",
    "step": "outlast.step",
    "tool": "gen_ai.tool.name",
    "call_id": "gen_ai.tool.call.id",
    "effect": "outlast.effect",
    "key": "outlast.effect.key",
    "replayed": "outlast.replayed",
    "model": "gen_ai.request.model",
    "answered_by": "gen_ai.response.model",
    "stream": "gen_ai.request.stream",
    "temperature": "gen_ai.request.temperature",
    "max_tokens": "gen_ai.request.max_tokens",
    "top_p": "gen_ai.request.top_p",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "cost_usd": "outlast.cost_usd",
    "first_chunk_seconds": "gen_ai.response.time_to_first_chunk",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "response_id": "gen_ai.response.id",
    "source": "outlast.source",
    "tries": "outlast.tries",
    "rows": "outlast.rows",
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "request_id": "outlast.request_id",
    "kind": "outlast.kind",
    "policy": "outlast.policy",
    "state": "outlast.state",
    "seconds": "outlast.seconds",
    "worker_id": "outlast.worker_id",
}
#: Only where the settings ask for content; texts, redacted.
CONTENT: Final[Mapping[str, str]] = {
    "input_messages": "gen_ai.input.messages",
    "output_messages": "gen_ai.output.messages",
    "arguments": "gen_ai.tool.call.arguments",
    "result": "gen_ai.tool.call.result",
    "user_id": "user.id",
}
_PROVIDERS: Final[Mapping[str, str]] = {
    "azure_openai": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
    "ibm": "ibm.watsonx.ai",
}
_FIXED: Final[Mapping[str, Attributes]] = {
    "run": {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "outlast"},
    "model": {"gen_ai.operation.name": "chat"},
    "tool": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.type": "function"},
    "database": {"db.system.name": "postgresql"},
    "checkpoint": {"db.system.name": "postgresql", "db.operation.name": "checkpoint"},
}
_INFERRED: Final[Mapping[str, str]] = {"run": "AGENT", "node": "CHAIN", "model": "LLM", "tool": "TOOL"}
_TWINS: Final[Mapping[str, str]] = {
    "gen_ai.request.model": "llm.model_name",
    "gen_ai.provider.name": "llm.provider",
    "gen_ai.usage.input_tokens": "llm.token_count.prompt",
    "gen_ai.usage.output_tokens": "llm.token_count.completion",
    "gen_ai.tool.name": "tool.name",
    "gen_ai.input.messages": "input.value",
    "gen_ai.output.messages": "output.value",
    "gen_ai.tool.call.arguments": "input.value",
    "gen_ai.tool.call.result": "output.value",
}


def attributes_of(fields: Mapping[str, Any]) -> Attributes:
    """Return the attributes of fields whose names are known and that have a value; the others say nothing."""
    said: Attributes = {}
    for name, value in fields.items():
        if value is None:
            continue
        known = _NAMED.get(name)
        if known is not None:
            said[known] = _plain(value)
        elif name in INHERITED:
            said[INHERITED[name]] = str(value)
        elif name == "provider":
            said["gen_ai.provider.name"] = _PROVIDERS.get(value, str(value))
        elif name == "statement":
            said |= _statement(value)
    return said


def fixed(name: str, *, openinference: bool) -> Attributes:
    """Return what every span of this name says."""
    said = _FIXED.get(name, {})
    return {**said, "openinference.span.kind": _INFERRED[name]} if openinference and name in _INFERRED else said


def twins(said: Attributes) -> Attributes:
    """Return the attributes that OpenInference has for the same under other names."""
    return {_TWINS[name]: value for name, value in said.items() if name in _TWINS}


def title(name: str, fields: Mapping[str, Any]) -> str:
    """Return what a span is called: of few different words, so that receivers can count by it."""
    return _TITLES[name](fields) if name in _TITLES else name


def _plain(value: Any) -> Attribute:
    if isinstance(value, (str, bool, int, float)):
        return value
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


_TITLES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "request": lambda fields: str(fields["method"]),
    "run": lambda fields: f"invoke_agent {fields['agent']}",
    "node": lambda fields: f"node {fields['node']}",
    "model": lambda fields: f"chat {fields['model']}",
    "tool": lambda fields: f"execute_tool {fields['tool']}",
    "effect": lambda fields: f"effect {fields['effect']}",
    "database": lambda fields: _summary(fields["statement"]),
}

_VERB: Final = re.compile(rb"\b(SELECT|INSERT|UPDATE|DELETE)\b")
_TABLE: Final = re.compile(rb"\b(?:FROM|INTO|UPDATE)\s+([a-z_]+)\b")
_MOST_TEXT: Final = 1000


@lru_cache(maxsize=1024)
def summary(statement: bytes | str) -> str:
    """Return what a statement does, as `UPDATE runs`; a name stays as it is."""
    if isinstance(statement, str):
        return statement
    verbs = _VERB.findall(statement)
    if not verbs:
        return statement.split(maxsplit=1)[0].decode()[:40] if statement else "statement"
    # What writes says more than what it reads for that.
    verb = next((found for found in verbs if found != b"SELECT"), verbs[0])
    table = _TABLE.search(statement, statement.find(verb))
    return f"{verb.decode()} {table[1].decode()}" if table else verb.decode()


def _summary(statement: bytes | str | Sequence[str]) -> str:
    # Several of ours in one transaction are known by their names.
    return summary(statement) if isinstance(statement, (bytes, str)) else ", ".join(statement)


def _statement(statement: bytes | str | Sequence[str]) -> Attributes:
    said: Attributes = {"db.query.summary": _summary(statement)}
    if isinstance(statement, bytes):
        # With $1 in the place of values.
        said["db.query.text"] = statement[:_MOST_TEXT].decode(errors="replace")
    return said
