"""The check that the nodes a client names are there.

LangGraph takes the name of a node that it does not have without a word: the breakpoint would never be met, and the
command would lead nowhere.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from outlast.errors import AgentLoadError, InvalidInput
from outlast.runtime import Runtime
from outlast.server.auth.users import User
from outlast.server.run_bodies import CommandBody, RunBody

# LangGraph's own name of where a graph ends.
_END: Final = "__end__"
_LONGEST: Final = 100


async def check_nodes(
    runtime: Runtime, agent: str, body: RunBody, *, config: Mapping[str, Any], user: User | None
) -> None:
    """Raise InvalidInput for the first node that the graph does not have.

    The graph is loaded only when nodes are named. One that cannot be loaded here is left to the worker: its error says
    why.
    """
    named = list(_named(body))
    if not named:
        return
    try:
        opening = runtime.registry.opened(
            agent,
            config,  # pyright: ignore[reportArgumentType] - a RunnableConfig, as JSON
            access="assistants.read",
            user=None if user is None else user.given,
        )
        async with opening as opened:
            nodes = [str(name) for name in opened.graph.nodes]
    except AgentLoadError:
        return
    for field, name in named:
        if name not in nodes and name != _END:
            shown = name[:_LONGEST]
            close = get_close_matches(shown, nodes, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            msg = f"graph {agent!r} has no node {shown!r}{hint}"
            raise InvalidInput(msg, field=field)


def _named(body: RunBody) -> Iterator[tuple[str, str]]:
    for field in ("interrupt_before", "interrupt_after"):
        names: str | list[str] | None = getattr(body, field)
        # A text here is "*", which means them all.
        yield from ((field, name) for name in names or () if isinstance(names, list))
    if body.command is not None:
        yield from (("command.goto", name) for name in _targets(body.command))


def _targets(command: CommandBody) -> Iterator[str]:
    goto = command.goto
    for target in goto if isinstance(goto, list) else [goto]:
        if target is not None:
            yield target if isinstance(target, str) else target.node
