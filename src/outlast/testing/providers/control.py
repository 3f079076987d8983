"""The provider's remote control: an HTTP interface of its own, which answers also while the provider is down."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from pydantic import BaseModel, ValidationError

from outlast.testing.providers.connections import Connection, Incoming, Listener
from outlast.testing.providers.counts import busiest, counts, repeated, windows
from outlast.testing.providers.faults import Fault
from outlast.testing.providers.requests import Request, WireName
from outlast.testing.providers.scripts import Said
from outlast.testing.providers.server import ProviderServer, send_json


class _Order(BaseModel, extra="forbid"):
    """What is asked for; the provider has its own defaults for what is not given."""

    def given(self) -> dict[str, Any]:
        """Return what is."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Scripted(_Order):
    """Append replies to the list."""

    replies: list[Said]


class Ruled(_Order):
    """Make a rule; see `ProviderServer.when`."""

    reply: Said
    text: str | None = None
    tool: str | None = None
    after_tool: bool | None = None
    model: str | None = None
    times: int | None = None


class Failing(_Order):
    """Make an incident; see `ProviderServer.fail`."""

    fault: Fault
    times: int | None = None
    probability: float = 1.0
    seconds: float | None = None
    after_seconds: float = 0.0
    model: str | None = None
    wire: WireName | None = None


class Limited(_Order):
    """Make a rate limit; see `ProviderServer.limit`."""

    requests: int
    seconds: float = 60.0
    tokens: int | None = None
    model: str | None = None
    burst: int | None = None


class Numbered(_Order):
    """Name an incident by its number, all of them by None."""

    incident: int | None = None


class Asked(_Order):
    """What is wanted of the log: requests after this number, all if there was a reset since; length of windows."""

    after: int = 0
    resets: int = 0
    seconds: float = 1.0


_LOGGED: Final = [each.name for each in fields(Request)]
Action: TypeAlias = Callable[[Any], Awaitable[Any]]


class Control:
    """Serves `POST /NAME` with a JSON body for each thing that a test does to a provider in its own process."""

    def __init__(self, provider: ProviderServer, *, port: int = 0) -> None:
        self._provider = provider
        self._listener = Listener(port, self._handle)
        self._actions: dict[str, tuple[type[_Order], Action]] = {
            "/script": (Scripted, self._script),
            "/when": (Ruled, self._when),
            "/fail": (Failing, self._fail),
            "/end": (Numbered, self._end),
            "/release": (Numbered, self._release),
            "/limit": (Limited, self._limit),
            "/down": (Numbered, self._down),
            "/up": (Numbered, self._up),
            "/reset": (Numbered, self._reset),
            "/requests": (Asked, self._requests),
            "/stats": (Asked, self._stats),
        }

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._listener.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        del kind, error, trace
        await self._listener.go_down()
        self._listener.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.port}"

    async def _handle(self, incoming: Incoming, connection: Connection) -> None:
        found = self._actions.get(incoming.path)
        if found is None or incoming.method != "POST":
            await send_json(connection, 404, {"detail": f"No route; POST to one of {', '.join(self._actions)}."})
            return
        order, action = found
        try:
            said = await action(order.model_validate_json(incoming.body or b"{}"))
        except (ValidationError, IndexError) as error:
            await send_json(connection, 422, {"detail": str(error)})
        else:
            await send_json(connection, 200, said)

    async def _script(self, asked: Scripted) -> None:
        self._provider.script(asked.replies)

    async def _when(self, asked: Ruled) -> None:
        self._provider.when(**asked.given())

    async def _fail(self, asked: Failing) -> int:
        self._provider.fail(**asked.given())
        return len(self._provider.incidents) - 1

    async def _end(self, asked: Numbered) -> None:
        number = asked.incident
        for incident in self._provider.incidents if number is None else [self._provider.incidents[number]]:
            incident.end()

    async def _release(self, asked: Numbered) -> None:
        number = asked.incident
        self._provider.release(None if number is None else self._provider.incidents[number])

    async def _limit(self, asked: Limited) -> None:
        self._provider.limit(**asked.given())

    async def _down(self, _: Numbered) -> None:
        await self._provider.go_down()

    async def _up(self, _: Numbered) -> None:
        await self._provider.come_up()

    async def _reset(self, _: Numbered) -> None:
        self._provider.reset()

    async def _requests(self, asked: Asked) -> dict[str, Any]:
        after = asked.after if asked.resets == self._provider.resets else 0
        # Not `asdict`, which copies every body: a test that waits asks often.
        found = [{name: getattr(each, name) for name in _LOGGED} for each in self._provider.requests[after:]]
        return {"resets": self._provider.resets, "after": after, "requests": found}

    async def _stats(self, asked: Asked) -> dict[str, Any]:
        requests, seconds = self._provider.requests, asked.seconds
        return {
            "counts": asdict(counts(requests)),
            "windows": [asdict(window) for window in windows(requests, seconds)],
            "busiest": busiest(requests, seconds),
            "repeated": [[request.number for request in same] for same in repeated(requests)],
            "incidents": [len(incident.hits) for incident in self._provider.incidents],
            "limits": [{"admitted": limit.admitted, "refused": limit.refused} for limit in self._provider.limits],
        }
