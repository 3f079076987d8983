"""A project whose agents fail for as long as its file `poison` is there: what tests do with it."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from outlast.admission.request import RunRequest
from outlast.domain.acting import across_tenants
from outlast.domain.run import RunStatus, RunView
from outlast.runtime import Runtime


class Shop:
    """A runtime with a worker, its gate, and the world outside."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.letters = runtime.recovery_desk().dead_letters
        self.standstills = runtime.recovery_desk().standstills

    def poison(self) -> None:
        (self.folder / "poison").touch()

    def repair(self) -> None:
        (self.folder / "poison").unlink()

    def sent(self) -> list[str]:
        """What the effect has done outside."""
        file = self.folder / "sent"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def start(self, order: str = "book", **more: Any) -> UUID:
        request = {"agent": "shop", "input": {"order": order}, **more}
        return (await self.runtime.gate().admit(RunRequest(**request))).run_id

    async def end(self, run_id: UUID) -> RunView:
        return await self.runtime.queue.wait(run_id, timeout=timedelta(seconds=20))

    async def dead(self, *orders: str, **more: Any) -> list[UUID]:
        """Start runs that fail, and wait until they have."""
        self.poison()
        run_ids = [await self.start(order, **more) for order in orders]
        ended = await asyncio.gather(*map(self.end, run_ids))
        assert [view.status for view in ended] == [RunStatus.FAILED] * len(orders)
        return run_ids

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with across_tenants():
            async with self.runtime.pool.connection() as connection:
                return await (await connection.execute(statement.encode(), parameters)).fetchall()
