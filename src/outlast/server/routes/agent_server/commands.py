"""Commands of the thread-centred protocol: start a run, answer a question, look at the state."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from outlast.server.bodies import Json, JsonRoute
from outlast.server.ids import ThreadId
from outlast.server.problems import DOCUMENTED
from outlast.server.protocol_commands import NoCommand, answered, frame_of, refusal

router = APIRouter(tags=["Threads"], route_class=JsonRoute, responses=DOCUMENTED)


class Command(BaseModel):
    """A command; every other field, and what is in `params`, is checked where the method is known."""

    id: Any = None
    method: Any = None
    params: Any = None


class CommandReply(BaseModel):
    """What became of it: `result` and `meta`, or `error` and `message`."""

    type: str
    id: int | None
    result: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None
    error: str | None = None
    message: str | None = None


@router.post(
    "/threads/{thread_id}/commands",
    response_model=CommandReply,
    responses={400: {"description": "The body is no command.", "model": CommandReply}},
)
async def command(thread_id: ThreadId, body: Command, request: Request) -> Json:
    """Carry out a command on a thread, which `run.start` makes if need be."""
    try:
        frame = frame_of(body.model_dump())
    except NoCommand as error:
        return Json(refusal(error.id, "invalid_argument", str(error)), status_code=400 if error.id is None else 200)
    return Json(await answered(request, thread_id, frame))
