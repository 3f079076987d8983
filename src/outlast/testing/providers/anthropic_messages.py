"""Anthropic's messages: `POST /v1/messages`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from outlast.testing.providers.openai_chat import arguments_of
from outlast.testing.providers.replies import Reply, TokenUsage, ToolCall, pieces
from outlast.testing.providers.requests import Request, WireName, blocks_of, section
from outlast.testing.providers.wires import Frame, Wanted, event

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class AnthropicMessages:
    """Content in blocks, and a stream that says what it does."""

    name: WireName = "anthropic"
    path = "/v1/messages"

    def whole(self, request: Request, reply: Reply, usage: TokenUsage | None) -> dict[str, Any]:
        """Return a `message`."""
        body = _head(request) | {
            "content": [_block(request, reply, at) for at in range(len(_parts(reply)))],
            "stop_reason": _STOPS[reply.finished],
        }
        return body if usage is None else body | {"usage": _usage(usage)}

    def frames(self, request: Request, reply: Reply, usage: TokenUsage | None) -> list[Frame]:
        """Return `message_start` to `message_stop`."""
        return list(_frames(request, reply, usage))

    def error(self, status: int, code: str, message: str) -> dict[str, Any]:
        """Return the body of a refusal; this wire has no codes, only types."""
        kind = code if code in _TYPES.values() else _TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_outlast"}

    def error_frame(self, status: int, code: str, message: str) -> Frame:
        """Return the `error` event, which Anthropic sends when it is overloaded in mid-stream."""
        return event(self.error(status, code, message), name="error")

    def rate_headers(self, limit: int, remaining: int, reset_seconds: float) -> dict[str, str]:
        """Return the `anthropic-ratelimit` headers of requests."""
        reset_at = datetime.now(UTC) + timedelta(seconds=reset_seconds)
        return {
            "anthropic-ratelimit-requests-limit": str(limit),
            "anthropic-ratelimit-requests-remaining": str(remaining),
            "anthropic-ratelimit-requests-reset": reset_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    def problem(self, request: Request) -> str | None:
        """Refuse what Anthropic refuses; see `_problems`."""
        return next(_problems(request), None)

    def wanted(self, request: Request) -> list[Wanted]:
        """Return the schema of `output_config`, or of the tools that `tool_choice` forces."""
        if form := section(request.part("output_config"), "format") or request.part("output_format"):
            return [Wanted(form.get("schema", {}))]
        choice = request.part("tool_choice")
        if choice.get("type") not in {"any", "tool"}:
            return []
        return [
            Wanted(tool.get("input_schema") or {}, tool["name"])
            for tool in request.tool_schemas
            if choice.get("name") in {None, tool.get("name")}
        ]


def _problems(request: Request) -> Iterator[str]:
    for field in ("model", "max_tokens", "messages"):
        if not request.body.get(field):
            yield f"{field}: Field required"
    for at, message in enumerate(request.messages):
        if not message.get("content") and at + 1 < len(request.messages):
            yield f"messages.{at}: all messages must have non-empty content except for the optional final assistant one"
        if any(block.get("type") == "text" and not block.get("text") for block in blocks_of(message)):
            yield "messages: text content blocks must be non-empty"
    yield from _unpaired(request.messages)


def _unpaired(messages: list[dict[str, Any]]) -> Iterator[str]:
    # Results follow in the very next message, which is not there at the end.
    for at, (message, following) in enumerate(pairwise([{}, *messages, {}])):
        calls = _ids(message, "tool_use", "id")
        results = _ids(following, "tool_result", "tool_use_id")
        if len(calls) != len(set(calls)):
            yield f"messages.{at - 1}: `tool_use` ids must be unique"
        if missing := [call for call in calls if call not in results]:
            yield (
                f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks immediately after:"
                f" {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block"
                " in the next message."
            )
        if len(results) != len(set(results)):
            yield f"messages.{at}: each `tool_use` must have a single result. Found multiple `tool_result` blocks."
        if strange := [result for result in results if result not in calls]:
            yield (
                f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(strange)}."
                " Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )


def _ids(message: dict[str, Any], kind: str, field: str) -> list[str]:
    return [str(block[field]) for block in blocks_of(message) if block.get("type") == kind]


def _head(request: Request) -> dict[str, Any]:
    return {
        "id": f"msg_{request.number:06}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(usage: TokenUsage) -> dict[str, Any]:
    # Here, and only here, what the cache served or took in is not part of the input.
    return {
        "input_tokens": usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
    }


def _parts(reply: Reply) -> list[tuple[str, str | ToolCall]]:
    parts: list[tuple[str, str | ToolCall]] = [("thinking", reply.thinking)] if reply.thinking else []
    if text := reply.text or reply.refusal:
        parts.append(("text", text))
    return parts + [("tool_use", call) for call in reply.tool_calls]


def _block(request: Request, reply: Reply, at: int) -> dict[str, Any]:
    kind, part = _parts(reply)[at]
    if isinstance(part, str):
        return {"type": kind, kind: part} | ({"signature": "c2lnbmVk"} if kind == "thinking" else {})
    return _tool_use(request, at, part, part.arguments if isinstance(part.arguments, str) else dict(part.arguments))


def _tool_use(request: Request, at: int, call: ToolCall, arguments: Any) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call.id or f"toolu_{request.number:06}_{at}",
        "name": call.name,
        "input": arguments,
    }


def _frames(request: Request, reply: Reply, usage: TokenUsage | None) -> Iterator[Frame]:
    first: dict[str, Any] = {} if usage is None else {"usage": _usage(usage) | {"output_tokens": 1}}
    yield _event("message_start", message=_head(request) | first)
    yield _event("ping")
    for at, (kind, part) in enumerate(_parts(reply)):
        yield from _block_frames(request, reply, at, kind, part)
    # Cumulative: all of it again. What the SDKs report comes from here.
    last: dict[str, Any] = {} if usage is None else {"usage": _usage(usage)}
    yield _event("message_delta", **last, delta={"stop_reason": _STOPS[reply.finished], "stop_sequence": None})
    yield _event("message_stop")


def _block_frames(request: Request, reply: Reply, at: int, kind: str, part: str | ToolCall) -> Iterator[Frame]:
    if isinstance(part, str):
        empty, delta, field, text = {"type": kind, kind: ""}, f"{kind}_delta", kind, part
    else:
        empty, delta, field = _tool_use(request, at, part, {}), "input_json_delta", "partial_json"
        text = arguments_of(part)
    yield _event("content_block_start", index=at, content_block=empty)
    for piece in pieces(text, reply.chunk_characters):
        yield _event("content_block_delta", index=at, delta={"type": delta, field: piece})
    if kind == "thinking":
        yield _event("content_block_delta", index=at, delta={"type": "signature_delta", "signature": "c2lnbmVk"})
    yield _event("content_block_stop", index=at)


def _event(kind: str, **fields: Any) -> Frame:
    said = kind == "content_block_delta" and fields["delta"]["type"] != "signature_delta"
    return event({"type": kind, **fields}, name=kind, content=said)
