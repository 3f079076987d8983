"""What a test tells the provider is what its clients get, and what it saw is what they did."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvloop

from outlast.testing.providers import ProviderServer, Reply, ToolCall, busiest, counts, faults, repeated, windows
from outlast.testing.providers.requests import Request
from waiting import wait_until

CALLED = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "search"}}]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "found"}
USER = {"role": "user", "content": "hi"}


@pytest.fixture
async def client(provider):
    async with connected(provider) as client:
        yield client


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def timed(clock):
    """A provider whose time the test moves."""
    async with ProviderServer(clock=clock) as provider, connected(provider) as client:
        yield provider, client


def connected(provider):
    # Without certificates, which take longer to read than most of these tests.
    return httpx.AsyncClient(base_url=provider.openai_url, trust_env=False, verify=False)


async def post(client, *messages, text="hi", **body):
    asked = {"model": "gpt-4o", "messages": [*messages] or [{"role": "user", "content": text}], **body}
    return await client.post("/chat/completions", json=asked)


async def ask(client, *messages, **body):
    answer = await post(client, *messages, **body)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


async def test_a_list_is_said_in_order_and_then_the_echo(provider, client):
    provider.script(["one", Reply("two")])

    assert [await ask(client) for _ in range(3)] == ["one", "two", "You said: hi"]


async def test_rules_are_tried_in_order_after_the_list(provider, client):
    provider.when("rain", text="(?i)weather", times=1)
    provider.when("anything", model="gpt-4o")
    provider.when("never reached", text="weather")
    provider.script(["first"])

    assert [await ask(client, text="the weather?") for _ in range(3)] == ["first", "rain", "anything"]


async def test_a_rule_can_ask_for_a_tool_and_for_its_result(provider, client):
    provider.when("found it", after_tool=True)
    provider.when(Reply("calling", tool_calls=(ToolCall("search"),)), tool="search")
    tools = [{"type": "function", "function": {"name": "search", "parameters": {}}}]

    assert await ask(client, tools=tools) == "calling"
    assert await ask(client, USER, CALLED, RESULT, tools=tools) == "found it"
    assert await ask(client) == "You said: hi"


async def test_a_function_sees_the_request(provider, client):
    provider.script(lambda request: f"{request.model}: {request.text}" if "tell" in request.text else None)

    assert await ask(client, text="tell me") == "gpt-4o: tell me"
    assert await ask(client, text="no") == "You said: no"


async def test_what_a_script_raises_reaches_the_test():
    def broken(request):
        raise LookupError("a bug in the script")

    provider = await ProviderServer().__aenter__()
    provider.script(broken)
    async with connected(provider) as client:
        assert (await post(client)).status_code == 500

    with pytest.raises(LookupError, match="a bug in the script"):
        await provider.__aexit__(None, None, None)


async def test_a_request_is_logged_with_what_it_asked(provider, client):
    await client.post(
        "/chat/completions",
        json={"model": "gpt-4o", "messages": [USER], "temperature": 0},
        headers={"authorization": "Bearer sk-1"},
    )

    (request,) = provider.requests
    assert (request.number, request.wire, request.path) == (1, "openai", "/v1/chat/completions")
    assert (request.model, request.text, request.stream, request.key) == ("gpt-4o", "hi", False, "sk-1")
    assert request.body["temperature"] == 0
    assert request.at <= request.ended_at
    assert provider.answered == [request]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "gpt-4o"}', b'{"model": "gpt-4o", "messages": "hi"}'])
async def test_what_is_no_request_is_refused(provider, client, body):
    answer = await client.post("/chat/completions", content=body)

    assert answer.status_code == 400
    assert provider.requests[0].outcome == "bad"


@pytest.mark.parametrize(
    "messages", [[USER, CALLED], [USER, CALLED, USER], [USER, RESULT], [USER, CALLED, RESULT, RESULT]]
)
async def test_a_history_that_openai_refuses_is_refused(provider, client, messages):
    answer = await post(client, *messages)

    assert answer.status_code == 400
    assert "'tool_calls'" in answer.json()["error"]["message"]


async def test_an_unknown_route_is_not_found(provider, client):
    assert (await client.get("/models")).status_code == 404
    assert provider.requests == []


async def test_a_fault_strikes_so_many_requests(provider, client):
    incident = provider.fail(faults.status(500), times=2)

    assert [(await post(client)).status_code for _ in range(3)] == [500, 500, 200]
    assert incident.hits == provider.requests[:2]


async def test_a_fault_strikes_only_its_model_wire_or_condition(provider, client):
    provider.fail(faults.status(500), model="gpt-4o-mini")
    provider.fail(faults.status(502), wire="anthropic")
    provider.fail(faults.status(503), when=lambda request: "bomb" in request.text)

    assert (await post(client)).status_code == 200
    assert (await post(client, model="gpt-4o-mini")).status_code == 500
    assert (await post(client, text="bomb")).status_code == 503
    asked = {"model": "claude", "max_tokens": 1, "messages": [USER]}
    assert (await client.post(f"{provider.anthropic_url}/v1/messages", json=asked)).status_code == 502


async def test_a_fault_lasts_until_it_is_ended(provider, client):
    incident = provider.fail(faults.status(500))

    assert (await post(client)).status_code == 500
    incident.end()
    assert (await post(client)).status_code == 200


async def test_a_fault_has_its_time(clock, timed):
    provider, client = timed
    provider.fail(faults.status(500), seconds=10)
    provider.fail(faults.status(503), after_seconds=20, seconds=10)

    codes = []
    for now in (0, 9.9, 10, 20, 30):
        clock.now = now
        codes.append((await post(client)).status_code)

    assert codes == [500, 500, 200, 503, 200]


async def test_chance_is_the_same_for_the_same_seed():
    async def struck(seed):
        async with ProviderServer(seed=seed) as provider, connected(provider) as client:
            provider.fail(faults.status(500), probability=0.5)
            return [(await post(client)).status_code for _ in range(20)]

    first = await struck(1)
    assert first == await struck(1)
    assert first != await struck(2)
    assert {200, 500} == set(first)


async def test_a_held_request_waits_until_it_is_released(provider, client):
    held = provider.fail(faults.hold(), times=1)
    asking = asyncio.create_task(ask(client))
    await provider.wait_for(lambda requests: requests and requests[0].held)
    assert provider.requests[0].outcome is None

    provider.release(held)

    assert await asking == "You said: hi"
    assert provider.requests[0].outcome == "answered"


async def test_a_stream_is_held_after_its_pieces(provider, client):
    provider.script([Reply("one two six", chunk_characters=4)])
    provider.fail(faults.hold(pieces=2), times=1)
    asked = {"model": "gpt-4o", "messages": [USER], "stream": True}

    async with client.stream("POST", "/chat/completions", json=asked) as answer:
        texts = answer.aiter_text()
        said = ""
        while "two" not in said:
            said += await anext(texts)
        await provider.wait_for(lambda requests: requests[0].held)
        provider.release()
        rest = "".join([text async for text in texts])

    assert "six" not in said
    assert "six" in rest
    assert rest.endswith("[DONE]\n\n")


async def test_a_client_that_goes_away_is_lost_and_uses_up_no_reply(provider, client):
    provider.script(["kept"])
    provider.fail(faults.hold(), times=1)
    asking = asyncio.create_task(ask(client))
    await provider.wait_for(lambda requests: requests and requests[0].held)

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await provider.wait_for(lambda requests: requests[0].outcome == "lost")

    assert await ask(client) == "kept"
    assert counts(provider.requests).lost == 1


async def raw(provider):
    """Ask over a plain connection and return what comes back, an error of the connection included."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(provider.url.rpartition(":")[2]))
    body = json.dumps({"model": "gpt-4o", "messages": [USER]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode() + body)
        return await reader.read()
    finally:
        writer.close()


async def test_closed_is_an_end_and_reset_is_a_reset(provider):
    provider.fail(faults.closed(), times=1)
    provider.fail(faults.reset(), times=1)

    assert await raw(provider) == b""
    with pytest.raises(ConnectionResetError):
        await raw(provider)


async def test_a_cut_answer_is_shorter_than_it_says(provider):
    provider.fail(faults.cut_midway(), times=1)

    head, _, body = (await raw(provider)).partition(b"\r\n\r\n")

    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    assert 0 < len(body) < length


async def test_what_is_no_http_is_hung_up_on(provider):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(provider.url.rpartition(":")[2]))
    writer.write(b"\x16\x03\x01 this is TLS\r\n\r\n")

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_connection_is_kept_and_its_small_answers_are_not_delayed(provider, client):
    for _ in range(3):
        await ask(client)

    (connection,) = provider._listener._open
    kept = connection._transport.get_extra_info("socket")
    assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_replies_are_taken_back_to_their_place(provider, client):
    provider.script(["one", "two", "three"])
    provider.fail(faults.reset_midway(), times=2)

    await asyncio.gather(*(post(client) for _ in range(2)), return_exceptions=True)

    assert [await ask(client) for _ in range(3)] == ["one", "two", "three"]


async def test_a_slow_drip_arrives_in_small_pieces(provider, client):
    provider.fail(faults.drip(0.001), times=1)
    asked = {"model": "gpt-4o", "messages": [USER]}

    async with client.stream("POST", "/chat/completions", json=asked) as answer:
        pieces = [len(piece) async for piece in answer.aiter_raw()]

    assert sum(pieces) == int(answer.headers["content-length"])
    assert max(pieces) < 100
    assert provider.requests[0].outcome == "answered"


async def test_the_rate_limit_admits_no_more_than_it_says_and_tells_when_to_come_back(provider, client):
    limit = provider.limit(3, seconds=60)

    answers = [await post(client) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 0 < float(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].headers["x-ratelimit-remaining-requests"] == "0"
    assert (limit.admitted, limit.refused) == (3, 2)
    assert counts(provider.requests).limited == 2


async def test_who_waits_as_long_as_it_is_told_is_admitted(clock, timed):
    provider, client = timed
    provider.limit(2, seconds=60)
    for _ in range(2):
        await ask(client)
        clock.now += 10

    refused = await post(client)
    clock.now += float(refused.headers["retry-after"])

    assert refused.headers["retry-after"] == "40"
    assert [(await post(client)).status_code for _ in range(2)] == [200, 429]


async def test_a_bucket_lets_a_burst_through_and_refills_evenly(clock, timed):
    provider, client = timed
    provider.limit(60, seconds=60, burst=2)

    codes = [(await post(client)).status_code for _ in range(3)]
    refused = await post(client)
    clock.now += float(refused.headers["retry-after"])

    assert codes == [200, 200, 429]
    assert refused.headers["retry-after"] == "1"
    assert [(await post(client)).status_code for _ in range(2)] == [200, 429]


async def test_tokens_are_limited_as_they_are_asked_for(clock, timed):
    provider, client = timed
    provider.limit(100, seconds=60, tokens=1000)

    codes = [(await post(client, max_tokens=400)).status_code for _ in range(3)]
    small = await post(client, max_tokens=1)
    clock.now += 60

    assert codes == [200, 200, 429]
    assert small.status_code == 200
    assert (await post(client, max_tokens=5000)).status_code == 200


async def test_a_limit_may_be_for_one_model(provider, client):
    provider.limit(1, model="gpt-4o-mini")

    codes = [(await post(client, model=model)).status_code for model in ("gpt-4o-mini", "gpt-4o-mini", "gpt-4o")]

    assert codes == [200, 429, 200]


async def test_a_provider_that_is_down_refuses_connections_and_keeps_its_port(provider, client):
    await ask(client)
    provider.fail(faults.hold(), times=1)
    asking = asyncio.create_task(post(client))
    await provider.wait_for(lambda requests: len(requests) == 2 and requests[1].held)

    await provider.go_down()

    with pytest.raises(httpx.ReadError):
        await asking
    with pytest.raises(httpx.ConnectError):
        await post(client)
    await provider.come_up()
    assert await ask(client) == "You said: hi"
    assert [request.outcome for request in provider.requests] == ["answered", "failed", "answered"]


async def test_reset_forgets_everything(provider, client):
    provider.script(["one"])
    provider.when("two")
    provider.fail(faults.status(500))
    provider.limit(1)
    await post(client)

    provider.reset()

    assert provider.requests == []
    assert [await ask(client) for _ in range(2)] == ["You said: hi"] * 2


def seen(at, text, outcome="answered"):
    body = {"messages": [{"role": "user", "content": text}]}
    return Request(number=1, wire="openai", path="", headers={}, body=body, at=at, outcome=outcome)


def test_figures_are_of_windows_of_any_length():
    requests = [seen(0.0, "a"), seen(0.9, "b", "limited"), seen(1.1, "a"), seen(3.5, "a", None)]

    assert [window.counts.received for window in windows(requests, 1.0)] == [2, 1, 0, 1]
    assert [window.counts.limited for window in windows(requests, 1.0)] == [1, 0, 0, 0]
    assert busiest(requests, 1.0) == 2
    assert busiest(requests, 1.2) == 3
    assert counts(requests).in_flight == 1
    assert windows([], 1.0) == []


def test_what_was_answered_twice_is_found():
    first, other, again, failed = seen(0, "a"), seen(1, "b"), seen(2, "a"), seen(3, "b", "failed")

    assert repeated([first, other, again, failed]) == [[first, again]]


def test_a_provider_in_a_thread_serves_tests_that_are_not_asynchronous():
    asked = {"model": "gpt-4o", "messages": [USER]}
    with ProviderServer.in_thread() as provider, ThreadPoolExecutor() as threads:
        provider.script(["hello", "hello again"])
        held = provider.fail(faults.hold(), times=1)
        answer = threads.submit(httpx.post, f"{provider.openai_url}/chat/completions", json=asked, trust_env=False)
        wait_until(lambda: provider.requests and provider.requests[0].held)
        provider.release(held)

        assert answer.result().json()["choices"][0]["message"]["content"] == "hello"
        assert len(provider.answered) == 1


async def struck_on_this_loop():
    """Let the faults strike that need a hand on the socket, and return what came of it."""
    async with ProviderServer() as provider, connected(provider) as client:
        ends = []
        for fault in (faults.closed(), faults.reset(), faults.reset_midway(), faults.cut_midway(), faults.drip(0)):
            provider.fail(fault, times=1)
            ends.append(await asyncio.gather(post(client), return_exceptions=True))
        await provider.go_down()
        ends.append(await asyncio.gather(post(client), return_exceptions=True))
        await provider.come_up()
        ends.append(await asyncio.gather(post(client), return_exceptions=True))
        return [type(end) for (end,) in ends]


async def test_it_does_the_same_on_uvloop():
    assert await asyncio.to_thread(uvloop.run, struck_on_this_loop()) == await struck_on_this_loop()
    assert await struck_on_this_loop() == [
        httpx.RemoteProtocolError,
        httpx.ReadError,
        httpx.ReadError,
        httpx.RemoteProtocolError,
        httpx.Response,
        httpx.ConnectError,
        httpx.Response,
    ]


def test_what_a_script_raises_in_a_thread_reaches_the_test():
    def run_a_broken_script():
        with ProviderServer.in_thread() as provider:
            provider.script(lambda request: request.nonsense)
            asked = {"model": "gpt-4o", "messages": [USER]}
            httpx.post(f"{provider.openai_url}/chat/completions", json=asked, trust_env=False)

    with pytest.raises(AttributeError, match="nonsense"):
        run_a_broken_script()
