"""What people say about runs, at the addresses that a run's stream named for its `feedback_keys`."""

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from outlast.admission.payload import PayloadLimits, check_value
from outlast.domain.feedback import FEEDBACK_SECRET, key_of
from outlast.errors import InvalidInput, NotFound
from outlast.server.bodies import OpenRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED

router = APIRouter(tags=["runs"], route_class=OpenRoute, responses=DOCUMENTED)


class FeedbackBody(BaseModel):
    """At least one of the three."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: Annotated[float, Field(allow_inf_nan=False)] | bool | None = None
    value: Any = None
    comment: Annotated[str, Field(max_length=100_000)] | None = None


@router.post("/runs/{run_id}/feedback/{token}", status_code=204, response_class=Response)
async def give_feedback(run_id: UUID, token: str, body: FeedbackBody, runtime: CurrentRuntime) -> Response:
    """Store one answer. The address is the permission: it is signed for this run and one key."""
    key = key_of(await runtime.secrets.get(FEEDBACK_SECRET), run_id, token)
    if key is None:
        raise NotFound("feedback address", token[:40])
    if body.score is None and body.value is None and body.comment is None:
        raise InvalidInput("give a score, a value or a comment", field="score")
    server = runtime.settings.server
    check_value(body.value, PayloadLimits(max_bytes=server.max_body_bytes, max_depth=server.max_depth), field="value")
    await runtime.feedback.add(
        run_id,
        key.replace("\0", ""),
        score=None if body.score is None else float(body.score),
        value=None if body.value is None else orjson.dumps(body.value),
        comment=None if body.comment is None else body.comment.replace("\0", ""),
    )
    return Response(status_code=204)
