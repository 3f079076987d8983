"""How many steps an attempt may take: LangGraph's `recursion_limit`.

LangGraph's own default is over ten thousand, which a graph that goes round in circles with a model takes long and pays
dearly to reach.
"""

import re
from importlib import import_module
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError

from outlast.domain.outcome import Failed

# It has no types.
_langgraph: Any = import_module("langgraph._internal._config")
_KEY: Final = "recursion_limit"
_LIMIT: Final = re.compile(r"limit of (\d+)")
_STEPS_TOLD: Final = 6


def default_to(limit: int) -> None:
    """Make it LangGraph's default in this process, which a limit of the run, of the graph or of an inner graph beats.

    Given as the run's own limit it would be handed down, and an agent that is a node (`create_agent` sets 9,999) would
    stop after a dozen tools. LangGraph's own way, LANGGRAPH_DEFAULT_RECURSION_LIMIT, is read when it is imported.
    """
    if limit != _langgraph.DEFAULT_RECURSION_LIMIT:
        # The type is what tells a default from a wish.
        _langgraph.DEFAULT_RECURSION_LIMIT = _langgraph._DefaultRecursionLimit(limit)  # noqa: SLF001 - of LangGraph < 1.3


async def failure(error: GraphRecursionError, graph: Any, thread: RunnableConfig) -> Failed:
    """Return what becomes of a run that has reached its limit, with the steps that it took last."""
    reached = _LIMIT.search(str(error))
    count = f"{int(reached[1]):,} steps" if reached else "as many steps as it may"
    # Each checkpoint tells what was to run after it; the first one is where the attempt stands.
    newest_first = [
        ", ".join(snapshot.next) async for snapshot in graph.aget_state_history(thread, limit=_STEPS_TOLD + 1)
    ]
    following, *taken = [nodes or "the end" for nodes in newest_first] or ["unknown"]
    message = (
        f"the graph took {count} without coming to an end, and that is its limit. "
        f"The last ones were {' -> '.join(reversed(taken)) or 'none'}; {following} would have been next. If it goes "
        "round in circles, give it a way out. If it needs more steps, set recursion_limit: in the run's config, in "
        'the graph (`with_config({"recursion_limit": 100})`), or for all graphs in worker.recursion_limit'
    )
    return Failed(code=_KEY, message=message, retryable=False)
