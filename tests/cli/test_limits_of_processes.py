"""A limit is kept by all API processes together."""

import asyncio
import json
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from outlast_command import make_project, running

pytestmark = pytest.mark.processes

PROCESSES, REQUESTS, LIMIT = 4, 1000, 100
# Connections, each with several requests on their way.
LINES = 200
BODY = json.dumps({"agent": "steady", "input": {}}).encode()
REQUEST = (
    b"POST /agent/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
SETTINGS = f"""
[limits]
rules = ["{LIMIT}/minute per user", "10000/minute per tenant"]
"""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


async def flood(urls: list[str]) -> list[Answer]:
    """Send all requests before the first answer is read."""
    lines = [
        await asyncio.open_connection("127.0.0.1", int(urls[n % len(urls)].rpartition(":")[2])) for n in range(LINES)
    ]
    for _, writer in lines:
        writer.write(REQUEST * (REQUESTS // LINES))
    answers = await asyncio.gather(*(read_all(reader) for reader, _ in lines))
    for _, writer in lines:
        writer.close()
        await writer.wait_closed()
    return [answer for found in answers for answer in found]


async def read_all(reader: asyncio.StreamReader) -> list[Answer]:
    return [await read_one(reader) for _ in range(REQUESTS // LINES)]


async def read_one(reader: asyncio.StreamReader) -> Answer:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(status.split()[1]), headers, json.loads(body))


def query(url: str, statement: str) -> tuple[int, ...]:
    with psycopg.connect(url, options="-c search_path=outlast -c outlast.tenant=default") as connection:
        return connection.execute(statement.encode()).fetchone() or ()


def test_a_thousand_requests_at_four_processes_are_let_in_a_hundred_times(tmp_path, database_url):
    with ExitStack() as stack:
        apis = []
        for number in range(PROCESSES):
            project = make_project(tmp_path / str(number), settings=SETTINGS)
            started = running("serve", "--port", 0, cwd=project, DATABASE_URL=database_url)
            apis.append(stack.enter_context(started))

        answers = asyncio.run(flood([api.url for api in apis]))

        assert Counter(answer.status for answer in answers) == {202: LIMIT, 429: REQUESTS - LIMIT}
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.body["code"] for answer in refused} == {"rate_limited"}
        assert all(0 < int(answer.headers["retry-after"]) <= 61 for answer in refused)
        assert {answer.headers["ratelimit-policy"] for answer in refused} == {f"{LIMIT};w=60"}
        for api in apis:
            api.process.send_signal(signal.SIGTERM)
        assert [api.process.wait(20) for api in apis] == [0] * PROCESSES

    assert query(database_url, "SELECT count(*) FROM runs") == (LIMIT,)
    decided = "SELECT sum(times) FROM admission_decisions WHERE verdict = "
    assert query(database_url, f"{decided} 'allow'") == (LIMIT,)
    assert query(database_url, f"{decided} 'refuse'") == (REQUESTS - LIMIT,), "each refusal was counted"
