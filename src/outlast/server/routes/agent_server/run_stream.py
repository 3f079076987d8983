"""Runs whose client stays and listens, from the beginning or from wherever it was cut off."""

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, Final, NamedTuple, cast
from urllib.parse import urlencode
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request

from outlast.admission.agent_server import STREAM_MODES
from outlast.admission.gate import Admitted
from outlast.domain.feedback import FEEDBACK_SECRET, feedback_path
from outlast.domain.run import RunStatus, RunView
from outlast.errors import InvalidInput, NotSupported
from outlast.runtime import Runtime
from outlast.server.auth.access import allowed
from outlast.server.bodies import JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.frames import RunFrames
from outlast.server.ids import RunId, ThreadId
from outlast.server.problems import DOCUMENTED
from outlast.server.run_bodies import NOT_STREAMED, RunBody
from outlast.server.runs_api import cancel_in_background, idempotency, run_path, start_run
from outlast.server.sse import EventStream, documented, frame
from outlast.storage.postgres.checkpoints import thread_key
from outlast.streams.following import Follower

_STREAM: Final = documented(
    "Events as they happen: `metadata`, then one for each stream mode, `error` if it fails, `end`."
)
router = APIRouter(tags=["Runs"], route_class=JsonRoute, responses=DOCUMENTED | _STREAM)

#: A position; also what other servers call one, `<milliseconds>-<number>`, which is behind nothing that we have.
_POSITION: Final = re.compile(r"\d{1,18}")

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="go on behind this event; -1: from the first that is kept")
]
Modes = Annotated[list[str] | None, Query(description="only these of the run's own stream modes")]
Namespaces = Annotated[
    list[str] | None, Query(description='only these graphs, each without the graphs inside of it; "" is the run\'s own')
]
OfCheckpoint = Annotated[str | None, Query(description="with Last-Event-ID: -1, only what follows this checkpoint")]
CancelOnDisconnect = Annotated[bool, Query(description="cancel the run when this client leaves")]


class _Asked(NamedTuple):
    """What a client says that listens to a run; it is looked into once the client may see the run."""

    last_event_id: str | None
    stream_mode: list[str] | None
    namespace: list[str] | None
    checkpoint_id: str | None
    cancel_on_disconnect: bool


# Async, though it waits for nothing: FastAPI would run it in a thread otherwise.
async def _asked(
    *,
    last_event_id: LastEventId = None,
    stream_mode: Modes = None,
    namespace: Namespaces = None,
    checkpoint_id: OfCheckpoint = None,
    cancel_on_disconnect: CancelOnDisconnect = False,
) -> _Asked:
    return _Asked(last_event_id, stream_mode, namespace, checkpoint_id, cancel_on_disconnect)


_Asks = Annotated[_Asked, Depends(_asked)]


@router.post("/threads/{thread_id}/runs/stream", response_model=None)
async def create_and_stream(
    thread_id: ThreadId, body: RunBody, request: Request, runtime: CurrentRuntime, namespace: Namespaces = None
) -> EventStream:
    """Start a run on a thread and listen to it."""
    body.check(stateless=False, awaited=True)
    return await _started(request, runtime, body, thread_id, namespace)


@router.post("/runs/stream", response_model=None)
async def create_stateless_and_stream(
    body: RunBody, request: Request, runtime: CurrentRuntime, namespace: Namespaces = None
) -> EventStream:
    """Start a run on a thread of its own and listen to it."""
    body.check(stateless=True, awaited=True)
    return await _started(request, runtime, body, None, namespace)


@router.get("/threads/{thread_id}/runs/{run_id}/stream", response_model=None)
async def join_stream(
    thread_id: ThreadId, run_id: RunId, request: Request, runtime: CurrentRuntime, asked: _Asks
) -> EventStream:
    """Listen to a run: from now on, or from behind an event."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id, "run_id": str(run_id)})
    run = await runtime.queue.store.views.one(thread_id, run_id, access=access)
    return await _Wanted(run, asked).joined(request, runtime)


@router.get("/runs/{run_id}/stream", response_model=None)
async def join_stateless_stream(run_id: RunId, request: Request, runtime: CurrentRuntime, asked: _Asks) -> EventStream:
    """Listen to a run without naming its thread."""
    _, access = await allowed(request, "threads", "read", {"run_id": str(run_id)})
    run = await runtime.queue.store.views.one(None, run_id, access=access)
    return await _Wanted(run, asked).joined(request, runtime)


async def _started(
    request: Request, runtime: Runtime, body: RunBody, thread_id: str | None, namespaces: list[str] | None
) -> EventStream:
    key = await idempotency(request)
    run = await start_run(request, body, thread_id=thread_id, live=True, key=key)
    # With a key it may be an older run; else whatever it says is still to come, and it is sure to say it.
    follower = runtime.hub.follow_run(
        thread_key(run.thread_id),
        run.run_id,
        after=0,
        fresh=key is None,
        alone=key is None and run.temporary,
        watch=key is not None,
    )
    frames = RunFrames(run.run_id, body.modes, namespaces=None if namespaces is None else frozenset(namespaces))
    first = frames.begin(pos=0) + await _feedback(request, runtime, run, body)
    return EventStream(
        _events(follower, frames, first),
        headers=_headers(run.thread_id, run.run_id, {"namespace": namespaces}),
        on_gone=(lambda: cancel_in_background(request, run.run_id)) if body.on_disconnect == "cancel" else None,
    )


class _Wanted:
    """What a client wants to hear of a run that is there."""

    def __init__(self, run: RunView, asked: _Asked) -> None:
        self._run = run
        self._modes = chosen_modes(asked.stream_mode, STREAM_MODES)
        self._namespaces = asked.namespace
        self._checkpoint_id = asked.checkpoint_id
        self._after = position(asked.last_event_id)
        self._cancel = asked.cancel_on_disconnect

    async def joined(self, request: Request, runtime: Runtime) -> EventStream:
        run, after = self._run, await self._behind(runtime)
        key = thread_key(run.thread_id)
        modes = self._modes or run.options.stream_modes
        silent_until = 0
        if "messages" in modes and (after is None or after > 0):
            # What a message is made of may lie before that.
            silent_until, after = await runtime.hub.head(key) if after is None else after, 0
        frames = RunFrames(
            run.id, modes,
            silent_until=silent_until,
            namespaces=None if self._namespaces is None else frozenset(self._namespaces),
        )  # fmt: skip
        options = run.options
        sure = options.live or options.resumable or options.protocol == "v3"
        still = not run.ended and run.status is not RunStatus.WAITING
        follower = runtime.hub.follow_run(key, run.id, after=after, fresh=still, watch=still and not sure)
        await follower.ready()
        resumed = self._after is not None and self._after > 0
        return EventStream(
            _events(follower, frames, b"" if resumed else frames.begin()),
            headers=_headers(run.thread_id, run.id, self._query),
            on_gone=(lambda: cancel_in_background(request, run.id)) if self._cancel else None,
            protocol=run.options.protocol,
            agent=run.agent,
        )

    @property
    def _query(self) -> dict[str, Any]:
        """Return the query that a client which comes back has to send: the SDKs take it from Location."""
        return {
            "stream_mode": sorted(self._modes) if self._modes else None,
            "namespace": self._namespaces,
            "cancel_on_disconnect": "1" if self._cancel else None,
        }

    async def _behind(self, runtime: Runtime) -> int | None:
        if self._checkpoint_id is None or self._after is None or self._after > 0:
            return self._after
        # The whole run when it is none of its checkpoints, or when the run does not stream them.
        return await runtime.hub.reader.checkpoint(thread_key(self._run.thread_id), self._run.id, self._checkpoint_id)


async def _events(follower: Follower, frames: RunFrames, first: bytes) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for items in follower.batches():
            yield frames.of(items)
    finally:
        await follower.aclose()


async def _feedback(request: Request, runtime: Runtime, run: Admitted, body: RunBody) -> bytes:
    """Return the event that says where to post what people think of the run."""
    if not body.feedback_keys:
        return b""
    secret = await runtime.secrets.get(FEEDBACK_SECRET)
    base = str(request.base_url).rstrip("/")
    links = {key: base + feedback_path(secret, run.run_id, key) for key in body.feedback_keys}
    return frame("feedback", orjson.dumps(links))


def _headers(thread_id: str, run_id: UUID, query: Mapping[str, Any]) -> dict[str, str]:
    # The SDKs come back to Location without the query they had, and read the ids from Content-Location.
    run = run_path(thread_id, run_id)
    kept = urlencode({name: value for name, value in query.items() if value}, doseq=True)
    return {"Location": f"{run}/stream" + (f"?{kept}" if kept else ""), "Content-Location": run}


def position(last_event_id: str | None) -> int | None:
    """Return the position behind which to go on: 0 from the first that is kept, None from now on."""
    if last_event_id is None:
        return None
    text = last_event_id.strip()
    if text == "-1":
        return 0
    return int(text) if _POSITION.fullmatch(text) else None


def chosen_modes(given: list[str] | None, known: frozenset[str]) -> frozenset[str] | None:
    """Return the modes that a query names, once or several times or as JSON; None when it names none.

    Raises InvalidInput for one that does not exist, NotSupported for one of other streams.
    """
    names: list[str] = []
    for text in given or ():
        names += _listed(text) if text.startswith("[") else text.split(",")
    wanted = frozenset(name for name in names if name)
    for name in wanted - known:
        if name in NOT_STREAMED:
            msg = f"stream mode {name!r} is not one of a run's stream; use the thread's"
            raise NotSupported(msg, field="stream_mode")
        msg = f"there is no stream mode {name[:50]!r}; there are {', '.join(sorted(known))}"
        raise InvalidInput(msg, field="stream_mode")
    return wanted or None


def _listed(text: str) -> list[str]:
    """Return a list that was written as JSON, as older clients do."""
    try:
        return [str(name) for name in cast("list[object]", orjson.loads(text))]
    except orjson.JSONDecodeError as error:
        msg = "a list of stream modes is JSON, or the parameter is repeated"
        raise InvalidInput(msg, field="stream_mode") from error
