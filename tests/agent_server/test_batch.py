"""Several runs at once: all of them, or none."""

import pytest
from agent_server_api import some_id
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError


async def test_a_batch_is_stored_and_runs(client, server, thread_id):
    runs = await client.runs.create_batch(
        [{"assistant_id": "steps", "input": {"log": [n]}, "thread_id": None, "metadata": {"n": n}} for n in range(20)]
        + [{"assistant_id": "steps", "input": {"log": ["there"]}, "thread_id": thread_id}]
    )
    assert [run["metadata"].get("n") for run in runs] == [*range(20), None]
    assert len({run["thread_id"] for run in runs}) == 21
    assert runs[-1]["thread_id"] == thread_id
    for run in runs:
        assert (await server.ended(run))["status"] == "success"
    assert (await client.threads.get_state(thread_id))["values"]["log"][0] == "there"


async def test_two_runs_of_a_batch_on_one_thread_come_in_their_order(client, server, thread_id):
    bodies = [{"assistant_id": "steps", "input": {"log": [n]}, "thread_id": thread_id} for n in range(2)]
    runs = await client.runs.create_batch(bodies)
    for run in runs:
        assert (await server.ended(run))["status"] == "success"
    log = (await client.threads.get_state(thread_id))["values"]["log"]
    assert [item for item in log if isinstance(item, int)] == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"assistant_id": "nobody"}, NotFoundError),
        ({"assistant_id": "steps", "thread_id": "11111111-1111-4111-8111-111111111111"}, NotFoundError),
        ({"assistant_id": "steps", "inputs": {}}, UnprocessableEntityError),
        ({"assistant_id": "steps", "stream_mode": ["tools"]}, UnprocessableEntityError),
    ],
)
async def test_one_bad_body_and_nothing_is_stored(client, server, wrong, error):
    before = await server.rows("SELECT count(*) FROM runs")
    with pytest.raises(error):
        await client.runs.create_batch([{"assistant_id": "steps", "input": {}}, wrong])
    assert await server.rows("SELECT count(*) FROM runs") == before


@pytest.mark.parametrize("bodies", [[], [{"assistant_id": "steps"}] * 1001, {"assistant_id": "steps"}])
async def test_a_batch_has_one_to_a_thousand_bodies(server, bodies):
    assert (await server.http.post("/runs/batch", json=bodies)).status_code == 422


async def test_a_batch_as_javascript_sends_it(server):
    """Its createBatch sends the names as its callers write them."""
    bodies = [
        {
            "assistantId": "steps",
            "assistant_id": "steps",
            "input": {"log": []},
            "interruptAfter": ["one"],
            "streamMode": ["values"],
            "onCompletion": "keep",
            "multitaskStrategy": "enqueue",
        }
    ]
    response = await server.http.post("/runs/batch", json=bodies)
    assert response.status_code == 200, response.text
    run = await server.ended(response.json()[0])
    assert run["kwargs"]["interrupt_after"] == ["one"]
    assert (await server.sdk.threads.get_state(run["thread_id"]))["values"]["log"] == ["one"]


async def test_a_batch_takes_no_key(server):
    headers = {"Idempotency-Key": some_id()}
    response = await server.http.post("/runs/batch", json=[{"assistant_id": "steps"}], headers=headers)
    assert response.status_code == 422
    assert response.json()["code"] == "not_supported"
