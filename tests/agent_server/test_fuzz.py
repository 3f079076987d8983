"""A short, repeatable round of what `make fuzz` does at length, and the streams that it leaves out."""

import asyncio
import contextlib

import httpx
import pytest
from agent_server_api import some_id
from fuzzing import ENDLESS, command, environment, furnish

_SEED = 20261121


async def test_no_answer_is_a_server_error_or_undocumented(server):
    known = await furnish(server.sdk)
    call = command(server.url, examples=5, phases="fuzzing", seed=_SEED)
    process = await asyncio.create_subprocess_exec(
        *call, env=environment(known), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        report, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    text = report.decode()
    assert process.returncode == 0, text[text.find("= FAILURES =") :]
    assert "Tested:" in text


BODIES = [None, {}, [], "x", {"channels": []}, {"channels": ["values"], "since": -1}, {"channels": "values"}]
HEADERS = [{}, {"Last-Event-ID": "-1"}, {"Last-Event-ID": "\x7f" * 50}, {"Last-Event-ID": str(2**70)}]


@pytest.mark.parametrize("path", ENDLESS)
async def test_a_stream_without_end_begins_with_a_documented_status(server, thread_id, path):
    answers = set()
    for thread in (thread_id, some_id(), "x"):
        for headers in HEADERS:
            for parameters in ({}, {"stream_mode": "values"}, {"stream_mode": "lifecycle"}, {"stream_modes": "\0"}):
                for body in BODIES if path.endswith("events") else (None,):
                    answers.add(await _status(server, path.format(thread_id=thread), headers, parameters, body))
    assert answers <= {200, 400, 404, 422}


async def _status(server, path, headers, parameters, body):
    method = "POST" if path.endswith("events") else "GET"
    async with httpx.AsyncClient(base_url=server.url) as http:
        request = http.build_request(method, path, headers=headers, params=parameters, json=body)
        response = await http.send(request, stream=True)
        await response.aclose()
        return response.status_code
