"""Assistants through the SDK: made, found, changed, versioned, drawn."""

import asyncio
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from agent_server_api import Server
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

NAMESPACE = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")


async def made(client: Any, **given: Any) -> dict[str, Any]:
    return await client.assistants.create(given.pop("graph_id", "agent"), **given)


async def test_each_graph_has_an_assistant_of_its_own_with_the_id_that_clients_know(client: Any) -> None:
    assistant = await client.assistants.get(str(uuid5(NAMESPACE, "agent")))

    assert assistant["assistant_id"] == "fe096781-5601-53d2-b2f6-0d3403f7e9ca"
    assert (assistant["graph_id"], assistant["name"], assistant["version"]) == ("agent", "agent", 1)
    assert assistant["metadata"] == {"created_by": "system"}


async def test_an_assistant_is_what_was_asked_for(client: Any) -> None:
    wanted = str(uuid4())

    assistant = await made(
        client, assistant_id=wanted, name="Ada", description="the first", metadata={"team": "a"},
        config={"tags": ["x"], "recursion_limit": 5}, context={"tone": "kind"},
    )  # fmt: skip

    assert assistant["assistant_id"] == wanted
    assert (assistant["name"], assistant["description"], assistant["version"]) == ("Ada", "the first", 1)
    assert assistant["metadata"] == {"team": "a"}
    assert assistant["config"] == {"tags": ["x"], "recursion_limit": 5, "configurable": {"tone": "kind"}}
    assert assistant["context"] == {"tone": "kind"}
    assert await client.assistants.get(wanted) == assistant


async def test_an_assistant_without_a_name_is_untitled(client: Any) -> None:
    assistant = await made(client)

    assert (assistant["name"], assistant["description"], assistant["config"]) == ("Untitled", None, {})


async def test_configurable_and_context_are_one(client: Any) -> None:
    by_config = await made(client, config={"configurable": {"k": 1}})
    assert by_config["context"] == {"k": 1}

    with pytest.raises(UnprocessableEntityError, match="context"):
        await made(client, config={"configurable": {"k": 1}}, context={"k": 2})
    same = await made(client, config={"configurable": {"k": 1}}, context={"k": 1})
    assert same["config"] == {"configurable": {"k": 1}}


async def test_a_second_one_of_the_same_id_is_refused_or_is_the_first(client: Any) -> None:
    first = await made(client, name="first")
    again = {"assistant_id": first["assistant_id"], "name": "second"}

    with pytest.raises(ConflictError, match="already exists"):
        await made(client, **again)
    with pytest.raises(ConflictError):
        await made(client, **again, if_exists="raise")
    assert (await made(client, **again, if_exists="do_nothing"))["name"] == "first"


async def test_an_unknown_graph_is_not_found_and_the_known_ones_are_named(client: Any) -> None:
    with pytest.raises(NotFoundError, match=r"'nope'.*'agent'"):
        await made(client, graph_id="nope")


async def test_an_unknown_assistant_is_not_found(client: Any) -> None:
    unknown = str(uuid4())
    for call in (
        client.assistants.get(unknown),
        client.assistants.update(unknown, name="x"),
        client.assistants.delete(unknown),
        client.assistants.get_versions(unknown),
        client.assistants.set_latest(unknown, 1),
        client.assistants.get_schemas(unknown),
        client.assistants.get_subgraphs(unknown),
        client.assistants.get_graph("no-such-graph"),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_an_id_that_is_no_uuid_is_refused_by_name(client: Any) -> None:
    with pytest.raises(UnprocessableEntityError, match="Invalid assistant ID: must be a UUID"):
        await client.assistants.get("agent")


async def test_a_change_is_a_version_and_leaves_the_rest(client: Any) -> None:
    first = await made(client, name="one", metadata={"a": 1, "b": 1}, context={"k": 1}, config={"tags": ["t"]})

    second = await client.assistants.update(
        first["assistant_id"], name="two", metadata={"b": 2}, description="more", context={"k": 2}
    )

    assert (second["version"], second["name"], second["description"]) == (2, "two", "more")
    assert second["metadata"] == {"a": 1, "b": 2}, "metadata is merged"
    assert second["context"] == {"k": 2}
    assert second["config"] == {"tags": ["t"], "configurable": {"k": 2}}
    assert second["updated_at"] > first["updated_at"]
    assert second["created_at"] == first["created_at"]

    third = await client.assistants.update(first["assistant_id"], config={"configurable": {"k": 3}})
    assert (third["config"], third["context"]) == ({"configurable": {"k": 3}}, {"k": 3}), "a config is replaced"
    fourth = await client.assistants.update(first["assistant_id"], graph_id="steps")
    assert (fourth["graph_id"], fourth["version"]) == ("steps", 4)


async def test_versions_stay_and_one_can_go_back(client: Any) -> None:
    first = await made(client, name="one", metadata={"n": 1})
    await client.assistants.update(first["assistant_id"], name="two", metadata={"n": 2})

    back = await client.assistants.set_latest(first["assistant_id"], 1)
    assert (back["version"], back["name"], back["metadata"]) == (1, "one", {"n": 1})

    after = await client.assistants.update(first["assistant_id"], name="three")
    assert after["version"] == 3, "a number is never given twice"
    versions = await client.assistants.get_versions(first["assistant_id"])
    assert [(item["version"], item["name"]) for item in versions] == [(3, "three"), (2, "two"), (1, "one")]
    page = await client.assistants.get_versions(first["assistant_id"], limit=1, offset=1)
    assert [item["version"] for item in page] == [2]
    marked = await client.assistants.get_versions(first["assistant_id"], metadata={"n": 2})
    assert [item["version"] for item in marked] == [2]
    with pytest.raises(NotFoundError, match="version"):
        await client.assistants.set_latest(first["assistant_id"], 99)


async def test_changes_at_once_are_versions_one_after_the_other(client: Any, server: Server) -> None:
    first = await made(client)

    changed = await asyncio.gather(
        *(server.sdk.assistants.update(first["assistant_id"], metadata={f"k{n}": n}) for n in range(8))
    )

    assert sorted(item["version"] for item in changed) == list(range(2, 10))
    assert (await client.assistants.get(first["assistant_id"]))["metadata"] == {f"k{n}": n for n in range(8)}


async def test_a_search_finds_by_metadata_graph_and_part_of_the_name(client: Any) -> None:
    mark = str(uuid4())
    ada = await made(client, name="Ada_100%", metadata={"mark": mark, "deep": {"x": [1, 2]}})
    bob = await made(client, name="Bob", graph_id="steps", metadata={"mark": mark})

    async def found(**wanted: Any) -> list[str]:
        metadata = {"mark": mark, **wanted.pop("metadata", {})}
        return [item["name"] for item in await client.assistants.search(metadata=metadata, **wanted)]

    assert await found() == ["Bob", "Ada_100%"], "newest first"
    assert await found(graph_id="steps") == ["Bob"]
    assert await found(name="aDa") == ["Ada_100%"]
    assert await found(name="_100%") == ["Ada_100%"]
    assert await found(name="o_b") == [], "an underscore is an underscore"
    assert await found(metadata={"deep": {"x": [2]}}) == ["Ada_100%"]
    assert await found(metadata={"none": 1}) == []
    assert await client.assistants.count(metadata={"mark": mark}) == 2
    assert await client.assistants.count(metadata={"mark": mark}, graph_id="steps", name="bo") == 1
    assert {ada["assistant_id"], bob["assistant_id"]} == {
        item["assistant_id"] for item in await client.assistants.search(metadata={"mark": mark})
    }


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("field", ["assistant_id", "graph_id", "name", "created_at", "updated_at"])
async def test_a_search_is_sorted_as_asked(client: Any, field: str, order: str) -> None:
    mark = str(uuid4())
    for name, graph in (("b", "steps"), ("a", "nested"), ("c", "agent")):
        await made(client, name=name, graph_id=graph, metadata={"mark": mark})

    found = await client.assistants.search(metadata={"mark": mark}, sort_by=field, sort_order=order)

    values = [item[field] for item in found]
    assert len(values) == 3
    assert values == sorted(values, reverse=order == "desc")


async def test_a_search_is_read_page_by_page(client: Any) -> None:
    mark = str(uuid4())
    for number in range(5):
        await made(client, name=str(number), metadata={"mark": mark})
    names, offset = [], 0

    while True:
        page = await client.assistants.search(
            metadata={"mark": mark}, limit=2, offset=offset, sort_by="name", sort_order="asc", select=["name"],
            response_format="object",
        )  # fmt: skip
        names += page["assistants"]
        if page["next"] is None:
            break
        offset = int(page["next"])

    assert names == [{"name": str(number)} for number in range(5)]


async def test_a_search_says_how_many_there_are(server: Server) -> None:
    mark = str(uuid4())
    for _ in range(3):
        await made(server.sdk, metadata={"mark": mark})

    answer = await server.http.post("/assistants/search", json={"metadata": {"mark": mark}, "limit": 2})
    assert (answer.headers["x-pagination-total"], answer.headers["x-pagination-next"]) == ("3", "2")
    rest = await server.http.post("/assistants/search", json={"metadata": {"mark": mark}, "limit": 2, "offset": 2})
    assert rest.headers["x-pagination-total"] == "3"
    assert "x-pagination-next" not in rest.headers


async def test_a_deleted_assistant_is_gone_with_its_versions(client: Any, server: Server) -> None:
    assistant = await made(client)

    assert await client.assistants.delete(assistant["assistant_id"]) is None

    with pytest.raises(NotFoundError):
        await client.assistants.get(assistant["assistant_id"])
    rows = await server.rows("SELECT FROM assistant_versions WHERE assistant_id = %s", UUID(assistant["assistant_id"]))
    assert rows == []


async def test_a_deletion_takes_the_threads_along_when_asked(client: Any) -> None:
    keeps, takes = await made(client), await made(client)
    threads = [
        await client.threads.create(metadata={"assistant_id": assistant["assistant_id"]})
        for assistant in (keeps, takes, takes)
    ]

    await client.assistants.delete(keeps["assistant_id"])
    await client.assistants.delete(takes["assistant_id"], delete_threads=True)

    assert await client.threads.get(threads[0]["thread_id"])
    for thread in threads[1:]:
        with pytest.raises(NotFoundError):
            await client.threads.get(thread["thread_id"])


async def test_what_a_graph_has_by_itself_cannot_be_taken_from_it(client: Any) -> None:
    own = str(uuid5(NAMESPACE, "steps"))

    with pytest.raises(ConflictError, match="by itself"):
        await client.assistants.delete(own)
    with pytest.raises(ConflictError, match="by itself"):
        await client.assistants.update(own, graph_id="agent")
    changed = await client.assistants.update(own, metadata={"seen": True})
    assert changed["metadata"] == {"created_by": "system", "seen": True}


async def test_a_graph_is_drawn_by_name_and_by_id(client: Any) -> None:
    by_name = await client.assistants.get_graph("steps")
    by_id = await client.assistants.get_graph(str(uuid5(NAMESPACE, "steps")))

    assert by_name == by_id
    assert [node["id"] for node in by_name["nodes"]] == ["__start__", "one", "two", "three", "__end__"]
    assert {"source": "one", "target": "two"} in by_name["edges"]


async def test_subgraphs_are_drawn_as_deep_as_asked(client: Any) -> None:
    flat = await client.assistants.get_graph("nested")
    assert {node["id"] for node in flat["nodes"]} == {"__start__", "before", "sub", "__end__"}

    for xray in (True, 1):
        deep = await client.assistants.get_graph("nested", xray=xray)
        assert "sub:inside" in {node["id"] for node in deep["nodes"]}
    with pytest.raises(UnprocessableEntityError, match="xray"):
        await client.assistants.get_graph("nested", xray=-1)


async def test_schemas_say_what_a_graph_takes_gives_and_keeps(client: Any) -> None:
    schemas = await client.assistants.get_schemas(str(uuid5(NAMESPACE, "see")))

    assert schemas["graph_id"] == "see"
    for name in ("input_schema", "output_schema", "state_schema"):
        assert set(schemas[name]["properties"]) == {"given", "seen"}, name
    assert schemas["context_schema"]["properties"]["tone"]["default"] == "plain"
    assert "tone" in schemas["config_schema"]["properties"]["configurable"]["properties"]

    functional = await client.assistants.get_schemas(str(uuid5(NAMESPACE, "echo")))
    assert functional["context_schema"] is None


async def test_subgraphs_have_schemas_by_namespace(client: Any) -> None:
    own = str(uuid5(NAMESPACE, "nested"))

    all_of_them = await client.assistants.get_subgraphs(own)
    assert set(all_of_them) == {"sub"}
    assert set(all_of_them["sub"]["state_schema"]["properties"]) == {"log", "at", "answers"}
    assert await client.assistants.get_subgraphs(own, namespace="sub", recurse=True) == all_of_them
    assert await client.assistants.get_subgraphs(own, namespace="none") == {}
    assert await client.assistants.get_subgraphs(str(uuid5(NAMESPACE, "steps"))) == {}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/assistants", {}, "graph_id"),
        ("/assistants", {"graph_id": "agent", "naem": "x"}, "naem"),
        ("/assistants", {"graph_id": "agent", "assistant_id": "x"}, "assistant_id"),
        ("/assistants", {"graph_id": "agent", "if_exists": "maybe"}, "if_exists"),
        ("/assistants", {"graph_id": "agent", "metadata": [1]}, "metadata"),
        ("/assistants", {"graph_id": "agent", "name": ""}, "name"),
        ("/assistants/search", {"limit": 0}, "limit"),
        ("/assistants/search", {"limit": 1001}, "limit"),
        ("/assistants/search", {"offset": -1}, "offset"),
        ("/assistants/search", {"offset": 2**63}, "offset"),
        ("/assistants/search", {"sort_by": "shoe_size"}, "sort_by"),
        ("/assistants/search", {"sort_order": "up"}, "sort_order"),
        ("/assistants/search", {"select": ["shoe_size"]}, "select[0]"),
        ("/assistants/count", {"name": 3}, "name"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(server: Server, path: str, body: dict[str, Any], field: str) -> None:
    answer = await server.http.post(path, json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field


async def test_metadata_that_is_too_deep_is_refused(server: Server) -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]

    answer = await server.http.post("/assistants", json={"graph_id": "agent", "metadata": {"deep": deep}})

    assert answer.status_code == 422
    assert answer.json()["field"] == "metadata"
