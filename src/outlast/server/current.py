"""What a route may ask for."""

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from outlast.admission.gate import Gate
from outlast.inbox.inbox import Inbox
from outlast.runtime import Runtime


def runtime_of(connection: HTTPConnection) -> Runtime:
    """Return the runtime that serves a request or a WebSocket."""
    return cast("Runtime", connection.app.state.runtime)


def gate_of(connection: HTTPConnection) -> Gate:
    """Return what decides whether a run may start."""
    return cast("Gate", connection.app.state.gate)


def inbox_of(connection: HTTPConnection) -> Inbox:
    """Return the questions to people."""
    return cast("Inbox", connection.app.state.inbox)


# Async, though they wait for nothing: FastAPI would run them in a thread otherwise.
async def _runtime(connection: HTTPConnection) -> Runtime:
    return runtime_of(connection)


async def _gate(connection: HTTPConnection) -> Gate:
    return gate_of(connection)


async def _inbox(connection: HTTPConnection) -> Inbox:
    return inbox_of(connection)


CurrentRuntime = Annotated[Runtime, Depends(_runtime)]
CurrentGate = Annotated[Gate, Depends(_gate)]
CurrentInbox = Annotated[Inbox, Depends(_inbox)]
