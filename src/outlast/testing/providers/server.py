"""The provider itself."""

import asyncio
import json
import random
import time
from asyncio import Runner
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, Unpack, cast

from outlast.testing.providers.answering import Answering
from outlast.testing.providers.anthropic_messages import AnthropicMessages
from outlast.testing.providers.connections import Connection, Incoming, Listener
from outlast.testing.providers.faults import Fault, Incident
from outlast.testing.providers.limits import RateLimit
from outlast.testing.providers.openai_chat import OpenAIChat
from outlast.testing.providers.openai_responses import OpenAIResponses
from outlast.testing.providers.replies import Reply
from outlast.testing.providers.requests import Request, WireName
from outlast.testing.providers.scripts import Conditions, Decide, Rule, Said, Script, counted, reserved_tokens
from outlast.testing.providers.wires import Wire

_WIRES: Final[dict[str, Wire]] = {wire.path: wire for wire in (OpenAIChat(), OpenAIResponses(), AnthropicMessages())}
_COUNTING: Final = "/v1/messages/count_tokens"
Seen: TypeAlias = Callable[[list[Request]], object]


class ProviderServer:
    """A provider on the loopback interface that says what it is told to, and fails on demand.

        async with ProviderServer() as server:
            model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key="test")

    It runs on the event loop that enters it. Without a script it echoes. `seed` decides faults with a probability.
    `strict`: histories that the provider would not take (a tool call without its result, say) are refused with 400.
    What a function of the script raises is answered with 500 and raised again when the server closes. `clock` is what
    limits and incidents go by.
    """

    def __init__(
        self, *, port: int = 0, seed: int = 0, strict: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.requests: list[Request] = []
        self.incidents: list[Incident] = []
        self.limits: list[RateLimit] = []
        self._listener = Listener(port, self._handle)
        self._seed = seed
        self._strict = strict
        self._clock = clock
        self._script = Script()
        self._released: dict[Incident | None, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._errors: list[Exception] = []
        #: Counts calls of `reset`: whoever remembers requests has to forget them when it changes.
        self.resets = 0
        self._loop: asyncio.AbstractEventLoop

    @classmethod
    @contextmanager
    def in_thread(cls, *, seed: int = 0, strict: bool = True) -> Generator[Self]:
        """Run one on an event loop in a thread of its own, for tests that are not asynchronous.

        What is not awaited works from the test's thread as it does on the loop.
        """
        with Runner() as runner, ThreadPoolExecutor(1, "provider") as thread:
            loop = runner.get_loop()
            running = thread.submit(loop.run_forever)
            server = cls(seed=seed, strict=strict)
            asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
            try:
                yield server
            finally:
                closing = asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop)
                wait([closing])
                loop.call_soon_threadsafe(loop.stop)
                running.result()
                closing.result()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await self._listener.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up on everybody."""
        del kind, trace
        await self.go_down()
        self._listener.close()
        if error is None and self._errors:
            raise self._errors[0]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def openai_url(self) -> str:
        """`base_url` for OpenAI's SDK and ChatOpenAI."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """`base_url` for Anthropic's SDK and ChatAnthropic."""
        return self.url

    def script(self, replies: Iterable[Said] | Decide) -> None:
        """Say what is answered: a list for the next requests, or a function of the request.

        The n-th entry of the list is the n-th complete answer: a request that a fault strikes uses none up. The
        function is asked when the list and the rules have nothing; it returns None for the echo.
        """
        if callable(replies):
            self._script.decide = replies
        else:
            self._script.add(replies)

    def when(self, reply: Said, **conditions: Unpack[Conditions]) -> Rule:
        """Reply so to the requests that match: by `text`, `tool`, `after_tool`, `model`, and `times` often; see `Rule`.

        The rule made first wins.
        """
        rule = Rule(reply=reply, **conditions)
        self._script.rules.append(rule)
        return rule

    def fail(
        self,
        fault: Fault,
        *,
        times: int | None = None,
        probability: float = 1.0,
        seconds: float | None = None,
        after_seconds: float = 0.0,
        model: str | None = None,
        wire: WireName | None = None,
        when: Callable[[Request], bool] | None = None,
    ) -> Incident:
        """Strike the requests that match with a fault; the incident made first wins.

        Without a limit it goes on until `end()`. `seconds` is how long it lasts, `after_seconds` when it begins.
        """
        starts_at = self._clock() + after_seconds
        incident = Incident(
            fault=fault,
            times=times,
            probability=probability,
            starts_at=starts_at,
            ends_at=None if seconds is None else starts_at + seconds,
            model=model,
            wire=wire,
            when=when,
            clock=self._clock,
            chance=random.Random(f"{self._seed}:{len(self.incidents)}"),  # noqa: S311 - to be repeatable
        )
        self.incidents.append(incident)
        return incident

    def limit(
        self,
        requests: int,
        *,
        seconds: float = 60.0,
        tokens: int | None = None,
        model: str | None = None,
        burst: int | None = None,
    ) -> RateLimit:
        """Answer 429 with `Retry-After` to more than so many requests in so many seconds; see `RateLimit`."""
        limit = RateLimit(
            requests=requests, seconds=seconds, tokens=tokens, model=model, burst=burst, clock=self._clock
        )
        self.limits.append(limit)
        return limit

    def release(self, incident: Incident | None = None) -> None:
        """Let the requests go on that a `hold` stopped, all of them or those of one incident; it strikes no more."""
        for each in [one for one in self.incidents if incident in {None, one} and one.fault.kind == "hold"]:
            each.end()
            self._loop.call_soon_threadsafe(self._event(each).set)

    def reset(self) -> None:
        """Forget requests, script, incidents and limits; release what is held."""
        self.release()
        self.requests.clear()
        self.incidents.clear()
        self.limits.clear()
        self._released.clear()
        self._script = Script()
        self.resets += 1

    @property
    def answered(self) -> list[Request]:
        """The requests that were answered completely: what has to be paid for."""
        return [request for request in self.requests if request.outcome == "answered"]

    async def wait_for(self, seen: Seen, timeout_seconds: float = 10.0) -> None:
        """Wait until the requests so far are as wanted. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while not seen(self.requests):
                self._changed.clear()
                await self._changed.wait()

    async def go_down(self) -> None:
        """Refuse connections and reset those that are open, until `come_up`. The port stays ours meanwhile."""
        for request in self.requests:
            if request.outcome is None:
                request.fault = "down"
                request.end("failed")
        await self._listener.go_down()

    async def come_up(self) -> None:
        """Listen again."""
        await self._listener.come_up()

    def _event(self, incident: Incident | None) -> asyncio.Event:
        return self._released.setdefault(incident, asyncio.Event())

    async def _handle(self, incoming: Incoming, connection: Connection) -> None:
        wire = _WIRES.get(incoming.path)
        if incoming.path == _COUNTING:
            counting = Request(number=0, wire="anthropic", path=_COUNTING, headers={}, body=_parsed(incoming.body))
            await send_json(connection, 200, {"input_tokens": counted(counting, Reply()).input_tokens})
        elif wire is None or incoming.method != "POST":
            message = f"No route {incoming.method} {incoming.path}."
            await send_json(connection, 404, {"error": {"message": message, "code": "not_found"}})
        else:
            await self._receive(wire, incoming, connection)

    async def _receive(self, wire: Wire, incoming: Incoming, connection: Connection) -> None:
        request = Request(
            number=len(self.requests) + 1,
            wire=wire.name,
            path=incoming.path,
            headers=incoming.headers,
            body=_parsed(incoming.body),
        )
        self.requests.append(request)
        self._changed.set()
        try:
            await self._answer(request, wire, connection)
        except (asyncio.CancelledError, ConnectionResetError):
            # The client is gone, and whoever answered it stops.
            request.end("lost")
        except Exception as error:  # noqa: BLE001 - raised again when the server closes
            self._errors.append(error)
            request.end("bad")
            await send_json(connection, 500, wire.error(500, "script_failed", f"The script raised {error!r}."))
        finally:
            self._changed.set()

    async def _answer(self, request: Request, wire: Wire, connection: Connection) -> None:
        limits = [limit for limit in self.limits if limit.model in {None, request.model}]
        tokens = reserved_tokens(request) if limits else 0
        slowest = max(limits, key=lambda limit: limit.wait_seconds(tokens), default=None)
        wait_seconds = slowest.wait_seconds(tokens) if slowest else 0.0
        problem = wire.problem(request) if self._strict else None
        refused = problem is not None or wait_seconds > 0
        incident = None if refused else next((each for each in self.incidents if each.strikes(request)), None)
        request.fault = incident.fault.kind if incident else None
        answering = Answering(
            request=request,
            wire=wire,
            connection=connection,
            incident=incident,
            changed=self._changed.set,
            released=self._event(incident),
        )
        if slowest is not None and wait_seconds > 0:
            slowest.refuse()
            await answering.refuse(slowest, wait_seconds)
            return
        for limit in limits:
            limit.admit(tokens)
        if problem is not None:
            await answering.reject(problem)
        else:
            await answering.run(self._script)


def _parsed(body: bytes) -> dict[str, Any]:
    """Return the body, empty if it is none: that lacks everything and is refused for it."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


async def send_json(connection: Connection, status: int, said: Any) -> None:
    """Send an answer in one piece."""
    body = json.dumps(said).encode()
    connection.start(status, {"content-type": "application/json", "content-length": str(len(body))})
    await connection.write(body)
    await connection.finish()
