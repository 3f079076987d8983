"""Where something happens: the run, its thread, its agent, the node. Whoever listens finds it there.

    with about(run_id=run.id, thread_id=run.thread_id, agent=run.agent):
        emit("call.failed", error="Timeout")       # a log line of it names the run, the thread and the agent

It goes with the context: tasks and threads that are started inside are there, too.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

_NOWHERE: Final[Mapping[str, Any]] = MappingProxyType({})
_current: Final[ContextVar[Mapping[str, Any]]] = ContextVar("outlast_surroundings", default=_NOWHERE)


def surroundings() -> Mapping[str, Any]:
    """Return what is known of where this is: `run_id`, `thread_id`, `agent`, `tenant`, `user_id`, `epoch`, `node`...

    A listener may ask, since it is called where the event happens.
    """
    return _current.get()


@contextmanager
def about(**fields: Any) -> Generator[None]:
    """Add to the surroundings until the end of the block."""
    before = _current.set({**_current.get(), **fields})
    try:
        yield
    finally:
        _current.reset(before)
