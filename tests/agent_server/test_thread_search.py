"""Finding threads through the SDK: by what is said of them, by what they hold, by how they stand."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from agent_server_api import Server
from agent_server_gates import open_door

from waiting import until

STATUSES = ("idle", "busy", "interrupted", "error")


async def ids(client: Any, **wanted: Any) -> list[str]:
    return [thread["thread_id"] for thread in await client.threads.search(limit=100, **wanted)]


async def marked(client: Any, *more: dict[str, Any], **given: Any) -> tuple[str, list[str]]:
    """Make threads that share a mark; return it and their ids."""
    mark = str(uuid4())
    made = [await client.threads.create(metadata={"mark": mark, **metadata}, **given) for metadata in more]
    return mark, [thread["thread_id"] for thread in made]


@pytest.fixture
async def by_status(server: Server) -> Any:
    """One thread of each status, and a mark that they share."""
    mark, door = str(uuid4()), str(uuid4())
    threads: dict[str, str] = {}
    for status in STATUSES:
        threads[status] = (await server.sdk.threads.create(metadata={"mark": mark}))["thread_id"]
    runs = {
        status: await server.sdk.runs.create(threads[status], graph, input={"at": door})
        for status, graph in (("idle", "steps"), ("busy", "hold"), ("interrupted", "ask"), ("error", "broken"))
    }
    for status in ("idle", "interrupted", "error"):
        await server.ended(runs[status])
    yield mark, threads
    open_door(door)
    await server.ended(runs["busy"])


async def test_the_newest_comes_first(client: Any) -> None:
    mark, made = await marked(client, {}, {}, {})

    assert await ids(client, metadata={"mark": mark}) == made[::-1]


async def test_metadata_has_to_hold_what_is_asked_for(client: Any) -> None:
    mark, (one, two) = await marked(client, {"n": 1, "deep": {"a": [1, 2], "b": True}}, {"n": 2})

    assert await ids(client, metadata={"mark": mark, "n": 1}) == [one]
    assert await ids(client, metadata={"mark": mark, "deep": {"a": [2]}}) == [one]
    assert await ids(client, metadata={"mark": mark, "deep": {"b": False}}) == []
    assert await ids(client, metadata={"mark": mark, "n": "2"}) == []
    assert await ids(client, metadata={"mark": mark}) == [two, one]
    assert await client.threads.count(metadata={"mark": mark}) == 2


async def test_values_have_to_hold_what_is_asked_for(client: Any, server: Server) -> None:
    mark, (one, two) = await marked(client, {}, {})
    for thread, word in ((one, "tea"), (two, "milk")):
        await server.ended(await client.runs.create(thread, "steps", input={"log": [word]}))

    assert await ids(client, metadata={"mark": mark}, values={"log": ["tea"]}) == [one]
    assert await client.threads.count(metadata={"mark": mark}, values={"log": ["three"]}) == 2
    assert await client.threads.count(metadata={"mark": mark}, values={"log": ["coffee"]}) == 0


async def test_ids_are_looked_up_and_unknown_ones_are_left_out(client: Any) -> None:
    _, (one, two, _three) = await marked(client, {}, {}, {})

    assert await ids(client, ids=[one, two.upper(), str(uuid4())]) == [two, one]
    assert await client.threads.search(ids=[str(uuid4())]) == []


async def test_a_thread_is_found_by_how_it_stands(client: Any, by_status: Any) -> None:
    mark, threads = by_status

    for status in STATUSES:
        assert await ids(client, metadata={"mark": mark}, status=status) == [threads[status]]
        assert await client.threads.count(metadata={"mark": mark}, status=status) == 1
    found = await client.threads.search(metadata={"mark": mark}, sort_by="status", sort_order="asc")
    assert [thread["status"] for thread in found] == sorted(STATUSES)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("field", ["thread_id", "created_at", "updated_at", "state_updated_at"])
async def test_a_search_is_sorted_as_asked(client: Any, server: Server, field: str, order: str) -> None:
    mark, made = await marked(client, {}, {}, {})
    await client.threads.update(made[0], metadata={"touched": True})
    await server.ended(await client.runs.create(made[1], "steps", input={}))

    found = await client.threads.search(metadata={"mark": mark}, sort_by=field, sort_order=order)

    values = [thread[field] for thread in found]
    assert len(set(values)) == 3
    assert values == sorted(values, reverse=order == "desc")


async def test_a_search_is_read_page_by_page(client: Any, server: Server) -> None:
    mark, made = await marked(client, *({"n": number} for number in range(5)))

    pages = [await client.threads.search(metadata={"mark": mark}, limit=2, offset=offset) for offset in (0, 2, 4, 6)]

    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [thread["thread_id"] for page in pages for thread in page] == made[::-1]
    first = await server.http.post("/threads/search", json={"metadata": {"mark": mark}, "limit": 2})
    assert (first.headers["x-pagination-total"], first.headers["x-pagination-next"]) == ("5", "2")
    last = await server.http.post("/threads/search", json={"metadata": {"mark": mark}, "limit": 2, "offset": 4})
    assert last.headers["x-pagination-total"] == "5"
    assert "x-pagination-next" not in last.headers


async def test_only_what_was_asked_for_is_returned(client: Any, server: Server) -> None:
    mark, (thread,) = await marked(client, {})
    await server.ended(await client.runs.create(thread, "steps", input={}))

    assert await client.threads.search(metadata={"mark": mark}, select=["thread_id", "status"]) == [
        {"thread_id": thread, "status": "idle"}
    ]
    (values,) = await client.threads.search(metadata={"mark": mark}, select=["values"])
    assert values["values"]["log"] == ["one", "two", "three"]
    (rest,) = await client.threads.search(metadata={"mark": mark}, select=["config", "context", "interrupts"])
    assert rest == {"config": {}, "context": {}, "interrupts": {}}


async def test_parts_of_a_thread_are_taken_out(client: Any, server: Server) -> None:
    mark, (thread,) = await marked(client, {"deep": {"list": [{"a": 1}]}})
    for words in ("hello", "and you?"):
        message = {"messages": [{"role": "user", "content": words}]}
        await server.ended(await client.runs.create(thread, "agent", input=message))

    (found,) = await client.threads.search(
        metadata={"mark": mark},
        select=["thread_id"],
        extract={
            "last": "values.messages[-1].content",
            "first": "values.messages[0].content",
            "deep": "metadata.deep.list[0].a",
            "whole": "metadata.deep",
            "status": "status",
            "none": "values.messages[9].content",
            "nowhere": "values.nothing.at.all[0]",
        },
    )

    assert found == {
        "thread_id": thread,
        "extracted": {
            "last": "2: and you?", "first": "hello", "deep": 1, "whole": {"list": [{"a": 1}]}, "status": "idle",
            "none": None, "nowhere": None,
        },
    }  # fmt: skip


async def test_the_thread_of_a_stateless_run_is_nobodys_to_find(client: Any, server: Server) -> None:
    before = await client.threads.count()

    assert (await client.runs.wait(None, "steps", input={}))["log"] == ["one", "two", "three"]
    kept = await client.runs.create(None, "steps", input={}, on_completion="keep")
    await server.ended(kept)

    async def is_shown() -> bool:
        return await client.threads.count() == before + 1

    await until(is_shown)
    assert [thread["thread_id"] for thread in await client.threads.search(limit=1)] == [kept["thread_id"]]


async def test_a_search_tells_the_state_that_a_rollback_has_left(client: Any, server: Server) -> None:
    mark, (thread,) = await marked(client, {})
    await server.ended(await client.runs.create(thread, "ask", input={"log": ["first"]}))
    door = str(uuid4())
    run = await client.runs.create(thread, "hold", input={"at": door, "log": ["second"]})
    await until(lambda: is_running(server, run))

    await client.runs.cancel(thread, run["run_id"], wait=True, action="rollback")

    (found,) = await client.threads.search(metadata={"mark": mark})
    assert found["values"]["log"] == ["first", "begun"]
    assert found == await client.threads.get(thread)


async def is_running(server: Server, run: Any) -> bool:
    return await server.status_of(run) == "running"


async def test_searches_at_once_hold_nothing_up(client: Any, server: Server) -> None:
    mark, made = await marked(client, *({} for _ in range(3)))

    found = await asyncio.gather(*(server.sdk.threads.search(metadata={"mark": mark}) for _ in range(40)))

    assert all([thread["thread_id"] for thread in threads] == made[::-1] for threads in found)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"offset": 2**31}, "offset"),
        ({"status": "tired"}, "status"),
        ({"sort_by": "weight"}, "sort_by"),
        ({"sort_order": "up"}, "sort_order"),
        ({"select": ["values.log"]}, "select[0]"),
        ({"values": [1]}, "values"),
        ({"ids": ["no id"]}, "thread_id"),
        ({"extract": {"a": "values."}}, "extract.a"),
        ({"extract": {"a": "values[x]"}}, "extract.a"),
        ({"extract": {"a": "secrets.key"}}, "extract.a"),
        ({"extract": {"a": "values..b"}}, "extract.a"),
        ({"extract": {str(n): "values" for n in range(11)}}, "extract"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(server: Server, body: dict[str, Any], field: str) -> None:
    answer = await server.http.post("/threads/search", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
