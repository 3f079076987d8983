"""An agent whose tools take their worker with them; the witness counts what they have done."""

import os
import signal
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool
from witness import PATH_VARIABLE, say, seen

import outlast


@tool
async def die(times: int) -> str:
    """Kill the process, the first so many times."""
    say("died")
    if sum(event["event"] == "died" for event in seen(Path(os.environ[PATH_VARIABLE]))) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@tool
async def send(text: str) -> str:
    """Send a text to somebody."""
    say("sent", text=text)
    return f"sent {text}"


model = outlast.chat_model(
    "openai:gpt-4o", base_url=os.environ.get("PROVIDER_URL", "http://127.0.0.1:1/v1"), api_key="k"
)
tools = create_agent(model, [die, send], middleware=[outlast.middleware(effects={"send"})])
