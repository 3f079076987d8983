"""Policies and kill switches for tools that nobody wrapped: it hears of each tool of a run before it is called.

`outlast.middleware()` asks first, and tells the model of a refusal. A tool in a plain ToolNode, or one that a node
calls by itself, is stopped here: a refusal fails the run, since there is nobody to tell it to.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

from langchain_core.callbacks import BaseCallbackHandler

from outlast.calls import scope as scopes
from outlast.calls import tool_policy
from outlast.calls.bridging import wait_for
from outlast.refusals import PolicyRefused


class ToolGuard(BaseCallbackHandler):
    """A callback that raises. It is called in a thread, and asks on the run's loop."""

    raise_error = True
    run_inline = False
    # Of all that LangChain tells, it hears of tools alone ("agents", in its words): the rest would cost a thread each.
    ignore_chain = ignore_chat_model = ignore_custom_event = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    ignore_llm = ignore_retriever = ignore_retry = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def on_tool_start(
        self, serialized: Mapping[str, Any], input_str: str, *, inputs: Mapping[str, Any] | None = None, **given: Any
    ) -> None:
        """Ask before the tool is called; raises PolicyRefused, or what ends the task."""
        scope, tool = scopes.current.get(), str(serialized.get("name") or given.get("name") or "")
        if scope is None or tool_policy.passed.get() == str(given.get("tool_call_id")):
            return
        arguments = dict(inputs) if inputs is not None else {"input": input_str}
        why = wait_for(tool_policy.objection(scope, tool, arguments), scope.loop)
        if why is not None:
            raise PolicyRefused(policy="tools", reason=why)


class _Quiet(logging.Filter):
    """LangChain logs what a callback raises, with all it holds: here that is a question, or a run that stops."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what the guard raises."""
        given = record.args
        return not (isinstance(given, tuple) and given and cast("tuple[Any, ...]", given)[0] == ToolGuard.__name__)


GUARD: Final = ToolGuard()
logging.getLogger("langchain_core.callbacks.manager").addFilter(_Quiet())
