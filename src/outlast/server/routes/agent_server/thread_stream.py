"""The stream of a thread: every run of it, as long as the client stays."""

from collections.abc import AsyncGenerator
from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request

from outlast.errors import NotFound
from outlast.runtime import Runtime
from outlast.server.auth.access import allowed
from outlast.server.bodies import JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.frames import ThreadFrames
from outlast.server.ids import ThreadId
from outlast.server.problems import DOCUMENTED
from outlast.server.routes.agent_server.run_stream import LastEventId, chosen_modes, position
from outlast.server.sse import EventStream, documented
from outlast.storage.postgres.checkpoints import thread_key
from outlast.streams.following import Follower

_STREAM: Final = documented("Events of all runs, one after the other; it does not end by itself.")
router = APIRouter(tags=["Threads"], route_class=JsonRoute, responses=DOCUMENTED | _STREAM)

_MODES: Final = frozenset({"run_modes", "lifecycle", "state_update"})
_DEFAULT: Final = frozenset({"run_modes"})

Modes = Annotated[list[str] | None, Query(description="run_modes (the default), lifecycle, state_update")]


@router.get("/threads/{thread_id}/stream", response_model=None)
async def join_stream(
    thread_id: ThreadId,
    request: Request,
    runtime: CurrentRuntime,
    *,
    last_event_id: LastEventId = None,
    stream_mode: Modes = None,
    stream_modes: Modes = None,
) -> EventStream:
    """Listen to a thread: from now on, or from behind an event."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id})
    await runtime.threads.get(thread_id, access=access)
    modes = chosen_modes([*(stream_mode or ()), *(stream_modes or ())], _MODES) or _DEFAULT
    follower = runtime.hub.follow_thread(thread_key(thread_id), after=position(last_event_id))
    # Runs that are started from now on are to be heard.
    await follower.ready()
    query = urlencode({"stream_mode": sorted(modes)}, doseq=True)
    return EventStream(
        _events(runtime, follower, ThreadFrames(modes)),
        headers={"Location": f"/threads/{quote(thread_id, safe='')}/stream?{query}"},
    )


async def _events(runtime: Runtime, follower: Follower, frames: ThreadFrames) -> AsyncGenerator[bytes, None]:
    try:
        async for items in follower.batches():
            for run_id in frames.unknown(items):
                try:
                    run = await runtime.queue.store.views.one(None, run_id)
                except NotFound:
                    # Rolled back meanwhile.
                    continue
                frames.know(run_id, run.options.stream_modes)
            yield frames.of(items)
    finally:
        await follower.aclose()
