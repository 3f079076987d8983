"""OpenAI's chat completions: `POST /v1/chat/completions`."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

from outlast.testing.providers.replies import Reply, TokenUsage, ToolCall, pieces
from outlast.testing.providers.requests import Request, WireName, items, section
from outlast.testing.providers.wires import Frame, Wanted, event

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


class OpenAIChat:
    """The format that most clients and most other providers speak."""

    name: WireName = "openai"
    path = "/v1/chat/completions"

    def whole(self, request: Request, reply: Reply, usage: TokenUsage | None) -> dict[str, Any]:
        """Return a `chat.completion`."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal or None}
        if reply.tool_calls:
            message["tool_calls"] = [_tool_call(request, at, call) for at, call in enumerate(reply.tool_calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finished}
        body = _head(request, "chat.completion") | {"choices": [choice]}
        return body if usage is None else body | {"usage": usage_of(usage)}

    def frames(self, request: Request, reply: Reply, usage: TokenUsage | None) -> list[Frame]:
        """Return `chat.completion.chunk`s and `[DONE]`; usage comes last, and only if it was asked for."""
        head = _head(request, "chat.completion.chunk")
        frames = [_chunk(head, delta, content=content) for delta, content in _deltas(request, reply)]
        frames.append(_chunk(head, {}, finish=reply.finished))
        if usage is not None and request.part("stream_options").get("include_usage"):
            frames.append(event(head | {"choices": [], "usage": usage_of(usage)}))
        return [*frames, event("[DONE]")]

    def error(self, status: int, code: str, message: str) -> dict[str, Any]:
        """Return the body of a refusal."""
        return {"error": {"message": message, "type": _TYPES.get(status, "server_error"), "param": None, "code": code}}

    def error_frame(self, status: int, code: str, message: str) -> Frame:
        """Return what the SDK raises as an APIError in mid-stream."""
        return event(self.error(status, code, message))

    def rate_headers(self, limit: int, remaining: int, reset_seconds: float) -> dict[str, str]:
        """Return the `x-ratelimit` headers of requests."""
        return {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(remaining),
            "x-ratelimit-reset-requests": f"{reset_seconds:.3f}s",
        }

    def problem(self, request: Request) -> str | None:
        """Refuse what OpenAI refuses: no model, no messages, tool calls and results that do not belong together."""
        if not request.model:
            return "you must provide a model parameter"
        if not request.messages:
            return "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array."
        return _unpaired(request.messages)

    def wanted(self, request: Request) -> list[Wanted]:
        """Return the schema of `response_format`, or of the tools that `tool_choice` forces."""
        asked = request.part("response_format")
        if asked.get("type") == "json_schema":
            return [Wanted(section(section(asked, "json_schema"), "schema"))]
        if asked.get("type") == "json_object":
            return [Wanted({"type": "object"})]
        return forced_tools(request)


def forced_tools(request: Request) -> list[Wanted]:
    """Return the tools of which one has to be called."""
    tools: list[dict[str, Any]] = [tool.get("function", tool) for tool in request.tool_schemas]
    choice = request.part("tool_choice")
    if not choice and request.body.get("tool_choice") != "required":
        return []
    name = choice.get("function", choice).get("name")
    fitting = [tool for tool in tools if tool.get("name") and name in {None, tool["name"]}]
    return [Wanted(section(tool, "parameters"), tool["name"]) for tool in fitting]


def _unpaired(messages: list[dict[str, Any]]) -> str | None:
    open_calls: list[str] = []
    for at, message in enumerate(messages):
        if message.get("role") != "tool":
            if open_calls:
                break
            open_calls = [str(call.get("id")) for call in items(message, "tool_calls")]
        elif message.get("tool_call_id") not in open_calls:
            return (
                f"Invalid parameter: messages[{at}] with role 'tool' must be a response to a preceding message"
                " with 'tool_calls'."
            )
        else:
            open_calls.remove(message["tool_call_id"])
    if open_calls:
        return (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
            f" 'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}"
        )
    return None


def usage_of(usage: TokenUsage) -> dict[str, Any]:
    """Return `usage` in OpenAI's words."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


def arguments_of(call: ToolCall) -> str:
    """Return the arguments as the text that goes over the wire."""
    return call.arguments if isinstance(call.arguments, str) else json.dumps(dict(call.arguments))


def _head(request: Request, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.number:06}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_outlast",
    }


def _tool_call(request: Request, at: int, call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments_of(call)}
    return {"id": call.id or f"call_{request.number:06}_{at}", "type": "function", "function": function}


def _deltas(request: Request, reply: Reply) -> Iterator[tuple[dict[str, Any], bool]]:
    yield {"role": "assistant", "content": None if reply.tool_calls else "", "refusal": None}, False
    for piece in pieces(reply.text, reply.chunk_characters):
        yield {"content": piece}, True
    for piece in pieces(reply.refusal, reply.chunk_characters):
        yield {"refusal": piece}, True
    for at, call in enumerate(reply.tool_calls):
        whole = _tool_call(request, at, call)
        arguments = whole["function"]["arguments"]
        yield {"tool_calls": [{"index": at, **whole, "function": {"name": call.name, "arguments": ""}}]}, True
        for piece in pieces(arguments, reply.chunk_characters):
            yield {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}, True


def _chunk(head: dict[str, Any], delta: dict[str, Any], *, finish: str | None = None, content: bool = False) -> Frame:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return event(head | {"choices": [choice], "usage": None}, content=content)
