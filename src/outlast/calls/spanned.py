"""The span of a model call: what was asked of whom, how many tries it took, and what it used."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk

from outlast.calls.call import Answer, Handler, Listener, ModelCall, Usage
from outlast.telemetry.spans import Span, span, telling_content

# As the conventions for generative AI call them.
_ROLES: Final[Mapping[str, str]] = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_MICROS: Final = 1_000_000
_ASKED: Final = ("temperature", "max_tokens", "top_p")


async def spanned(call: ModelCall, following: Handler) -> Answer:
    """Answer the call within its span."""
    first = call.targets[0]
    told = spoken(call.messages) if telling_content() else None
    asked = {name: call.options.get(name) for name in _ASKED}
    with span(
        "model",
        model=first.model,
        provider=first.provider,
        stream=call.listen is not None,
        input_messages=told,
        **asked,
    ) as current:
        if call.listen is not None:
            call.listen = _timed(call.listen, current)
        try:
            answer = await following(call)
        finally:
            current.set(tries=call.tries, **_used(call.spent))
        current.set(**_said(answer))
        return answer


def spoken(messages: Sequence[BaseMessage]) -> str:
    """Return messages in the JSON of `gen_ai.input.messages`."""
    return json.dumps([_message(message) for message in messages], default=str, ensure_ascii=False)


def _timed(listen: Listener, current: Span) -> Listener:
    began, heard = time.perf_counter(), False

    async def hear(chunk: ChatGenerationChunk) -> None:
        nonlocal heard
        if not heard:
            heard = True
            current.set(first_chunk_seconds=time.perf_counter() - began)
        await listen(chunk)

    return hear


def _used(spent: Sequence[Usage]) -> dict[str, Any]:
    """Return what this call used; what a cache or the journal answered uses nothing."""
    paid = [usage for usage in spent if usage.outcome != "cache"]
    if not paid:
        return {}
    cost = sum(usage.cost_micros or 0 for usage in paid)
    return {
        "input_tokens": sum(usage.input_tokens for usage in paid),
        "output_tokens": sum(usage.output_tokens for usage in paid),
        "cache_read_tokens": sum(usage.cache_read_tokens for usage in paid) or None,
        "cache_write_tokens": sum(usage.cache_write_tokens for usage in paid) or None,
        "reasoning_tokens": sum(usage.reasoning_tokens for usage in paid) or None,
        "cost_usd": cost / _MICROS if any(usage.cost_micros is not None for usage in paid) else None,
    }


def _said(answer: Answer) -> dict[str, Any]:
    message = answer.result.generations[0].message
    about = cast("Mapping[str, Any]", message.response_metadata)
    reason = about.get("finish_reason") or about.get("stop_reason")
    return {
        "answered_by": answer.model.partition(":")[2] or answer.model,
        "source": answer.source,
        "replayed": True if answer.source == "journal" else None,
        "response_id": about.get("id"),
        "finish_reasons": [reason] if reason else None,
        "output_messages": spoken([message]) if telling_content() else None,
    }


def _message(message: BaseMessage) -> dict[str, Any]:
    content: Any = message.content
    parts: list[dict[str, Any]] = []
    if isinstance(message, ToolMessage):
        parts.append({"type": "tool_call_response", "id": message.tool_call_id, "response": content})
    elif isinstance(content, str):
        parts += [{"type": "text", "content": content}] if content else []
    else:
        parts += [{"type": "text", "content": block} if isinstance(block, str) else dict(block) for block in content]
    if isinstance(message, AIMessage):
        parts += [
            {"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["args"]}
            for call in message.tool_calls
        ]
    return {"role": _ROLES.get(message.type, message.type), "parts": parts}
