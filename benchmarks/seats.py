"""An agent whose runs do nothing but wait in a node, so that a benchmark can make calls as if it were that node."""

import asyncio
from contextvars import Context, copy_context
from typing import Any, Final, TypedDict

from langgraph.graph import StateGraph

#: The context of each node that waits, as it arrives.
taken: Final[asyncio.Queue[Context]] = asyncio.Queue()
#: Set when the nodes may go on.
closed: Final = asyncio.Event()


class State(TypedDict, total=False):
    done: bool


async def _sit(_: State) -> dict[str, Any]:
    taken.put_nowait(copy_context())
    await closed.wait()
    return {"done": True}


_builder = StateGraph(State)
_builder.add_node("sit", _sit)
_builder.set_entry_point("sit")
seat = _builder.compile()
