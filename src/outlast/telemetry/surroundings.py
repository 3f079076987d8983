"""Where something happens: the run, its thread, its agent, the node. Whoever listens finds it there.

    with about(run_id=run.id, thread_id=run.thread_id, agent=run.agent):
        emit("call.failed", error="Timeout")       # a log line of it names the run, the thread and the agent

It goes with the context: tasks and threads that are started inside are there, too.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


@dataclass(slots=True, eq=False)
class Place:
    """Surroundings that begin and end in two calls, which need not be made in one context."""

    fields: Mapping[str, Any]
    around: "Place | None" = None
    ended: bool = False


_NOWHERE: Final = Place(MappingProxyType({}))
_current: Final[ContextVar[Place]] = ContextVar("outlast_surroundings", default=_NOWHERE)


def surroundings() -> Mapping[str, Any]:
    """Return what is known of where this is: `run_id`, `thread_id`, `agent`, `tenant`, `user_id`, `epoch`, `node`...

    A listener may ask, since it is called where the event happens.
    """
    return _here().fields


def step_into(**fields: Any) -> Place:
    """Add to the surroundings until `step_out`, for what begins and ends in callbacks; `about` is the usual way."""
    around = _here()
    place = Place({**around.fields, **fields}, around)
    _current.set(place)
    return place


def step_out(place: Place) -> None:
    """End them, wherever they are seen: also in what was begun inside and still goes on."""
    place.ended = True


@contextmanager
def about(**fields: Any) -> Generator[None]:
    """Add to the surroundings until the end of the block."""
    around = _here()
    before = _current.set(Place({**around.fields, **fields}, around))
    try:
        yield
    finally:
        _current.reset(before)


def _here() -> Place:
    place = _current.get()
    while place.ended and place.around is not None:
        place = place.around
    return place
