"""`outlast.middleware()`: what surrounds the tools of an agent, as LangChain's middleware or in a ToolNode.

    create_agent(model, tools, middleware=[outlast.middleware(reads={"search"}, effects={"send_mail"})])
    ToolNode(tools, **outlast.middleware(reads={"search"}).hooks)

A call of a tool passes, outermost first: the model is told of an error; policies and kill switches are asked; the
result is cut to size; then an effect is applied once, or a read is repeated while it fails; and each call has its time.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest
from langgraph.prebuilt.tool_node import ToolCallRequest

from outlast.agents import tool_effects
from outlast.agents.tool_calling import (
    AsyncHandler,
    Handler,
    Result,
    fitting,
    repeated,
    repeated_sync,
    within,
    within_sync,
)
from outlast.agents.tool_failures import answered, wrong_arguments
from outlast.agents.tool_permission import asked, asked_sync, passing
from outlast.agents.tool_rules import Timeouts, ToolRules, rules, settings_now
from outlast.calls.history import mended
from outlast.settings import CallSettings


class OutlastMiddleware(AgentMiddleware[Any, Any, Any]):
    """Made by `outlast.middleware()`. It keeps nothing, so that one may serve any number of agents and threads."""

    def __init__(self, of: ToolRules) -> None:
        super().__init__()
        self.tools = []
        self._rules = of

    @property
    def hooks(self) -> dict[str, Any]:
        """The arguments that make a ToolNode do the same: `ToolNode(tools, **middleware.hooks)`."""
        return {
            "wrap_tool_call": self.wrap_tool_call,
            "awrap_tool_call": self.awrap_tool_call,
            "handle_tool_errors": wrong_arguments,
        }

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncHandler) -> Result:
        """Call the tool; an exception that the model can do something about becomes its result."""
        settings, name = settings_now(), request.tool_call["name"]
        kind, seconds = self._rules.kind(name, request.tool), self._rules.seconds(name, settings)
        limit_bytes = self._limit_bytes(settings)

        async def call(asked: ToolCallRequest) -> Result:
            result = await within(name, seconds, lambda: handler(asked))
            return fitting(result, limit_bytes, name)

        try:
            if (refusal := await asked(request)) is not None:
                return refusal
            with passing(request):
                if kind == "effect":
                    return await tool_effects.applied(request, call, self._rules.effects.get(name, {}), seconds=seconds)
                return await repeated(self._tries(kind, settings), settings, lambda: call(request))
        # A tool is the user's code and may raise anything.
        except Exception as error:  # noqa: BLE001
            return answered(request, error)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Result:
        """Do the same where the graph was called synchronously."""
        settings, name = settings_now(), request.tool_call["name"]
        kind, seconds = self._rules.kind(name, request.tool), self._rules.seconds(name, settings)
        limit_bytes = self._limit_bytes(settings)

        def call(asked: ToolCallRequest) -> Result:
            return fitting(within_sync(name, seconds, lambda: handler(asked)), limit_bytes, name)

        try:
            if (refusal := asked_sync(request)) is not None:
                return refusal
            with passing(request):
                if kind == "effect":
                    return tool_effects.applied_sync(request, call, self._rules.effects.get(name, {}), seconds=seconds)
                return repeated_sync(self._tries(kind, settings), settings, lambda: call(request))
        # As above.
        except Exception as error:  # noqa: BLE001
            return answered(request, error)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> Any:
        """Ask the model with tool calls and results in pairs; `outlast.chat_model` does so by itself."""
        return await handler(_mended(request))

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Any:
        """Do the same where the graph was called synchronously."""
        return handler(_mended(request))

    def _tries(self, kind: str | None, settings: CallSettings) -> int:
        return (self._rules.read_tries or settings.tools.read_tries) if kind == "read" else 1

    def _limit_bytes(self, settings: CallSettings) -> int:
        return self._rules.max_result_bytes or settings.tools.max_result_bytes


def middleware(
    *,
    reads: Iterable[str] = (),
    effects: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
    timeout: Timeouts = None,
    max_result_bytes: int | None = None,
    read_tries: int | None = None,
) -> OutlastMiddleware:
    """Return the middleware for `create_agent(..., middleware=[...])`, or for a ToolNode by its `hooks`.

    - An exception in a tool becomes a result that the model can read: its class and a short message, without keys,
      tokens and passwords, without a stack. What is about the run passes on: interrupts and cancellation, a lost
      lease, a cap, a database or a provider that is away, an effect whose outcome nobody knows.
    - `reads`, or tools with `metadata={"outlast": "read"}`: tried again, `read_tries` times in all.
    - `effects`, or `metadata={"outlast": "effect"}`: applied through `outlast.effect`, once for each call of the
      model, also if the step is executed again. A parameter `idempotency_key` of the tool gets the key. As a mapping,
      it says more by name: `{"refund": {"on_unknown": "retry"}}`.
    - Policies (`[policies.tools]`) and kill switches are asked first; the model is told of a refusal.
    - `timeout`: seconds for one call, or a mapping by name, where None is no limit (for tools that run agents of
      their own, like `task` of deepagents). A sync tool cannot be stopped; it is no longer waited for.
    - `max_result_bytes`: longer results are cut, and say so.
    - Tool calls and results of the history are paired before each model call (`calls.mend_history`).

    What is not given is taken from `[calls.tools]`. Composes with LangChain's own middleware in any order; as the
    first of the list it also sees what the others raise. Raises ConfigurationError when a tool is in both sets.
    """
    return OutlastMiddleware(
        rules(reads=reads, effects=effects, timeout=timeout, max_result_bytes=max_result_bytes, read_tries=read_tries)
    )


def _mended(request: ModelRequest[Any]) -> ModelRequest[Any]:
    if not settings_now().mend_history:
        return request
    messages = mended(request.messages)
    return request if messages is request.messages else request.override(messages=messages)
