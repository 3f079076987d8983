"""What a load balancer asks."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from server_api import client_of

from outlast.settings import WorkerSettings
from socket_proxy import SocketProxy
from waiting import until


async def test_with_everything_there(api):
    async def there() -> bool:
        return (await api.http.get("/health")).status_code == 200

    # The worker registers beside us.
    await until(there)
    response = await api.http.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert all(check["ok"] for check in response.json()["checks"].values())
    assert response.json()["checks"]["database"]["latency_ms"] > 0


async def test_without_a_worker(idle_api):
    response = await idle_api.http.get("/health")
    checks = response.json()["checks"]
    assert response.status_code == 503
    assert (checks["database"]["ok"], checks["schema"]["ok"], checks["workers"]["ok"]) == (True, True, False)
    assert "outlast worker" in checks["workers"]["detail"]


async def test_a_worker_that_fell_silent_does_not_count(database_url, open_runtime):
    lease = WorkerSettings(lease=timedelta(seconds=5))
    async with open_runtime(database_url, worker=lease) as runtime, client_of(runtime) as http:
        async with runtime.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO workers (id, host, pid, concurrency, agents, heartbeat_at)"
                " VALUES (%s, 'h', 1, 1, '{}', clock_timestamp() - interval '6 seconds')",
                [uuid4()],
            )
        assert not (await http.get("/health")).json()["checks"]["workers"]["ok"]
        async with runtime.pool.connection() as connection:
            await connection.execute("UPDATE workers SET heartbeat_at = clock_timestamp()")
        assert (await http.get("/health")).status_code == 200

        async with runtime.pool.unscoped() as connection:
            await connection.execute("DELETE FROM schema_migrations")
        response = await http.get("/health")
        assert response.status_code == 503
        assert "outlast db migrate" in response.json()["checks"]["schema"]["detail"]

        async with runtime.pool.unscoped() as connection:
            await connection.execute("DROP TABLE schema_migrations")
        assert (await http.get("/health")).status_code == 503


async def test_with_the_database_away(database_url, open_runtime):
    async with (
        SocketProxy.before(database_url) as proxy,
        open_runtime(proxy.url) as runtime,
        client_of(runtime) as http,
    ):
        started = (await http.post("/agent/start", json={"agent": "echo", "input": 1})).json()
        proxy.refuse = True
        proxy.cut()

        health = await http.get("/health")
        assert health.status_code == 503
        assert not health.json()["checks"]["database"]["ok"]
        assert (await http.get("/ok")).json() == {"ok": True}
        asked = (
            ("POST", "/agent/start", {"agent": "echo", "input": 1}),
            ("GET", f"/agent/status/{started['task_id']}", None),
            ("GET", f"/agent/state/{started['thread_id']}", None),
            ("POST", f"/agent/cancel/{started['task_id']}", None),
            ("POST", "/chat", {"user_id": "ann", "message": "x"}),
        )
        # Each waits for a connection for as long as it may: all together.
        for response in await asyncio.gather(*(http.request(method, path, json=body) for method, path, body in asked)):
            path = response.request.url.path
            assert (response.status_code, response.json()["code"]) == (503, "database_unavailable"), path
            assert response.headers["Retry-After"] == "1"
            assert "password" not in response.text

        proxy.refuse = False

        async def is_back():
            return (await http.get(f"/agent/status/{started['task_id']}")).json()["status"] == "queued"

        await until(is_back, 30)
