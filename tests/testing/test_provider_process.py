"""The provider as a process of its own does what the one in the test's process does."""

import asyncio
import json
import subprocess
import sys

import httpx
import pytest

from outlast.testing.providers import ProviderProcess, Reply, ToolCall, faults
from waiting import wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
async def process():
    async with ProviderProcess.start() as process:
        yield process


async def ask(process):
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{process.openai_url}/chat/completions", json=asked)


async def test_it_is_told_what_to_say_and_how_to_fail_from_outside(process):
    await process.script(["one", Reply(tool_calls=(ToolCall("search", {"query": "x"}),))])
    await process.when("ruled", text="hi", times=1)
    await process.fail(faults.rate_limited(3), times=1)

    answers = [await ask(process) for _ in range(5)]

    assert answers[0].headers["retry-after"] == "3"
    said = [answer.json()["choices"][0]["message"] for answer in answers[1:]]
    assert [message["content"] for message in said] == ["one", None, "ruled", "You said: hi"]
    assert said[1]["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"query": "x"}'}
    assert [request.outcome for request in await process.requests()] == ["failed", *["answered"] * 4]
    assert len(await process.answered()) == 4


async def test_it_counts_in_figures(process):
    await process.limit(2)
    await process.fail(faults.delay(0), times=1)
    for _ in range(3):
        await ask(process)

    stats = await process.stats(seconds=60)

    assert stats["counts"] | {"answered": 2, "limited": 1} == stats["counts"]
    assert (stats["busiest"], stats["repeated"], stats["incidents"]) == (3, [[1, 2]], [1])
    assert stats["limits"] == [{"admitted": 2, "refused": 1}]


async def test_what_it_holds_is_released_from_outside(process):
    held = await process.fail(faults.hold())
    asking = asyncio.create_task(ask(process))
    await process.wait_for(lambda requests: requests and requests[0].held)

    await process.release(held)

    assert (await asking).status_code == 200
    assert [request.outcome for request in await process.requests()] == ["answered"]
    await process.reset()
    await ask(process)
    assert [request.number for request in await process.requests()] == [1]


async def test_it_can_be_told_to_come_back_while_it_is_down(process):
    number = await process.fail(faults.status(500))
    await process.go_down()
    with pytest.raises(httpx.ConnectError):
        await ask(process)

    await process.come_up()
    await process.end(number)

    assert (await ask(process)).status_code == 200


async def test_an_order_that_makes_no_sense_is_refused(process):
    with pytest.raises(ValueError, match=r"fault\.kind"):
        await process._do("fail", fault={"kind": "earthquake"})
    with pytest.raises(ValueError, match="fault"):
        await process._do("fail")
    with pytest.raises(ValueError, match="refused end"):
        await process.end(7)


def test_it_ends_with_the_process_that_started_it(tmp_path):
    starter = """
import subprocess, sys
command = [sys.executable, "-m", "outlast.testing.providers", "--until-stdin-closes"]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        url = json.loads(parent.stdout.readline())["control_url"]
        assert httpx.post(f"{url}/stats", json={}, trust_env=False).status_code == 200
        parent.kill()

    def gone():
        try:
            httpx.post(f"{url}/stats", json={}, trust_env=False)
        except httpx.TransportError:
            return True
        return False

    wait_until(gone)


def test_its_help_names_every_kind_of_fault():
    from outlast.testing.providers.faults import Kind

    command = [sys.executable, "-m", "outlast.testing.providers", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert [kind for kind in Kind.__args__ if kind not in text.split()] == []
