"""An API in this process, with or without a worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from outlast.runtime import Runtime
from outlast.server.app import create_app


@dataclass(frozen=True, slots=True)
class Api:
    """What most tests need."""

    runtime: Runtime
    http: httpx.AsyncClient

    async def start(self, **body: Any) -> dict[str, Any]:
        response = await self.http.post("/agent/start", json=body)
        assert response.status_code == 202, response.text
        return response.json()

    async def ended(self, task_id: str) -> dict[str, Any]:
        response = await self.http.get(f"/agent/status/{task_id}", params={"wait": 10})
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def client_of(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
        yield client
