"""Agents that ask, and one that fails."""

from langgraph.func import entrypoint
from langgraph.types import interrupt


@entrypoint()
async def asks(given):
    return {"answer": interrupt(given)}


@entrypoint()
async def breaks(given):
    msg = given["say"]
    raise KeyError(msg)
