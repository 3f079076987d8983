"""An agent that uses tools: every call of the model and of a tool is a step, and saved as one."""

import os
from typing import Any

from langgraph.pregel import Pregel
from scripted import ScriptedModel
from tools import calculate, days_between, read_example

TOOLS = [calculate, days_between, read_example]
PROMPT = "Use the tools for sums, dates and files; then answer in a sentence."


def assistant() -> Pregel:
    """Build the agent: with LangChain's `create_agent` if it is installed, else with LangGraph's own."""
    model = chat_model()
    try:
        from langchain.agents import create_agent  # noqa: PLC0415 - an optional package
    except ImportError:
        from langgraph.prebuilt import create_react_agent  # noqa: PLC0415 - the older of the two

        return create_react_agent(model, TOOLS, prompt=PROMPT)
    return create_agent(model, TOOLS, system_prompt=PROMPT)


def chat_model() -> Any:
    """Return a real model if there is a key and LangChain for it, else one that follows a script."""
    for key, name in (("ANTHROPIC_API_KEY", "anthropic:claude-haiku-4-5"), ("OPENAI_API_KEY", "openai:gpt-4o-mini")):
        if os.environ.get(key):
            try:
                from langchain.chat_models import init_chat_model  # noqa: PLC0415 - only with a key

                return init_chat_model(os.environ.get("OUTLAST_EXAMPLE_MODEL", name))
            except ImportError:
                break
    return ScriptedModel()
