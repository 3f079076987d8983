"""Ends of runs are told to the address that the run names: signed, until they arrive, and never to the inside."""

import asyncio
import base64
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from uuid import UUID

import httpcore
import pytest
from agent_server_api import served, some_id, write_project
from standardwebhooks import Webhook

from outlast.domain.webhook import WebhookPolicy, check_webhook
from outlast.errors import ConfigurationError, InvalidInput, NotSupported
from outlast.settings import WebhookSettings
from outlast.storage.postgres.webhooks import WebhookStore
from outlast.webhooks.guard import Outbound, RefusedAddressError
from outlast.webhooks.signing import parse_secret, signed
from waiting import until
from webhook_receiver import receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
LOOPBACK = (ip_network("127.0.0.0/8"),)
QUICK = WebhookSettings(
    secret=SECRET,
    networks=LOOPBACK,
    poll=timedelta(milliseconds=50),
    base=timedelta(milliseconds=20),
    cap=timedelta(milliseconds=50),
    timeout=timedelta(seconds=2),
)


@asynccontextmanager
async def reporting(databases, open_runtime, tmp_path, port, settings=QUICK, **sections):
    """A server whose runs may report to `port` of this machine."""
    webhooks = {"url": {"allowed_ports": [port]}, **sections.pop("webhooks", {})}
    project = write_project(tmp_path, webhooks=webhooks, **sections)
    url = await databases.create()

    def opens(url, **more):
        return open_runtime(url, project=project, webhooks=settings, **more)

    async with served(opens, url) as server:
        yield server
    await databases.leave(url)


async def start(server, graph, webhook, **more):
    thread = await server.sdk.threads.create()
    given = {"input": {"messages": [{"role": "user", "content": "hi"}]}, **more}
    return await server.sdk.runs.create(thread["thread_id"], graph, webhook=webhook, **given)


async def state_of(server, run):
    rows = await server.rows(
        "SELECT state, attempts, last_error FROM webhook_deliveries WHERE run_id = %s", run["run_id"]
    )
    return rows[0] if rows else None


async def settled(server, run, state):
    async def over():
        found = await state_of(server, run)
        return found is not None and found[0] == state

    await until(over, 15, f"the report of {run['run_id']} is not {state}")
    return await state_of(server, run)


async def test_the_receiver_gets_the_run_and_can_verify_who_sent_it(databases, open_runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("LG_WEBHOOK_TOKEN", "t0p")
    async with receiving() as receiver:
        headers = {"headers": {"authorization": "Bearer ${{ env.LG_WEBHOOK_TOKEN }}"}}
        async with reporting(databases, open_runtime, tmp_path, receiver.port, webhooks=headers) as server:
            run = await start(server, "agent", receiver.url + "/hook?x=1")
            await settled(server, run, "delivered")

        [got] = receiver.received
        assert got.path == "/hook?x=1"
        assert got.headers["authorization"] == "Bearer t0p"
        assert Webhook(SECRET).verify(got.raw, got.headers) == got.body
        assert got.body["run_id"] == run["run_id"]
        assert got.body["status"] == "success"
        assert got.body["values"]["messages"][-1]["content"] == "1: hi"
        assert got.body["run_ended_at"] <= got.body["webhook_sent_at"]


async def test_failed_and_interrupted_runs_are_reported_as_what_they_are(databases, open_runtime, tmp_path):
    async with receiving() as receiver, reporting(databases, open_runtime, tmp_path, receiver.port) as server:
        broken = await start(server, "broken", receiver.url, input={})
        asked = await start(server, "ask", receiver.url, input={})
        await settled(server, broken, "delivered")
        await settled(server, asked, "delivered")

        bodies = {received.body["run_id"]: received.body for received in receiver.received}
        assert bodies[broken["run_id"]]["status"] == "error"
        assert bodies[broken["run_id"]]["error"] == "boom"
        assert bodies[asked["run_id"]]["status"] == "interrupted"
        [question] = bodies[asked["run_id"]]["values"]["__interrupt__"]
        assert question["value"]["question"] == "which one?"


async def test_a_run_that_is_cancelled_before_it_began_is_reported(databases, open_runtime, tmp_path):
    async with receiving() as receiver, reporting(databases, open_runtime, tmp_path, receiver.port) as server:
        run = await start(server, "agent", receiver.url, after_seconds=3600)
        await server.sdk.runs.cancel(run["thread_id"], run["run_id"])
        await settled(server, run, "delivered")
        assert receiver.received[0].body["status"] == "interrupted"


async def test_a_receiver_that_fails_is_asked_again_with_the_same_id(databases, open_runtime, tmp_path):
    def answer(receiver, _body):
        return 503 if len(receiver.received) < 3 else 204

    async with receiving(answer) as receiver, reporting(databases, open_runtime, tmp_path, receiver.port) as server:
        run = await start(server, "agent", receiver.url)
        assert (await settled(server, run, "delivered"))[1] == 3
        assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


@pytest.mark.parametrize(("status", "why"), [(410, "it wants no more"), (302, "answered 302"), (500, "answered 500")])
async def test_what_will_never_arrive_is_given_up(databases, open_runtime, tmp_path, status, why):
    settings = QUICK.model_copy(update={"give_up": timedelta(milliseconds=100)})
    async with (
        receiving(lambda *_: status) as receiver,
        reporting(databases, open_runtime, tmp_path, receiver.port, settings) as server,
    ):
        run = await start(server, "agent", receiver.url)
        _, attempts, error = await settled(server, run, "failed")
        assert why in error
        assert attempts == len(receiver.received)
        assert all(received.path == "/" for received in receiver.received), "a redirect is never followed"


async def test_a_path_is_posted_to_the_projects_own_app(databases, open_runtime, tmp_path):
    (tmp_path / "own_hooks.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.responses import JSONResponse\n"
        "from starlette.routing import Route\n"
        "got = []\n"
        "async def hook(request):\n"
        "    got.append((await request.json())['status'])\n"
        "    return JSONResponse(None)\n"
        "async def seen(request):\n"
        "    return JSONResponse(got)\n"
        "app = Starlette(routes=[Route('/own/hook', hook, methods=['POST']), Route('/own/seen', seen)])\n"
    )
    http = {"app": "./own_hooks.py:app"}
    async with reporting(databases, open_runtime, tmp_path, 80, http=http) as server:
        run = await start(server, "agent", "/own/hook")
        await settled(server, run, "delivered")
        assert (await server.http.get("/own/seen")).json() == ["success"]


async def test_of_many_senders_each_report_has_one(databases, open_runtime, tmp_path):
    async with receiving() as receiver, reporting(databases, open_runtime, tmp_path, receiver.port) as server:
        runs = await server.rows(
            "WITH t AS (INSERT INTO threads (key, thread_id) VALUES (gen_random_uuid(), %s) RETURNING key),"
            " r AS (INSERT INTO runs (id, thread_key, agent, status, ended_at)"
            "  SELECT gen_random_uuid(), key, 'agent', 'succeeded', clock_timestamp() FROM t, generate_series(1, 100)"
            "  RETURNING id),"
            " d AS (INSERT INTO run_details (run_id, input) SELECT id, 'null' FROM r)"
            " SELECT id FROM r",
            some_id(),
        )
        # After them, so that no sender of the server is in between; a lease of an hour keeps what is taken here.
        store = WebhookStore(server.runtime.pool)
        await server.rows(
            "INSERT INTO webhook_deliveries (run_id, epoch, url, due_at)"
            " SELECT id, 1, %s, clock_timestamp() + interval '1 day' FROM unnest(%s::uuid[]) AS id",
            receiver.url,
            [run_id for (run_id,) in runs],
        )
        await server.rows("UPDATE webhook_deliveries SET due_at = clock_timestamp()")
        hour = timedelta(hours=1)
        taken = await asyncio.gather(*(store.take(own=False, limit=20, lease=hour) for _ in range(10)))
        ids = [delivery.id for batch in taken for delivery in batch]
        assert len(ids) == len(set(ids))

        async def all_have_one():
            rows = await server.rows("SELECT count(*), max(attempts) FROM webhook_deliveries WHERE attempts > 0")
            return rows[0] == (100, 1)

        await until(all_have_one, 15)


async def test_the_report_of_a_sender_that_died_is_taken_by_another(databases, open_runtime, tmp_path):
    async with receiving() as receiver:
        # Nobody sends here but the test.
        idle = QUICK.model_copy(update={"poll": timedelta(hours=1)})
        async with reporting(databases, open_runtime, tmp_path, receiver.port, idle) as server:
            run = await start(server, "agent", "/own/path", after_seconds=3600)
            await server.sdk.runs.cancel(run["thread_id"], run["run_id"])
            await server.rows("UPDATE webhook_deliveries SET url = %s, state = 'pending', attempts = 0", receiver.url)
            store = WebhookStore(server.runtime.pool)
            await server.rows("UPDATE webhook_deliveries SET due_at = clock_timestamp()")
            [dead] = await store.take(own=False, limit=10, lease=timedelta(milliseconds=200))
            assert await store.take(own=False, limit=10, lease=timedelta(hours=1)) == []
            taken = []

            async def taken_again():
                taken.extend(await store.take(own=False, limit=10, lease=timedelta(hours=1)))
                return taken

            await until(taken_again)
            assert [(delivery.id, delivery.attempts) for delivery in taken] == [(dead.id, dead.attempts + 1)]


async def test_a_late_sender_does_not_overwrite_what_came_after_it(databases, open_runtime, tmp_path):
    def answer(receiver, _body):
        return 500 if len(receiver.received) == 1 else 200

    async with receiving(answer) as receiver, reporting(databases, open_runtime, tmp_path, receiver.port) as server:
        run = await start(server, "agent", receiver.url)
        await settled(server, run, "delivered")
        [(id_,)] = await server.rows("SELECT id FROM webhook_deliveries WHERE run_id = %s", run["run_id"])
        from outlast.storage.postgres.webhooks import Delivery

        late = Delivery(
            id=id_, run_id=UUID(run["run_id"]), tenant="default", url=receiver.url, attempts=1, age=timedelta()
        )
        await WebhookStore(server.runtime.pool).failed(late, "too late", retry_in=None)
        assert (await state_of(server, run))[0] == "delivered"


# where a webhook may not lead

HOSTILE = [
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://0/", "http://0.0.0.0/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/", "http://192.0.2.1/", "http://198.18.0.1/",
    "http://224.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/", "http://[::1]/", "http://[::]/",
    "http://[fe80::1]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[ff02::1]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::a00:1]/", "http://[64:ff9b:1::a00:1]/", "http://[2002:7f00:1::]/", "http://[2002:a00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", "http://[::127.0.0.1]/", "http://[2001:db8::1]/",
    "http://[fe80::1%25eth0]/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/",
    "javascript:alert(1)", "data:text/plain,hi", "http:///path", "http://", "https://", "http://user@example.com/",
    "http://user:password@example.com/", "http://example.com@127.0.0.1/", "http://example.com:22/",
    "http://example.com:6379/", "http://example.com:0/", "http://example.com:99999/", "http://example.com:port/",
    "http://exam\nple.com/", "http://example.com/\r\nHost: inside", "http://example.com/ x", "http://example.com\\@127.0.0.1/",
    "http://ex\u00e4mple.com/", "http://\uff11\uff12\uff17.0.0.1/", "http://[::1/", "relative/path", "", "?x=1",
    "http://127.0.0.1./", "http://%31%32%37.0.0.1/", "http://example.com/" + "x" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE, ids=lambda url: repr(url)[:40])
def test_a_hostile_address_is_refused_before_anything_is_resolved(url):
    with pytest.raises(InvalidInput) as refused:
        check_webhook(url, WebhookPolicy())
    assert refused.value.field == "webhook"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook", "http://example.com", "https://example.com:443/x?y=z", "https://8.8.8.8/",
        "https://[2606:4700::1111]/", "https://a-b.example.com./x", "/own/path",
    ],
)  # fmt: skip
def test_an_ordinary_address_is_allowed(url):
    check_webhook(url, WebhookPolicy())


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (WebhookPolicy(require_https=True), "http://example.com/"),
        (WebhookPolicy(allowed_domains=("*.example.com",)), "https://example.com/"),
        (WebhookPolicy(allowed_domains=("*.example.com",)), "https://evilexample.com/"),
        (WebhookPolicy(allowed_domains=("example.com",)), "https://a.example.com/"),
        (WebhookPolicy(allowed_ports=(8443,)), "https://example.com/"),
        (WebhookPolicy(max_url_length=20), "https://example.com/abc"),
        (WebhookPolicy(disable_loopback=True), "/own"),
    ],
)
def test_the_projects_policy_counts(policy, url):
    with pytest.raises(InvalidInput):
        check_webhook(url, policy)


def test_the_projects_policy_allows_what_it_names():
    check_webhook(
        "https://a.example.com:8443/", WebhookPolicy(allowed_domains=("*.example.com",), allowed_ports=(8443,))
    )
    with pytest.raises(NotSupported):
        check_webhook("https://example.com/", WebhookPolicy(disabled=True))


async def test_a_name_that_leads_inside_is_refused_when_it_is_called():
    async with receiving() as receiver:
        outbound = Outbound((), limit=timedelta(seconds=2))
        target = check_webhook(f"http://localhost:{receiver.port}/", WebhookPolicy(allowed_ports=(receiver.port,)))
        with pytest.raises(RefusedAddressError, match="no public address"):
            await outbound(target, {}, b"{}")
        await outbound.aclose()
        assert receiver.received == []


async def test_a_receiver_that_never_answers_costs_no_more_than_the_limit():
    gone = asyncio.Event()

    async def silent(reader, writer):
        # Until the sender has had enough.
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outbound = Outbound(LOOPBACK, limit=timedelta(milliseconds=100))
    target = check_webhook(f"http://127.0.0.1:{port}/", WebhookPolicy(allowed_ports=(port,), networks=LOOPBACK))
    with pytest.raises((TimeoutError, httpcore.TimeoutException)):
        await outbound(target, {}, b"{}")
    await outbound.aclose()
    await gone.wait()
    server.close()
    await server.wait_closed()


async def test_a_hostile_webhook_of_a_run_is_422_and_no_run(server):
    thread = await server.sdk.threads.create()
    for url in ("http://169.254.169.254/", "http://localhost:22/"):
        response = await server.http.post(
            f"/threads/{thread['thread_id']}/runs", json={"assistant_id": "agent", "webhook": url}
        )
        assert response.status_code == 422, response.text
        assert response.json()["field"] == "webhook"
    assert await server.sdk.runs.list(thread["thread_id"]) == []


def test_signatures_are_those_of_the_standard():
    rng = random.Random(1)
    for size in (0, 1, 1000):
        body = rng.randbytes(size).hex()
        id_, now = UUID(int=rng.getrandbits(128)), datetime.now(UTC)
        headers = signed(parse_secret(SECRET), id_, now, body.encode())
        assert headers["webhook-signature"] == Webhook(SECRET).sign(str(id_), now, body)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "not base64!"])
def test_a_secret_that_is_none_is_refused(secret):
    with pytest.raises(ConfigurationError):
        parse_secret(secret)


def test_a_header_may_only_name_what_its_prefix_allows():
    from outlast.agents.sections import WebhooksSection
    from outlast.errors import AgentLoadError

    section = WebhooksSection(headers={"x": "${{ env.AWS_SECRET }}"})
    with pytest.raises(AgentLoadError, match="env_prefix"):
        section.resolved_headers({"AWS_SECRET": "s"})
