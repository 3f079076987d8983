"""A provider in a process of its own: it sees what killed workers asked, and outlives them."""

import asyncio
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final, Self, Unpack

import httpx

from outlast.testing.providers.faults import Fault
from outlast.testing.providers.requests import Request, WireName
from outlast.testing.providers.scripts import Conditions, Said

_POLL_SECONDS: Final = 0.02
_STOP_SECONDS: Final = 10.0


class ProviderProcess:
    """Does from outside what `ProviderServer` does on the test's own event loop; numbers stand for incidents.

        async with ProviderProcess.start() as provider:
            workers.start(OPENAI_API_BASE=provider.openai_url)
            await provider.wait_for(lambda requests: len(requests) == 3)

    The process ends with the one that started it, however that ends.
    """

    def __init__(self, addresses: dict[str, str], client: httpx.AsyncClient) -> None:
        self.openai_url = addresses["openai_url"]
        self.anthropic_url = addresses["anthropic_url"]
        self.control_url = addresses["control_url"]
        self._client = client
        self._known: list[Request] = []
        self._resets = 0

    @classmethod
    @asynccontextmanager
    async def start(cls, *, seed: int = 0, strict: bool = True) -> AsyncGenerator[Self]:
        """Start one on free ports, and stop it at the end."""
        options = [f"--seed={seed}", *([] if strict else ["--lenient"])]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "outlast.testing.providers",
            "--until-stdin-closes",
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            addresses = await _said(process)
            async with cls.attached(addresses) as provider:
                yield provider
        finally:
            await _stop(process)

    @classmethod
    @asynccontextmanager
    async def attached(cls, addresses: dict[str, str]) -> AsyncGenerator[Self]:
        """Control one that somebody else started; `addresses` is the line that it printed."""
        # No proxy from the environment: it is on this machine.
        async with httpx.AsyncClient(base_url=addresses["control_url"], timeout=30.0, trust_env=False) as client:
            yield cls(addresses, client)

    async def script(self, replies: Iterable[Said]) -> None:
        """Append replies to the list."""
        await self._do("script", replies=[each if isinstance(each, str) else asdict(each) for each in replies])

    async def when(self, reply: Said, **conditions: Unpack[Conditions]) -> None:
        """Make a rule, as `ProviderServer.when` does."""
        said = reply if isinstance(reply, str) else asdict(reply)
        await self._do("when", reply=said, **conditions)

    async def fail(
        self,
        fault: Fault,
        *,
        times: int | None = None,
        probability: float = 1.0,
        seconds: float | None = None,
        after_seconds: float = 0.0,
        model: str | None = None,
        wire: WireName | None = None,
    ) -> int:
        """Make an incident and return its number."""
        return await self._do(
            "fail",
            fault=asdict(fault),
            times=times,
            probability=probability,
            seconds=seconds,
            after_seconds=after_seconds,
            model=model,
            wire=wire,
        )

    async def end(self, incident: int | None = None) -> None:
        """End an incident, or all."""
        await self._do("end", incident=incident)

    async def release(self, incident: int | None = None) -> None:
        """Let go on what a `hold` stopped."""
        await self._do("release", incident=incident)

    async def limit(
        self,
        requests: int,
        *,
        seconds: float = 60.0,
        tokens: int | None = None,
        model: str | None = None,
        burst: int | None = None,
    ) -> None:
        """Make a rate limit."""
        await self._do("limit", requests=requests, seconds=seconds, tokens=tokens, model=model, burst=burst)

    async def go_down(self) -> None:
        """Refuse connections and reset those that are open."""
        await self._do("down")

    async def come_up(self) -> None:
        """Listen again."""
        await self._do("up")

    async def reset(self) -> None:
        """Forget requests, script, incidents and limits."""
        await self._do("reset")

    async def requests(self) -> list[Request]:
        """Return what came in, with what has become of it by now."""
        # Those that were ended before do not change any more; of thousands, only the last are asked for again.
        ended = next((at for at, each in enumerate(self._known) if each.outcome is None), len(self._known))
        said = await self._do("requests", after=ended, resets=self._resets)
        self._resets = said["resets"]
        self._known = self._known[: said["after"]] + [Request(**each) for each in said["requests"]]
        return list(self._known)

    async def answered(self) -> list[Request]:
        """Return the requests that were answered completely: what has to be paid for."""
        return [request for request in await self.requests() if request.outcome == "answered"]

    async def stats(self, *, seconds: float = 1.0) -> dict[str, Any]:
        """Return figures: counts, those of windows of so many seconds, the busiest one, hits, limits, repeated."""
        return await self._do("stats", seconds=seconds)

    async def wait_for(self, seen: Callable[[list[Request]], object], timeout_seconds: float = 10.0) -> list[Request]:
        """Wait until the requests so far are as wanted, and return them. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while not seen(found := await self.requests()):  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(_POLL_SECONDS)
            return found

    async def _do(self, action: str, **asked: Any) -> Any:
        answer = await self._client.post(f"/{action}", json=asked)
        if answer.is_error:
            raise ValueError(f"the provider refused {action}: {answer.text}")
        return answer.json()


async def _said(process: Process) -> dict[str, str]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the provider ended before it listened; its standard error says why")
    return json.loads(line)


async def _stop(process: Process) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
