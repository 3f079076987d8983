import sys; sys.path[:0]=["/work/main/tests","/work/main/tests/server"]
import asyncio, time
from outlast.server.app import create_app
from server_api import client_of
from socket_proxy import SocketProxy
async def test_orphan(database_url, open_runtime):
    async with open_runtime(database_url) as rt, client_of(rt) as http:
        for _ in range(5):
            await http.post("/agent/start", json={"agent":"echo","input":1}, headers={"Idempotency-Key":"k"})
        async with rt.pool.connection() as c:
            print("threads rows", await (await c.execute("select count(*) from threads")).fetchone())
async def test_back(database_url, open_runtime):
    async with SocketProxy.before(database_url) as proxy, open_runtime(proxy.url) as rt, client_of(rt) as http:
        s=(await http.post("/agent/start", json={"agent":"echo","input":1})).json()
        rt.pool._pool.reconnect_timeout=2.0; proxy.refuse=True; proxy.cut()
        t=time.monotonic()
        while time.monotonic()-t<40:
            assert (await http.get(f"/agent/status/{s['task_id']}")).status_code==503
        proxy.refuse=False; t=time.monotonic()
        while (await http.get(f"/agent/status/{s['task_id']}")).status_code!=200: await asyncio.sleep(.1)
        print("back after", time.monotonic()-t)
