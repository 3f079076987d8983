"""What a load balancer asks, and whoever wants to know what is wrong."""

import asyncio
import os
import socket
from datetime import datetime, timedelta
from uuid import uuid4

from server_api import client_of

from outlast.monitoring import health
from outlast.queues.wakeup import Wakeup
from outlast.settings import CacheSettings, CallSettings, DatabaseSettings, WorkerSettings
from outlast.storage.postgres.embedded_disk import data_of
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
    # Runs can be taken all the same.
    ready = await idle_api.http.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert set(ready.json()["checks"]) == {"database", "schema"}


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
        assert (await http.get("/health/ready")).status_code == 503

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

        whole, ready = await asyncio.gather(http.get("/health"), http.get("/health/ready"))
        assert (whole.status_code, ready.status_code) == (503, 503)
        for found in (whole, ready):
            database = found.json()["checks"]["database"]
            assert (database["ok"], database["latency_ms"]) == (False, None)
            assert database["detail"] == database["last_error"] == "PostgreSQL does not answer"
        assert "unknown while" in whole.json()["checks"]["workers"]["detail"]
        assert (await http.get("/health/live")).status_code == 200
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
        database = (await http.get("/health/ready")).json()["checks"]["database"]
        # It is remembered what was wrong.
        assert (database["ok"], database["detail"]) == (True, None)
        assert database["last_error"] == "PostgreSQL does not answer"
        assert datetime.fromisoformat(database["last_error_at"]).tzinfo is not None


async def test_what_runs_can_do_without_degrades(api, tmp_path):
    async with api.runtime.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO breakers (circuit, model, version, openings, since, probe_at)"
            " VALUES ('key', 'openai:secret-model', 1, 1, clock_timestamp(), clock_timestamp())"
        )
    try:
        response = await api.http.get("/health")
    finally:
        async with api.runtime.pool.connection() as connection:
            await connection.execute("DELETE FROM breakers")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert "1 of 1 models" in response.json()["checks"]["models"]["detail"]
    # Anybody may ask.
    assert "secret-model" not in response.text


async def test_a_cache_that_does_not_answer_is_told_without_its_address(database_url, open_runtime):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    calls = CallSettings(cache=CacheSettings(redis_url=f"redis://:hidden@127.0.0.1:{port}/0"))
    async with open_runtime(database_url, calls=calls) as runtime, client_of(runtime) as http:
        response = await http.get("/health")
        cache = response.json()["checks"]["cache"]
        assert cache["detail"] == cache["last_error"] == "it does not answer (ConnectionError)"
        assert "hidden" not in response.text


async def test_processes_that_hear_no_hints_say_so(database_url):
    async with SocketProxy.before(database_url) as proxy, Wakeup(DatabaseSettings(url=proxy.url)).running() as wakeup:

        async def hears():
            return wakeup.deaf_seconds == 0.0

        await until(hears)
        proxy.refuse = True
        proxy.cut()

        async def deaf():
            return wakeup.deaf_seconds > 0.0

        await until(deaf)
        proxy.refuse = False
        await until(hears)


async def test_one_that_takes_too_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 0.01)

    async def never():
        await asyncio.Event().wait()

    async def quick():
        return health.Answer(ok=True)

    checks = await health.Health({"slow": never, "quick": quick}).look()
    assert (checks["slow"].ok, checks["slow"].detail) == (False, "it does not answer (TimeoutError)")
    assert checks["quick"].ok


def test_the_disk_of_a_private_server_is_looked_after(tmp_path):
    data = tmp_path / ".outlast" / "postgres" / "data"
    data.mkdir(parents=True)
    # As a server writes it that runs.
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n0\n5432\n/tmp/socket dir\n\n0\nready   \n")
    assert data_of("postgresql://outlast@%2Ftmp%2Fsocket%20dir:5432/outlast", tmp_path) == data.parent
    assert data_of("postgresql://outlast@example.org/outlast", tmp_path) is None
    assert data_of("postgresql://outlast@example.org/outlast", tmp_path / "elsewhere") is None


async def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    assert (await health._disk(tmp_path)).detail.endswith("GiB are free for the private database")
    monkeypatch.setattr(health, "_DISK_BYTES", 1 << 80)
    monkeypatch.setattr(health, "_DISK_SHARE", 2)
    found = await health._disk(tmp_path)
    assert (found.ok, found.detail[:4]) == (False, "only")
