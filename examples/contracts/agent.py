"""Reads a contract about real estate: who sells what to whom, for how much, and on which conditions.

The graph believes its model. What must not be believed is said in outlast.toml: nothing may be missing, conditions have
to lie ahead, each figure has to stand in the contract. An analysis that is not acceptable goes back to the model with
the reasons, once; what the model cannot put right is a question to a person, who may correct it. So the graph has no
line about any of this but one: `review`, where the reasons arrive.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from part_of_the_model import answer
from pydantic import BaseModel, Field

import outlast
from outlast.testing.providers import ProviderServer

MODELS = {"ANTHROPIC_API_KEY": "anthropic:claude-haiku-4-5", "OPENAI_API_KEY": "openai:gpt-4o-mini"}
PROMPT = (
    "Read the contract. Give dates as 2036-12-31 and amounts as EUR 1,234, exactly as the contract has them; leave out "
    "what it does not say. `confidence` is how sure you are that all of it is right, from 0 to 1."
)


class Condition(BaseModel):
    """Something that the purchase depends on."""

    what: str
    date: Annotated[str, Field(description="not later than")]


class Reading(BaseModel):
    """What the model makes of a contract."""

    property: str | None = None
    seller: str | None = None
    buyer: str | None = None
    price: str | None = None
    deposit: str | None = None
    closing: str | None = None
    contingencies: list[Condition] = []
    confidence: float = 0.0


class Given(TypedDict, total=False):
    """What comes in."""

    contract: str
    #: What was wrong with the analysis before; Outlast fills it in.
    review: list[dict[str, Any]]


class Analysis(TypedDict, total=False):
    """What goes out, and what the validators look at."""

    property: str | None
    seller: str | None
    buyer: str | None
    price: str | None
    deposit: str | None
    closing: str | None
    contingencies: list[dict[str, str]]
    confidence: float


class State(Given, Analysis):
    """What the graph works with."""


@asynccontextmanager
async def contracts() -> AsyncIterator[Pregel]:
    """Build the agent. Without a key it asks a provider on this machine, which plays its part from a script."""
    names = [name for key, name in MODELS.items() if os.environ.get(key)]
    if names:
        first, *fallbacks = [os.environ.get("OUTLAST_EXAMPLE_MODEL", names[0]), *names[1:]]
        yield graph(outlast.chat_model(first, fallbacks=fallbacks))
        return
    async with ProviderServer() as provider:
        provider.script(answer)
        yield graph(outlast.chat_model("openai:scripted", base_url=provider.openai_url, api_key="none"))


def graph(model: Any) -> Pregel:
    """Return a graph of one step: the model reads."""
    reader = model.with_structured_output(Reading)

    async def read(state: State) -> State:
        found: Reading = await reader.ainvoke(conversation(state))
        # The reasons were about the analysis before.
        return State(**found.model_dump(), review=[])

    builder = StateGraph(State, input_schema=Given, output_schema=Analysis)
    builder.add_node("read", read)
    builder.add_edge(START, "read")
    builder.add_edge("read", END)
    return builder.compile()


def conversation(state: State) -> list[AnyMessage]:
    """Return what the model is told: the contract, and what was wrong with its analysis if this is not the first."""
    messages = [SystemMessage(PROMPT), HumanMessage(state["contract"])]
    if reasons := state.get("review"):
        told = "\n".join(f"- {reason['text']}" for reason in reasons)
        messages.append(HumanMessage(f"Read it again. This cannot be right:\n{told}"))
    return messages
