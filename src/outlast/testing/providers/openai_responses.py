"""OpenAI's responses: `POST /v1/responses`, which reasoning models and OpenAI's own tools need."""

import time
from collections.abc import Iterator
from typing import Any

from outlast.testing.providers.openai_chat import OpenAIChat, arguments_of, forced_tools
from outlast.testing.providers.replies import Reply, TokenUsage, ToolCall, pieces
from outlast.testing.providers.requests import Request, WireName, section
from outlast.testing.providers.wires import Frame, Wanted, event


class OpenAIResponses(OpenAIChat):
    """Output in items, and a stream that ends with the whole response. Errors are those of chat completions."""

    name: WireName = "openai-responses"
    path = "/v1/responses"

    def whole(self, request: Request, reply: Reply, usage: TokenUsage | None) -> dict[str, Any]:
        """Return a `response`."""
        items = [_item(request, at, part) for at, part in enumerate(_parts(reply))]
        return _response(request, reply, usage, items)

    def frames(self, request: Request, reply: Reply, usage: TokenUsage | None) -> list[Frame]:
        """Return `response.created` to `response.completed` (or `.incomplete`)."""
        found = [*_opening(request, reply), *_body(request, reply), *_closing(request, reply, usage, self)]
        return [
            event({**fields, "sequence_number": at}, name=fields["type"], content=_says(fields["type"]))
            for at, fields in enumerate(found)
        ]

    def error_frame(self, status: int, code: str, message: str) -> Frame:
        """Return the `error` event."""
        del status
        return event({"type": "error", "code": code, "message": message, "param": None}, name="error")

    def problem(self, request: Request) -> str | None:
        """Refuse calls of functions without an output, and outputs without a call."""
        if not request.model:
            return "Missing required parameter: 'model'."
        if not request.messages:
            return "Missing required parameter: 'input'."
        # What went before may be with the provider, under this id.
        if request.body.get("previous_response_id"):
            return None
        calls = [str(item.get("call_id")) for item in request.messages if item.get("type") == "function_call"]
        outputs = [str(item.get("call_id")) for item in request.messages if item.get("type") == "function_call_output"]
        if missing := [call for call in calls if call not in outputs]:
            return f"No tool output found for function call {missing[0]}."
        if strange := [output for output in outputs if output not in calls]:
            return f"No tool call found for function call output with call_id {strange[0]}."
        return None

    def wanted(self, request: Request) -> list[Wanted]:
        """Return the schema of `text.format`, or of the tools that `tool_choice` forces."""
        form = section(request.part("text"), "format")
        if form.get("type") == "json_schema":
            return [Wanted(form.get("schema", {}))]
        return forced_tools(request)


def _says(kind: str) -> bool:
    return kind.endswith(".delta")


def _response(request: Request, reply: Reply, usage: TokenUsage | None, items: list[dict[str, Any]]) -> dict[str, Any]:
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finished)
    return {
        "id": f"resp_{request.number:06}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": cut} if cut else None,
        "instructions": request.body.get("instructions"),
        "metadata": {},
        "model": request.model,
        "output": items,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": request.body.get("tool_choice", "auto"),
        "tools": request.tool_schemas,
        "top_p": 1.0,
        "usage": None if usage is None else _usage(usage),
    }


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _parts(reply: Reply) -> list[tuple[str, str | ToolCall]]:
    parts: list[tuple[str, str | ToolCall]] = [("reasoning", reply.thinking)] if reply.thinking else []
    if reply.text:
        parts.append(("output_text", reply.text))
    if reply.refusal:
        parts.append(("refusal", reply.refusal))
    return parts + [("function_call", call) for call in reply.tool_calls]


def _item(request: Request, at: int, part: tuple[str, str | ToolCall], *, empty: bool = False) -> dict[str, Any]:
    """Return an item of the output; `empty` as the stream announces it."""
    kind, said = part
    name, status = f"{request.number:06}_{at}", "in_progress" if empty else "completed"
    if isinstance(said, ToolCall):
        called = {"call_id": said.id or f"call_{name}", "name": said.name}
        arguments = "" if empty else arguments_of(said)
        return {"id": f"fc_{name}", "type": "function_call", "status": status, **called, "arguments": arguments}
    if kind == "reasoning":
        return {"id": f"rs_{name}", "type": kind, "summary": [] if empty else [{"type": "summary_text", "text": said}]}
    content = [] if empty else [_content(kind, said)]
    return {"id": f"msg_{name}", "type": "message", "role": "assistant", "status": status, "content": content}


def _content(kind: str, text: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": kind, kind: text}
    return {"type": kind, "text": text, "annotations": [], "logprobs": []}


def _opening(request: Request, reply: Reply) -> Iterator[dict[str, Any]]:
    begun = _response(request, reply, None, []) | {"status": "in_progress", "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}


def _body(request: Request, reply: Reply) -> Iterator[dict[str, Any]]:
    for at, part in enumerate(_parts(reply)):
        item = _item(request, at, part)
        yield {"type": "response.output_item.added", "output_index": at, "item": _item(request, at, part, empty=True)}
        yield from _said(item, at, part, reply.chunk_characters)
        yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _said(item: dict[str, Any], at: int, part: tuple[str, str | ToolCall], characters: int) -> Iterator[dict[str, Any]]:
    kind, said = part
    where = {"item_id": item["id"], "output_index": at}
    if isinstance(said, ToolCall):
        yield from _pieces("response.function_call_arguments", "arguments", arguments_of(said), where, characters)
        return
    if kind == "reasoning":
        where["summary_index"] = 0
        added, name, field, empty = "reasoning_summary_part", "reasoning_summary_text", "text", "summary_text"
        begun, whole = {"type": empty, "text": ""}, {"type": empty, "text": said}
    else:
        where["content_index"] = 0
        added, name, field = "content_part", kind, "refusal" if kind == "refusal" else "text"
        begun, whole = _content(kind, ""), _content(kind, said)
    yield {"type": f"response.{added}.added", **where, "part": begun}
    yield from _pieces(f"response.{name}", field, said, where, characters)
    yield {"type": f"response.{added}.done", **where, "part": whole}


def _pieces(name: str, field: str, text: str, where: dict[str, Any], characters: int) -> Iterator[dict[str, Any]]:
    logprobs: dict[str, Any] = {"logprobs": []} if name == "response.output_text" else {}
    for piece in pieces(text, characters):
        yield {"type": f"{name}.delta", **where, "delta": piece, **logprobs}
    yield {"type": f"{name}.done", **where, field: text, **logprobs}


def _closing(
    request: Request, reply: Reply, usage: TokenUsage | None, wire: OpenAIResponses
) -> Iterator[dict[str, Any]]:
    whole = wire.whole(request, reply, usage)
    yield {"type": f"response.{whole['status']}", "response": whole}
