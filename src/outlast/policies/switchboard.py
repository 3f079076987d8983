"""What is switched off, as this process knows it: looked at once a second, and again as soon as somebody says so."""

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from outlast.domain.switch import EVERYBODY, Switch
from outlast.telemetry import emit


class Switches(Protocol):
    """Where they are kept."""

    async def all_off(self) -> list[Switch]:
        """Return what is off, of all tenants; raises DatabaseUnavailable."""
        ...


#: Called with the switch that stops whatever registered it.
Stop = Callable[[Switch], None]


@dataclass(frozen=True, slots=True)
class _Running:
    tenant: str
    agent: str
    stop: Stop
    guarded: bool


class Switchboard:
    """Answers from memory. While the database is away, what was known last still counts."""

    def __init__(self, switches: Switches, *, look_seconds: float) -> None:
        self._switches = switches
        self._look_seconds = look_seconds
        self._off: dict[tuple[str, str, str], Switch] = {}
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._stale = asyncio.Event()
        self._running: dict[int, _Running] = {}

    def stops(self, tenant: str, agent: str) -> Switch | None:
        """Return the switch that stops runs of this agent; None: they may go on."""
        if not self._off:
            return None
        return self._found(tenant, "tenant", "") or self._found(tenant, "agent", agent)

    def stops_tool(self, tenant: str, tool: str) -> Switch | None:
        """Return the switch that stops whoever is about to use this tool."""
        return self._found(tenant, "tool", tool) if self._off else None

    async def fresh(self) -> None:
        """Return when what is known is no older than `policies.switch_look`; costs nothing while `watch` runs."""
        if self._age() > self._look_seconds:
            await self.look()

    async def look(self) -> None:
        """Look now, and stop what has to stop; those that come while somebody looks wait for the same answer."""
        asked_at = time.monotonic()
        async with self._looking:
            if self._looked_at > asked_at:
                return
            began_at = time.monotonic()
            found = await self._switches.all_off()
            self._looked_at = began_at
            self._off = {(switch.tenant, switch.kind, switch.name): switch for switch in found}
        for running in list(self._running.values()):
            switch = self.stops(running.tenant, running.agent)
            if switch is None and not running.guarded:
                switch = self._any_tool(running.tenant)
            if switch is not None:
                running.stop(switch)

    def look_again(self) -> None:
        """Somebody has turned something off or on."""
        self._looked_at = float("-inf")
        self._stale.set()

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            # Somewhat sooner than it is too old, so that nobody has to wait for it.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds * 0.8):
                    await self._stale.wait()
            self._stale.clear()
            try:
                await self.look()
            # The loop must outlive whatever one round meets.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="switches", error=type(error).__name__)

    @contextmanager
    def stopping(self, tenant: str, agent: str, stop: Stop, *, guarded: bool) -> Generator[None]:
        """Call `stop` when a switch is found that is for this run, for the length of the block.

        One that is not `guarded`, whose tools nobody looks at, is stopped by the switch of any tool: claimed again, it
        will be.
        """
        running = _Running(tenant, agent, stop, guarded)
        self._running[id(running)] = running
        try:
            yield
        finally:
            del self._running[id(running)]

    def has_tools_off(self, tenant: str) -> bool:
        """Whether tools have to be looked at."""
        return self._any_tool(tenant) is not None

    def _any_tool(self, tenant: str) -> Switch | None:
        for (of_tenant, kind, _), switch in self._off.items():
            if kind == "tool" and of_tenant in {tenant, EVERYBODY}:
                return switch
        return None

    def _found(self, tenant: str, kind: str, name: str) -> Switch | None:
        return self._off.get((tenant, kind, name)) or self._off.get((EVERYBODY, kind, name))

    def _age(self) -> float:
        return time.monotonic() - self._looked_at
