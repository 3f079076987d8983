"""Take one request to its answer, or to the fault that strikes it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil
from typing import Any, Final

from outlast.testing.providers.connections import Connection
from outlast.testing.providers.faults import Fault, Incident, Kind
from outlast.testing.providers.limits import RateLimit
from outlast.testing.providers.replies import Reply, TokenUsage
from outlast.testing.providers.requests import Request
from outlast.testing.providers.scripts import Script, counted
from outlast.testing.providers.wires import Frame, Wire, event

_JSON: Final = "application/json"
_GARBAGE: Final = '{"id": "chatcmpl-'
_PAGE: Final = b"<html><body><h1>Bad gateway</h1></body></html>"
#: How many bytes of an answer in one piece a drip sends at a time.
_DRIP_BYTES: Final = 16


class _HungUp(Exception):
    """A fault ended the connection in the middle of an answer."""


@dataclass(slots=True, kw_only=True)
class Answering:
    """One request on its way to its answer."""

    request: Request
    wire: Wire
    connection: Connection
    incident: Incident | None
    #: Says that the request changed.
    changed: Callable[[], None]
    #: Set when what is held may go on.
    released: asyncio.Event

    async def refuse(self, limit: RateLimit, wait_seconds: float) -> None:
        """Answer 429 for the rate limit."""
        message = f"Rate limit reached for {self.request.model}: {limit.requests} requests per {limit.seconds:g} s."
        fault = Fault(kind="status", status=429, code="rate_limit_exceeded", message=message, retry_after=wait_seconds)
        await self._say_no(fault, self.wire.rate_headers(limit.requests, limit.remaining, wait_seconds))
        self.request.end("limited")

    async def reject(self, problem: str) -> None:
        """Answer 400: this provider would not take such a request."""
        await self._say_no(Fault(kind="status", status=400, code="invalid_value", message=problem), {})
        self.request.end("bad")

    async def run(self, script: Script) -> None:
        """Answer as the script says, unless the fault does not let it."""
        if await self._struck_before():
            self.request.end("failed")
            return
        reply, take_back = script.take(self.request, self.wire.wanted(self.request))
        try:
            await self._answer(reply)
        except _HungUp:
            self.request.end("failed")
        finally:
            if self.request.outcome != "answered":
                take_back()

    @property
    def _fault(self) -> Fault | None:
        return self.incident.fault if self.incident else None

    @property
    def _kind(self) -> Kind | None:
        return self.incident.fault.kind if self.incident else None

    async def _struck_before(self) -> bool:
        """Let a fault strike that leaves no answer; False: there will be one, or a part of it."""
        fault = self._fault
        if fault is None:
            return False
        if fault.seconds and fault.kind != "drip":
            await asyncio.sleep(fault.seconds)
        if fault.kind == "hold" and not (fault.pieces and self.request.stream):
            await self._hold()
        elif fault.kind == "status" or (fault.kind == "error_midway" and not self.request.stream):
            await self._say_no(fault, {})
            return True
        elif fault.kind == "reset":
            self.connection.reset()
            return True
        elif fault.kind == "close":
            self.connection.close()
            return True
        return False

    async def _say_no(self, fault: Fault, headers: dict[str, str]) -> None:
        refusal = json.dumps(self.wire.error(fault.status, fault.code, fault.message)).encode()
        body, kind = (_PAGE, "text/html") if fault.html else (refusal, _JSON)
        if fault.retry_after is not None:
            headers = headers | {"retry-after": _retry_after(fault.retry_after, as_date=fault.as_date)}
        self.connection.start(fault.status, self._headers(kind) | headers | {"content-length": str(len(body))})
        await self.connection.write(body)
        await self.connection.finish()

    async def _answer(self, reply: Reply) -> None:
        if reply.delay_seconds:
            await asyncio.sleep(reply.delay_seconds)
        usage = self._usage(reply)
        if self._kind == "empty":
            reply = Reply(usage=usage, finish="stop")
        if self.request.stream:
            await self._stream(reply, self.wire.frames(self.request, reply, usage))
        else:
            await self._send_whole(self.wire.whole(self.request, reply, usage))
        self.request.end("failed" if self._kind in {"garbage", "empty"} else "answered")

    def _usage(self, reply: Reply) -> TokenUsage | None:
        fault = self._fault
        if fault is not None and fault.kind == "usage":
            return fault.usage
        return reply.usage or counted(self.request, reply)

    async def _send_whole(self, said: dict[str, Any]) -> None:
        kind = self._kind
        if kind == "empty":
            said = said | {name: [] for name in ("choices", "content", "output") if name in said}
        body = json.dumps(said).encode()
        if kind == "garbage":
            body = body[: len(body) // 2]
        self.connection.start(200, self._headers(_JSON) | {"content-length": str(len(body))})
        if kind in {"reset_midway", "cut_midway", "early_end"}:
            await self.connection.write(body[: len(body) // 2])
            self._hang_up()
        step = _DRIP_BYTES if kind == "drip" else len(body)
        for start in range(0, len(body), step):
            await self._drip()
            await self.connection.write(body[start : start + step])
        await self.connection.finish()

    async def _stream(self, reply: Reply, frames: list[Frame]) -> None:
        self.connection.start(200, self._headers("text/event-stream; charset=utf-8") | {"cache-control": "no-cache"})
        strikes_at = self._strikes_at(frames)
        for at, frame in enumerate(frames):
            if at == strikes_at and await self._struck_midway():
                return
            await self._drip()
            await self.connection.write(frame.data)
            if frame.content and reply.chunk_delay_seconds:
                await asyncio.sleep(reply.chunk_delay_seconds)
        await self.connection.finish()

    def _strikes_at(self, frames: list[Frame]) -> int:
        """Return before which event the fault strikes: after its pieces, or after all there are."""
        fault = self._fault
        if fault is None:
            return -1
        contents = [at for at, frame in enumerate(frames) if frame.content]
        if fault.pieces == 0 or not contents:
            return 0
        return contents[min(fault.pieces, len(contents)) - 1] + 1

    async def _struck_midway(self) -> bool:
        """Let the fault strike; True: the stream is over, though HTTP is in order."""
        if self._kind == "hold":
            await self._hold()
        elif self._kind in {"reset_midway", "cut_midway"}:
            self._hang_up()
        elif self._kind in {"early_end", "garbage", "error_midway"}:
            await self._end_early()
            return True
        return False

    async def _end_early(self) -> None:
        fault = self._fault
        if fault is not None and fault.kind == "garbage":
            await self.connection.write(event(_GARBAGE, name="content_block_delta").data)
        elif fault is not None and fault.kind == "error_midway":
            await self.connection.write(self.wire.error_frame(fault.status, fault.code, fault.message).data)
        await self.connection.finish()
        self.request.end("failed")

    async def _hold(self) -> None:
        self.request.held = True
        self.changed()
        await self.released.wait()
        self.request.held = False

    async def _drip(self) -> None:
        fault = self._fault
        if fault is not None and fault.kind == "drip":
            await asyncio.sleep(fault.seconds)

    def _hang_up(self) -> None:
        if self._kind == "reset_midway":
            self.connection.reset()
        else:
            self.connection.close()
        raise _HungUp

    def _headers(self, kind: str) -> dict[str, str]:
        name = f"req_{self.request.number:06}"
        return {"content-type": kind, "request-id": name, "x-request-id": name}


def _retry_after(seconds: float, *, as_date: bool) -> str:
    if as_date:
        # A date has whole seconds only: rounded up, so that who keeps to it never comes too early.
        at = datetime.now(UTC) + timedelta(seconds=seconds + 1)
        return format_datetime(at.replace(microsecond=0), usegmt=True)
    # Fractions are not in the standard, but every client takes them, and tests need not wait for whole seconds.
    return f"{ceil(seconds * 1000) / 1000:g}"
