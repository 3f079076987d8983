"""The state of a thread's graph, as clients see it."""

from copy import copy
from typing import Any

from langchain_core.runnables import RunnableConfig

from outlast.agents.jsonable import jsonable
from outlast.runtime import Runtime


async def read_values(runtime: Runtime, agent_name: str, thread_id: str) -> Any:
    """Return the values of the graph's state as JSON data.

    State that was read is state that can be restored, so a quarantine ends here. Raises StateUnreadable naming the path
    when it cannot, NotFound when the project has no such agent any more.
    """
    config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    # Through the graph and not from the checkpoint's raw channels: it knows which of them are its own business.
    async with runtime.registry.opened(agent_name, config) as agent:
        graph = copy(agent.graph)
        graph.checkpointer = runtime.saver
        snapshot = await graph.aget_state(config)
    await runtime.saver.lift_quarantine(thread_id)
    return jsonable(snapshot.values)
