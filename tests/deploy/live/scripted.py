"""Agents beside the support example, which together show every figure there is."""

import asyncio
from pathlib import Path
from typing import TypedDict

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph

import outlast

HERE = Path(__file__).parent
MODEL = "openai:gpt-4o-mini"


@tool
def look_up(what: str) -> str:
    """Look something up."""
    return f"{what}: 42"


@tool
def fall_over(what: str) -> str:
    """Fail."""
    raise RuntimeError(what)


def clerk():
    """Calls tools, of which one fails."""
    return create_agent(
        outlast.chat_model(MODEL), [look_up, fall_over], middleware=[outlast.middleware(reads={"look_up"})]
    )


class Judgement(TypedDict, total=False):
    question: str
    answer: str
    confidence: float


async def think(state: Judgement) -> Judgement:
    said = await outlast.chat_model(MODEL).ainvoke(state["question"])
    return {"answer": str(said.text), "confidence": 0.4}


judge = StateGraph(Judgement)
judge.add_node("think", think)
judge.add_edge(START, "think")
judge.add_edge("think", END)


@entrypoint()
async def broken(given):
    raise ValueError(given["why"])


@task
async def step(number):
    return number


@entrypoint()
async def steady(given):
    await step(1)
    # Only the first attempt is held up.
    (HERE / "began").touch()
    while (HERE / "hold").exists():  # noqa: ASYNC110 - whoever holds it up is another process
        await asyncio.sleep(0.02)
    return await step(2)
