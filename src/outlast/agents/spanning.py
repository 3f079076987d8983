"""Spans of what LangGraph and LangChain call: nodes, tools, and models, of inner graphs and in parallel ones, too.

They tell it as callbacks in the task that is about to call, so what is begun here is the current span of all that
happens inside. One for each attempt that is traced; without traces there is none.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from outlast.calls.spanned import spoken
from outlast.telemetry.spans import OpenSpan, opened, telling_content, tracing

_NODE: Final = "graph:step:"


def spans() -> list[BaseCallbackHandler]:
    """Return the callbacks of one attempt that make its spans; none where nobody traces."""
    return [_Spanning()] if tracing() else []


class _Spanning(BaseCallbackHandler):
    # In the task itself: a span that is begun anywhere else is nobody's parent.
    run_inline = True
    ignore_custom_event = ignore_retriever = ignore_retry = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self) -> None:
        self._open: dict[UUID, OpenSpan] = {}

    def on_chain_start(
        self,
        serialized: Mapping[str, Any] | None,  # noqa: ARG002 - LangChain's signature
        inputs: Any,  # noqa: ARG002 - as above
        *,
        run_id: UUID,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Begin the span of a node, if that is what begins."""
        about, name = metadata or {}, str(given.get("name") or "")
        if about.get("langgraph_node") != name or name.startswith("__"):
            return
        if any(tag.startswith(_NODE) for tag in tags or ()):
            self._begin(run_id, "node", node=name, step=about.get("langgraph_step"))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """End it."""
        self._end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """End it with what left the node."""
        self._end(run_id, error)

    def on_tool_start(
        self,
        serialized: Mapping[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        inputs: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Begin the span of a tool."""
        name = str(given.get("name") or (serialized or {}).get("name") or "")
        told = _text(inputs if inputs is not None else input_str) if telling_content() else None
        self._begin(run_id, "tool", tool=name, call_id=given.get("tool_call_id"), arguments=told)

    def on_tool_end(self, output: Any, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """End it; the result may be an error that the model is told."""
        span = self._open.get(run_id)
        if span is not None and telling_content():
            span.set(result=_text(getattr(output, "content", output)))
        if span is not None and getattr(output, "status", None) == "error":
            span.set(outcome="error", error="tool_error", failed=True)
        self._end(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """End it with what the tool raised."""
        self._end(run_id, error)

    def on_chat_model_start(
        self,
        serialized: Mapping[str, Any] | None,  # noqa: ARG002 - LangChain's signature
        messages: Sequence[Sequence[BaseMessage]],
        *,
        run_id: UUID,
        metadata: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Begin the span of a model; one of ours says in it how it was called."""
        about = metadata or {}
        parameters = cast("Mapping[str, Any]", given.get("invocation_params") or {})
        model = about.get("ls_model_name") or parameters.get("model") or parameters.get("_type") or "unknown"
        told = spoken(messages[0]) if messages and telling_content() else None
        self._begin(
            run_id, "model", model=model, provider=about.get("ls_provider"), temperature=about.get("ls_temperature"),
            max_tokens=about.get("ls_max_tokens"), input_messages=told,
        )  # fmt: skip

    def on_llm_end(self, response: Any, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """End it; a model that is not ours says here what it used."""
        span = self._open.get(run_id)
        if span is not None and not span.adopted:
            span.set(**_answered(response))
        self._end(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """End it with what the model raised."""
        self._end(run_id, error)

    def _begin(self, run_id: UUID, name: str, **fields: Any) -> None:
        span = opened(name, **fields)
        if span is not None:
            self._open[run_id] = span

    def _end(self, run_id: UUID, error: BaseException | None = None) -> None:
        span = self._open.pop(run_id, None)
        if span is None:
            return
        if isinstance(error, GraphBubbleUp):
            span.set(outcome="interrupt" if isinstance(error, GraphInterrupt) else "drained")
            error = None
        span.end(error)


def _answered(response: Any) -> dict[str, Any]:
    """Return what a model's answer says of itself, in LangChain's words."""
    try:
        message = response.generations[0][0].message
    except (AttributeError, IndexError):
        return {}
    usage = cast("Mapping[str, Any]", getattr(message, "usage_metadata", None) or {})
    about = cast("Mapping[str, Any]", message.response_metadata or {})
    reason = about.get("finish_reason") or about.get("stop_reason")
    return {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "answered_by": about.get("model_name") or about.get("model"),
        "response_id": about.get("id"),
        "finish_reasons": [reason] if reason else None,
        "output_messages": spoken([message]) if telling_content() else None,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
