"""Whatever is sent: it is refused or it ends. Never a 5xx, never a stuck run."""

import json
import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = {"Content-Type": "application/json"}
# As escapes in the text: Python's own encoder writes lone surrogates and NUL that way.
nasty_text = st.text(st.one_of(st.characters(), st.sampled_from("\0\ud800\udc00\ufffe\x1b\u202e\u2028")), max_size=20)
numbers = st.sampled_from([0, -1, 2**31, 2**63, 2**64, 2**70, -(2**70), 1e308, 5e-324, math.nan, math.inf, -0.0])
leaves = st.none() | st.booleans() | st.integers() | numbers | nasty_text
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(nasty_text, inner, max_size=4), max_leaves=12
)
fields = {
    "agent": st.sampled_from(["echo", "ask", "count"]) | values,
    "task": nasty_text | values,
    "input": values,
    "thread_id": nasty_text | values,
    "priority": st.integers(-10, 10) | values,
    "delay_seconds": st.just(0) | values,
    "timeout_seconds": st.integers(5, 9) | values,
    "max_attempts": st.just(1) | values,
    "config": st.fixed_dictionaries({}, optional={"configurable": values, "tags": values}) | values,
    "metadata": st.dictionaries(nasty_text, values, max_size=3) | values,
}
likely = st.fixed_dictionaries(
    {"agent": st.sampled_from(["echo", "ask"]), "input": values, "max_attempts": st.just(1)},
    optional={"metadata": st.dictionaries(nasty_text, values, max_size=3), "thread_id": nasty_text},
)
unlikely = st.fixed_dictionaries({}, optional={**fields, "else": values})
slow = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


async def finish(api, task_id: str) -> None:
    """See that the run ends; a question is answered with itself."""
    run = await api.ended(task_id)
    if run["status"] == "waiting":
        question = run["interrupts"][0]["value"]
        answered = await api.http.post(
            f"/agent/answer/{task_id}", content=json.dumps({"answer": question}), headers=JSON
        )
        assert answered.status_code == 202, answered.text
        run = await api.ended(task_id)
    assert run["status"] in {"succeeded", "failed"}, run


async def check(api, path: str, content: bytes) -> None:
    response = await api.http.post(path, content=content, headers=JSON)
    assert response.status_code < 500, (content, response.text)
    if response.status_code < 300:
        await finish(api, response.json()["task_id"])
        state = await api.http.get(f"/agent/status/{response.json()['task_id']}")
        assert state.status_code == 200
    else:
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["detail"]


@slow
@given(body=likely | unlikely | values)
async def test_any_json_is_refused_or_ends(api, body: Any) -> None:
    await check(api, "/agent/start", json.dumps(body).encode())


@slow
@given(content=st.binary(max_size=60))
async def test_any_bytes_are_refused_or_end(api, content: bytes) -> None:
    await check(api, "/agent/start", content)


@slow
@given(message=nasty_text, user=nasty_text, session=nasty_text)
async def test_any_message_is_refused_or_replied_to(api, message: str, user: str, session: str) -> None:
    body = {"user_id": user, "message": message, "session_id": session, "agent": "echo"}
    response = await api.http.post("/chat", content=json.dumps(body), headers=JSON)
    assert response.status_code in {200, 422}, response.text


@pytest.mark.parametrize(
    "content",
    [
        b'{"agent":"echo","input":"\\ud83d"}',
        b'{"agent":"echo","input":{"\\udc00":"\\ud83d\\ude00 \\\\ud800 \\ud800x"},"metadata":{"\\ud800":"\\udfff"}}',
        b'{"agent":"echo","agent":"echo","input":1,"input":2}',
        b'{"agent":"echo","input":"\xed\xa0\x80"}',
        b'{"agent":"echo","input":"\x00"}',
        b'{"agent":"echo","input":' + b"9" * 5000 + b"}",
        b'{"agent":"echo","input":1e999}',
        b'{"agent":"echo","input":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"agent":"echo","input":' + b"[" * 2_000_000,
        b'{"agent":"echo","input":"' + b"x" * 10_000_000 + b'"}',
        b'{"agent":"echo","input":[' + b"[]," * 100_000 + b"[]]}",
        b'{"agent":"echo","metadata":{"\\u0000":"\\u0000"},"config":{"configurable":{"\\u0000":1}},"input":"\\u0000"}',
        b"\xef\xbb\xbf{}",
        b'{"agent":"echo","input":1}garbage',
    ],
    ids=range(14),
)
async def test_known_poison(api, content: bytes) -> None:
    await check(api, "/agent/start", content)


@pytest.mark.parametrize("number", [2**70, -(2**70), 1e308, 5e-324, 2**63, 2**64 - 1])
async def test_a_large_number_comes_back_from_every_column(api, number) -> None:
    body = json.dumps({"agent": "ask", "input": number, "metadata": {"n": number}})
    asked = (await api.http.post("/agent/run?wait=10", content=body, headers=JSON)).json()
    run = await api.runtime.queue.store.get(UUID(asked["task_id"]))
    assert asked["interrupts"][0]["value"] == run.metadata["n"] == pytest.approx(number)


async def test_half_a_pair_is_replaced_and_nothing_else_is_touched(api) -> None:
    content = b'{"agent":"echo","input":["\\ud83d\\ude00","\\ud800x","\\\\ud800","\\udc00\\ud800\\u0041","\\u0000"]}'
    started = await api.http.post("/agent/run?wait=10", content=content, headers=JSON)
    assert started.json()["output"]["got"] == ["\U0001f600", "\ufffdx", "\\ud800", "\ufffd\ufffdA", "\0"]
