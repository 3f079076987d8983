"""What a route may ask for."""

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from outlast.admission.gate import Gate
from outlast.runtime import Runtime


# Async, though they wait for nothing: FastAPI would run them in a thread otherwise.
async def _runtime(request: Request) -> Runtime:
    return cast("Runtime", request.app.state.runtime)


async def _gate(request: Request) -> Gate:
    return cast("Gate", request.app.state.gate)


CurrentRuntime = Annotated[Runtime, Depends(_runtime)]
CurrentGate = Annotated[Gate, Depends(_gate)]
