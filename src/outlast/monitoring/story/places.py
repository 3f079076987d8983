"""Where in a graph something was, as LangGraph writes it down: paths of tasks, namespaces of graphs, ids of steps."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

_PULL: Final = "__pregel_pull"
_PUSH: Final = "__pregel_push"
_BEGIN: Final = "__start__"
# The epoch of time-based UUIDs.
_GREGORIAN: Final = datetime(1582, 10, 15, tzinfo=UTC)
_TIME_ORDERED: Final = 6


def saved_at(checkpoint_id: str) -> datetime | None:
    """Return when a checkpoint was made, by the clock of whoever made it; None when its id does not say."""
    found = UUID(checkpoint_id)
    if found.version != _TIME_ORDERED:
        return None
    # A version 6 has the 60 bits of its time in order, around the version.
    ticks = (found.int >> 80) << 12 | (found.int >> 64) & 0xFFF
    return _GREGORIAN + timedelta(microseconds=ticks // 10)


def node_of(path: str, ns: str) -> str | None:
    """Return the node of a task, by the task's path; None for what only takes the input in.

    `s1`; `work[3]` is the fourth call inside of an entrypoint `work`; `send[0]` the first that an edge has sent.
    """
    parts = [part.strip().lstrip("~") for part in path.split(",")]
    names = [part for part in parts if part not in {_PULL, _PUSH} and not part.isdigit()]
    numbers = [int(part) for part in parts if part.isdigit()]
    if names == [_BEGIN]:
        return None
    node = ", ".join(names) or "send"
    if parts[0] == _PUSH and numbers:
        node = f"{node}[{numbers[0]}]"
    return "/".join((*_inside(ns), node))


def _inside(ns: str) -> list[str]:
    """Return the names of the nodes whose subgraphs a namespace is in."""
    return [part.split(":")[0] for part in ns.split("|") if part]
