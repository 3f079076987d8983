"""The events of a thread by the thread-centred protocol: as server-sent events, and over a WebSocket."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import orjson
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.websockets import WebSocket, WebSocketDisconnect

from outlast.errors import InvalidInput, OutlastError
from outlast.server.auth.access import allowed
from outlast.server.bodies import JsonRoute, parse
from outlast.server.current import runtime_of
from outlast.server.ids import ThreadId, known_thread_id
from outlast.server.problems import DOCUMENTED, STATUS
from outlast.server.protocol_bodies import EventsBody
from outlast.server.protocol_commands import Frame, NoCommand, Reply, answered, code_of, frame_of, refusal, success
from outlast.server.protocol_frames import Event
from outlast.server.protocol_streams import ProtocolStreams, streams_of
from outlast.server.runs_api import checked
from outlast.server.sse import EventStream, documented

router = APIRouter(tags=["Threads"], route_class=JsonRoute, responses=DOCUMENTED)
_STREAM: Final = documented("One frame for each event of the channels; goes on from run to run.")
# Both SDKs take a code of 4000 + an HTTP status as final.
_REFUSED = 4000
_SERVICE_RESTART = 1012


@router.post("/threads/{thread_id}/stream/events", response_model=None, responses=_STREAM)
async def stream_events(thread_id: ThreadId, body: EventsBody, request: Request) -> EventStream:
    """Follow a thread, which need not exist yet, over all its runs."""
    if body.unknown is not None:
        raise HTTPException(400, body.unknown)
    await _check_access(request, thread_id)
    streams = streams_of(request)
    lost = await streams.lost(thread_id, body.since)
    flow = await streams.open(thread_id, body.subscription, body.since)
    first = b"" if lost is None else b"data: %b\r\n\r\n" % orjson.dumps(refusal(None, "unknown_error", lost))
    return EventStream(_frames(flow, first), cut=True, protocol="v3")


async def _frames(flow: AsyncGenerator[Sequence[Event], None], first: bytes) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for events in flow:
            yield b"".join(event.frame for event in events)
    finally:
        await flow.aclose()


@router.websocket("/threads/{thread_id}/stream/events")
async def socket(websocket: WebSocket, thread_id: str) -> None:
    """Follow a thread by any number of subscriptions, and command it."""
    await websocket.accept()
    try:
        thread_id = await known_thread_id(thread_id, runtime_of(websocket))
        await _check_access(websocket, thread_id)
    except (OutlastError, HTTPException) as error:
        status = error.status_code if isinstance(error, HTTPException) else STATUS[error.code]
        detail = error.detail if isinstance(error, HTTPException) else str(error)
        await websocket.close(_REFUSED + status, detail[:100])
        return
    session = _Session(websocket, thread_id)
    try:
        await session.serve()
    except WebSocketDisconnect:
        pass
    finally:
        await session.close()


async def _check_access(connection: Request | WebSocket, thread_id: str) -> None:
    """Raise NotFound for a thread of somebody else's; where there is auth, also for one that is not there yet."""
    _, access = await allowed(connection, "threads", "read", {"thread_id": thread_id})
    if access is not None:
        await runtime_of(connection).threads.get(thread_id, access=access)


class _Session:
    """One WebSocket: frames in, replies and events out. A reply goes out before what it announces."""

    def __init__(self, websocket: WebSocket, thread_id: str) -> None:
        self._websocket = websocket
        self._thread_id = thread_id
        self._streams: ProtocolStreams = streams_of(websocket)
        self._limits = runtime_of(websocket).settings.server
        self._pumps: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Answer frame after frame; raises WebSocketDisconnect when the client leaves."""
        while True:
            reply = await self._answer(await self._received())
            if reply is not None:
                await self._send(orjson.dumps(reply))

    async def _received(self) -> str | None:
        """Return the next frame; None for one that is no text."""
        try:
            return await self._websocket.receive_text()
        except KeyError:
            return None

    async def close(self) -> None:
        """End all subscriptions."""
        for pump in self._pumps.values():
            pump.cancel()
        await asyncio.gather(*self._pumps.values(), return_exceptions=True)

    async def _answer(self, text: str | None) -> Reply | None:
        number: int | None = None
        try:
            frame = frame_of(self._parsed(text))
            number = frame.id
            match frame.method:
                case "subscription.subscribe":
                    return await self._subscribe(frame)
                case "subscription.unsubscribe":
                    return await self._unsubscribe(frame)
                case _:
                    return await answered(self._websocket, self._thread_id, frame)
        except NoCommand as error:
            return refusal(error.id, "invalid_argument", str(error))
        except OutlastError as error:
            return refusal(number, code_of(error), str(error))
        except HTTPException as error:
            return refusal(number, "permission_denied", error.detail)

    def _parsed(self, text: str | None) -> Any:
        if text is None:
            msg = "a frame is JSON as text"
            raise NoCommand(msg)
        encoded = text.encode("utf-8", "replace")
        if len(encoded) > self._limits.max_body_bytes:
            raise NoCommand(f"the frame is larger than {self._limits.max_body_bytes:,} bytes")
        try:
            return parse(encoded, max_depth=self._limits.max_depth)
        except orjson.JSONDecodeError as error:
            raise NoCommand(f"the frame is not valid JSON: {error}") from error

    async def _subscribe(self, frame: Frame) -> None:
        body = checked(EventsBody, frame.params, "params")
        if body.unknown is not None:
            raise InvalidInput(body.unknown, field="params.channels")
        lost = await self._streams.lost(self._thread_id, body.since)
        flow = await self._streams.open(self._thread_id, body.subscription, body.since)
        subscription = str(uuid4())
        result = {"subscription_id": subscription, "replayed_events": 0}
        await self._send(orjson.dumps(success(frame.id, result, await self._streams.head(self._thread_id))))
        if lost is not None:
            await self._send(orjson.dumps(refusal(None, "unknown_error", lost)))
        self._pumps[subscription] = asyncio.create_task(self._pump(flow), name=f"stream {subscription}")

    async def _unsubscribe(self, frame: Frame) -> Reply:
        pump = self._pumps.pop(str(frame.params.get("subscription_id")), None)
        if pump is None:
            return refusal(frame.id, "no_such_subscription", "there is no such subscription on this connection")
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        return success(frame.id, {}, await self._streams.head(self._thread_id))

    async def _pump(self, flow: AsyncGenerator[Sequence[Event], None]) -> None:
        try:
            async for events in flow:
                for event in events:
                    await self._send(event.data)
        finally:
            await flow.aclose()
        # The server stops; the client comes back to another process.
        with suppress(RuntimeError):
            await self._websocket.close(_SERVICE_RESTART)

    async def _send(self, data: bytes) -> None:
        try:
            await self._websocket.send_text(data.decode())
        except RuntimeError as error:
            # It was closed meanwhile.
            raise WebSocketDisconnect from error
