"""Kill switches and a run that is about to be executed."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NoReturn

from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from outlast.agents.tool_guard import GUARD
from outlast.calls.policed import stopped
from outlast.calls.scope import Scope, Stop
from outlast.domain.switch import Switch


def stop_of(control: RunControl) -> Stop:
    """Return what ends a task, and the run at its step boundary, whatever the node makes of the former."""

    def stop(reason: str) -> NoReturn:
        control.request_drain(reason)
        raise GraphDrained(reason)

    return stop


async def is_off(scope: Scope) -> bool:
    """Whether the run is not to begin: it was claimed in the moment in which it was switched off."""
    policing = scope.calls.policing
    if policing is None:
        return False
    await policing.board.fresh()
    switch = policing.board.stops(scope.tenant, scope.agent)
    if switch is not None:
        stopped(scope, switch)
    return switch is not None


@contextmanager
def under_switches(scope: Scope, control: RunControl) -> Generator[list[Any]]:
    """Stop the run at its next step boundary when something is switched off that it is under.

    Yields the callbacks of its graph: tools are looked at where there is a reason to.
    """
    policing = scope.calls.policing
    if policing is None:
        yield []
        return
    guarded = policing.engine.concerns("tool") or policing.board.has_tools_off(scope.tenant) or scope.tools is not None

    def stop(switch: Switch) -> None:
        if not control.drain_requested:
            stopped(scope, switch)
            control.request_drain(f"{switch.what} is switched off: {switch.reason}")

    with policing.board.stopping(scope.tenant, scope.agent, stop, guarded=guarded):
        yield [GUARD] if guarded else []
