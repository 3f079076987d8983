"""An agent that uses tools: every call of the model and of a tool is a step, and saved as one."""

import os
from typing import Any

from langchain.agents import create_agent
from langgraph.pregel import Pregel
from scripted import ScriptedModel

import outlast
from tools import calculate, days_between, read_example

TOOLS = [calculate, days_between, read_example]
PROMPT = "Use the tools for sums, dates and files; then answer in a sentence."
MODELS = {"ANTHROPIC_API_KEY": "anthropic:claude-haiku-4-5", "OPENAI_API_KEY": "openai:gpt-4o-mini"}


def assistant() -> Pregel:
    """Build the agent."""
    # What a tool raises is told to the model; all three only read, so they are tried again.
    guard = outlast.middleware(reads={tool.name for tool in TOOLS})
    return create_agent(chat_model(), TOOLS, system_prompt=PROMPT, middleware=[guard])


def chat_model() -> Any:
    """Return real models if there are keys for them, else one that follows a script."""
    names = [name for key, name in MODELS.items() if os.environ.get(key)]
    if not names:
        return outlast.wrap(ScriptedModel())
    first, *fallbacks = [os.environ.get("OUTLAST_EXAMPLE_MODEL", names[0]), *names[1:]]
    return outlast.chat_model(first, fallbacks=fallbacks)
