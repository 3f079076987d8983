"""The stream mode `events`: LangChain's astream_events, with the other modes found among its events.

The graph runs once. Every event is a part of its own, and what the root graph streams comes a second time as the part
that it is.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig


async def raw_parts(
    graph: Any, given: Any, config: RunnableConfig, *, run_id: UUID, **arguments: Any
) -> AsyncGenerator[tuple[Any, ...]]:
    """Yield ("events", event) and what `graph.astream` would yield with the same arguments, in their order."""
    # The events of the root graph are known by the id that it is given here.
    named: RunnableConfig = {**config, "run_id": run_id}
    root = str(run_id)
    async with aclosing(graph.astream_events(given, named, version="v2", **arguments)) as events:
        async for event in events:
            yield ((), "events", event) if arguments["subgraphs"] else ("events", event)
            if event["event"] == "on_chain_stream" and event["run_id"] == root:
                yield event["data"]["chunk"]
