"""What people say about runs, at the addresses that a stream named."""

from uuid import uuid4

import pytest

from outlast.domain.feedback import feedback_path, key_of

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
SECRET = bytes(range(32))


@pytest.fixture
async def links(server, thread_id):
    """The addresses of a streamed run, by key, and the run's id."""
    found = {}
    async for part in server.sdk.runs.stream(thread_id, "agent", input=HELLO, feedback_keys=["thumbs", "why not"]):
        if part.event == "metadata":
            found["run_id"] = part.data["run_id"]
        if part.event == "feedback":
            found["urls"] = part.data
    return found


async def stored(server, run_id):
    columns = "key, score, convert_from(value, 'UTF8'), comment"
    return await server.rows(f"SELECT {columns} FROM run_feedback WHERE run_id = %s ORDER BY created_at", run_id)


async def test_the_stream_names_an_address_for_each_key(server, links):
    assert set(links["urls"]) == {"thumbs", "why not"}
    for url in links["urls"].values():
        assert url.startswith(server.url + f"/runs/{links['run_id']}/feedback/")


async def test_what_is_sent_there_is_kept_with_the_run(server, links):
    for body in ({"score": 1}, {"score": True, "comment": "good"}, {"value": {"a": [1]}, "comment": None}):
        response = await server.http.post(links["urls"]["thumbs"], json=body)
        assert response.status_code == 204, response.text
    await server.http.post(links["urls"]["why not"], json={"comment": "no\0pe"})
    assert await stored(server, links["run_id"]) == [
        ("thumbs", 1.0, None, None),
        ("thumbs", 1.0, None, "good"),
        ("thumbs", None, '{"a":[1]}', None),
        ("why not", None, None, "nope"),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "score"), ({"score": "high"}, "score"), ({"stars": 5}, "stars"), ({"comment": 7}, "comment")],
)
async def test_a_wrong_answer_is_refused(server, links, body, field):
    response = await server.http.post(links["urls"]["thumbs"], json=body)
    assert response.status_code == 422
    assert response.json()["field"].startswith(field)


async def test_an_address_is_for_one_run_and_cannot_be_made_up(server, links):
    token = links["urls"]["thumbs"].rpartition("/")[2]
    for path in (
        f"/runs/{uuid4()}/feedback/{token}",
        f"/runs/{links['run_id']}/feedback/{token[:-1]}",
        f"/runs/{links['run_id']}/feedback/AAAA",
        f"/runs/{links['run_id']}/feedback/%00",
        f"/runs/{links['run_id']}/feedback/é",
    ):
        response = await server.http.post(path, json={"score": 1})
        assert response.status_code == 404, path


async def test_the_address_of_a_run_that_is_gone(server, links, thread_id):
    await server.sdk.runs.delete(thread_id, links["run_id"])
    assert (await server.http.post(links["urls"]["thumbs"], json={"score": 1})).status_code == 404


@pytest.mark.parametrize("key", ["thumbs", "a/b", "ключ", "", "x" * 200, "\0"])
def test_a_key_comes_back_as_it_was(key):
    run_id = uuid4()
    path = feedback_path(SECRET, run_id, key)
    token = path.rpartition("/")[2]
    assert path == f"/runs/{run_id}/feedback/{token}"
    assert key_of(SECRET, run_id, token) == key
    assert key_of(bytes(32), run_id, token) is None
    assert key_of(SECRET, uuid4(), token) is None
