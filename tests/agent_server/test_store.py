"""The store through the SDK's clients."""

import asyncio
from typing import Any

import pytest
from agent_server_api import Server, some_id
from langgraph_sdk.errors import UnprocessableEntityError


@pytest.fixture(scope="module")
def server(idle_server: Server) -> Server:
    """Without a worker, whose upkeep would delete what has expired before a test can look."""
    return idle_server


@pytest.fixture
def mine() -> str:
    """A namespace of this test alone."""
    return some_id()


async def keys(found: Any) -> list[str]:
    return [item["key"] for item in (await found)["items"]]


async def test_an_item_is_put_read_replaced_and_deleted(client: Any, mine: str) -> None:
    await client.store.put_item([mine, "notes"], "one", {"text": "first", "n": 1})
    first = await client.store.get_item([mine, "notes"], "one")
    await client.store.put_item([mine, "notes"], "one", {"text": "second"})
    second = await client.store.get_item([mine, "notes"], "one")
    await client.store.delete_item([mine, "notes"], "one")

    assert first["value"] == {"text": "first", "n": 1}
    assert (first["namespace"], first["key"]) == ([mine, "notes"], "one")
    assert second["value"] == {"text": "second"}
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]
    assert await client.store.get_item([mine, "notes"], "one") is None


async def test_an_item_that_is_not_there_is_null_and_its_deletion_is_no_error(server: Server, mine: str) -> None:
    answer = await server.http.get("/store/items", params={"namespace": mine, "key": "none"})
    deleted = await server.http.request("DELETE", "/store/items", json={"namespace": [mine], "key": "none"})

    assert (answer.status_code, answer.json()) == (200, None)
    assert deleted.status_code == 204


async def test_a_search_sees_what_lies_under_a_namespace_and_nothing_beside_it(client: Any, mine: str) -> None:
    for namespace in ([mine], [mine, "a"], [mine, "a", "deep"], [mine, "ab"], [f"{mine}x", "a"]):
        await client.store.put_item(namespace, "/".join(namespace[1:]) or "root", {})

    assert await keys(client.store.search_items([mine, "a"])) == ["a/deep", "a"]
    assert await keys(client.store.search_items([mine])) == ["ab", "a/deep", "a", "root"]


async def test_a_search_is_paged_and_the_last_change_comes_first(client: Any, mine: str) -> None:
    for key in "abcd":
        await client.store.put_item([mine], key, {})
    await client.store.put_item([mine], "b", {})

    assert await keys(client.store.search_items([mine], limit=2)) == ["b", "d"]
    assert await keys(client.store.search_items([mine], limit=2, offset=2)) == ["c", "a"]
    assert await keys(client.store.search_items([mine], offset=4)) == []


VALUES: dict[str, dict[str, Any]] = {
    "ada": {"age": 36, "name": "Ada", "tags": ["math", "poetry"], "home": {"city": "London", "zip": None}},
    "bob": {"age": 7.5, "name": "Bob", "tags": ["math"], "home": {"city": "Paris"}, "left": True},
    "cyd": {"age": "36", "name": "Émile", "tags": [], "home": "none", "left": None},
}
FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"ada", "bob", "cyd"}),
    ({"age": 36}, {"ada"}),
    ({"age": 36.0, "name": "Ada"}, {"ada"}),
    ({"age": 36, "name": "Bob"}, set()),
    ({"tags": ["math"]}, {"bob"}),
    ({"tags": []}, {"cyd"}),
    ({"home": {"city": "Paris"}}, {"bob"}),
    ({"home": {"city": {"$ne": "Paris"}}}, {"ada"}),
    ({"home": {}}, {"ada", "bob"}),
    ({"left": None}, {"ada", "cyd"}),
    ({"left": True}, {"bob"}),
    ({"age": {"$eq": "36"}}, {"cyd"}),
    ({"age": {"$ne": 36}}, {"bob", "cyd"}),
    ({"age": {"$gt": 7.5}}, {"ada"}),
    ({"age": {"$gte": 7.5}}, {"ada", "bob"}),
    ({"age": {"$lt": 36}}, {"bob"}),
    ({"age": {"$lte": 36, "$gt": 7.5}}, {"ada"}),
    ({"age": {"$gte": "3"}}, {"cyd"}),
    ({"name": {"$gt": "Bob"}}, {"cyd"}),
    ({"name": {"$lte": "Bob"}}, {"ada", "bob"}),
    ({"missing": {"$gt": 1}}, set()),
    ({"missing": {"$ne": 1}}, {"ada", "bob", "cyd"}),
]


@pytest.fixture(scope="module")
async def people(server: Server) -> str:
    namespace = some_id()
    for key, value in VALUES.items():
        await server.sdk.store.put_item([namespace], key, value)
    return namespace


@pytest.mark.parametrize(("condition", "expected"), FILTERS, ids=[str(condition) for condition, _ in FILTERS])
async def test_a_filter_compares_by_type_and_value(
    server: Server, people: str, condition: dict[str, Any], expected: set[str]
) -> None:
    assert set(await keys(server.sdk.store.search_items([people], filter=condition))) == expected


async def test_namespaces_are_listed_by_prefix_suffix_and_depth(client: Any, mine: str) -> None:
    for namespace in (["users", "ada", "notes"], ["users", "ada", "v_1"], ["users", "bob"], ["teams"]):
        await client.store.put_item([mine, *namespace], "k", {})
    await client.store.put_item([mine, "users", "bob"], "k2", {})

    async def listed(**query: Any) -> list[list[str]]:
        found = await client.store.list_namespaces(**query)
        return [labels[1:] for labels in found["namespaces"]]

    assert await listed(prefix=[mine]) == [
        ["teams"], ["users", "ada", "notes"], ["users", "ada", "v_1"], ["users", "bob"],
    ]  # fmt: skip
    assert await listed(prefix=[mine, "users", "*"], max_depth=3) == [["users", "ada"], ["users", "bob"]]
    assert await listed(prefix=[mine, "*", "ada"]) == [["users", "ada", "notes"], ["users", "ada", "v_1"]]
    assert await listed(prefix=[mine], suffix=["*", "notes"]) == [["users", "ada", "notes"]]
    assert await listed(prefix=[mine], limit=2, offset=1) == [["users", "ada", "notes"], ["users", "ada", "v_1"]]
    assert await listed(prefix=[mine, "use"]) == []


async def test_a_namespace_goes_with_its_last_item(client: Any, mine: str) -> None:
    await client.store.put_item([mine, "a"], "k", {})
    await client.store.delete_item([mine, "a"], "k")

    assert (await client.store.list_namespaces(prefix=[mine]))["namespaces"] == []


async def age(server: Server, namespace: str, minutes: float) -> None:
    """Let items of a namespace have been there for longer."""
    await server.rows(
        "UPDATE store_items SET expires_at = expires_at - make_interval(secs => %s * 60) WHERE path = %s",
        minutes, f".{namespace}.",
    )  # fmt: skip


async def remaining(server: Server, namespace: str) -> dict[str, float]:
    rows = await server.rows(
        "SELECT key, extract(epoch FROM expires_at - clock_timestamp())::float8 / 60 FROM store_items WHERE path = %s",
        f".{namespace}.",
    )
    return dict(rows)


async def test_an_expired_item_is_gone_for_every_reader_before_it_is_deleted(server: Server, mine: str) -> None:
    store = server.sdk.store
    await store.put_item([mine], "brief", {"n": 1}, ttl=10)
    await age(server, mine, 11)

    assert await store.get_item([mine], "brief") is None
    assert await keys(store.search_items([mine])) == []
    assert (await store.list_namespaces(prefix=[mine]))["namespaces"] == []
    assert list(await remaining(server, mine)) == ["brief"]


async def test_what_is_put_in_the_place_of_an_expired_item_is_another_item(server: Server, mine: str) -> None:
    store = server.sdk.store
    await store.put_item([mine], "brief", {"n": 1}, ttl=10)
    before = await store.get_item([mine], "brief")
    await age(server, mine, 11)
    await store.put_item([mine], "brief", {"n": 2})
    after = await store.get_item([mine], "brief")

    assert after is not None
    assert before is not None
    assert after["created_at"] > before["created_at"]
    assert await remaining(server, mine) == {"brief": None}


@pytest.mark.parametrize("reads", ["get", "search"])
@pytest.mark.parametrize("refresh", [None, True, False])
async def test_a_read_begins_the_life_of_an_item_anew_unless_told_not_to(
    server: Server, client: Any, mine: str, reads: str, refresh: bool | None
) -> None:
    await client.store.put_item([mine], "brief", {}, ttl=10)
    await client.store.put_item([mine], "lasting", {})
    await age(server, mine, 5)
    if reads == "get":
        await client.store.get_item([mine], "brief", refresh_ttl=refresh)
    else:
        await client.store.search_items([mine], refresh_ttl=refresh)
    left = await remaining(server, mine)

    assert left["lasting"] is None
    assert left["brief"] == pytest.approx(5 if refresh is False else 10, abs=0.5)


BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("PUT", "/store/items", {"namespace": [], "key": "k", "value": {}}, "namespace"),
    ("PUT", "/store/items", {"namespace": ["a.b"], "key": "k", "value": {}}, "namespace"),
    ("PUT", "/store/items", {"namespace": [""], "key": "k", "value": {}}, "namespace"),
    ("PUT", "/store/items", {"namespace": ["a\0"], "key": "k", "value": {}}, "namespace"),
    ("PUT", "/store/items", {"namespace": ["langgraph"], "key": "k", "value": {}}, "namespace"),
    ("PUT", "/store/items", {"namespace": ["a" * 1600], "key": "k", "value": {}}, "namespace"),
    ("PUT", "/store/items", {"namespace": "a", "key": "k", "value": {}}, "namespace"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k\0", "value": {}}, "key"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "é" * 600, "value": {}}, "key"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": None}, "value"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": [1]}, "value"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k"}, "value"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": 0}, "ttl"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": 1e300}, "ttl"),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "tll": 5}, "tll"),
    ("DELETE", "/store/items", {"namespace": ["a.b"], "key": "k"}, "namespace"),
    ("POST", "/store/items/search", {"namespace_prefix": ["a."]}, "namespace_prefix"),
    ("POST", "/store/items/search", {"namespace_prefix": [], "limit": 0}, "limit"),
    ("POST", "/store/items/search", {"namespace_prefix": [], "offset": 2**63}, "offset"),
    ("POST", "/store/items/search", {"namespace_prefix": [], "filter": {"a": {"$in": [1]}}}, "filter"),
    ("POST", "/store/items/search", {"filter": {}}, "namespace_prefix"),
    ("POST", "/store/namespaces", {"max_depth": 0}, "max_depth"),
    ("POST", "/store/namespaces", {"suffix": ["a.b"]}, "suffix"),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), BAD)
async def test_a_wrong_field_is_named(server: Server, method: str, path: str, body: dict[str, Any], field: str) -> None:
    answer = await server.http.request(method, path, json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field)


@pytest.mark.parametrize("namespace", ["", "a..b", ".a"])
async def test_a_namespace_in_an_address_has_no_empty_label(server: Server, namespace: str) -> None:
    answer = await server.http.get("/store/items", params={"namespace": namespace, "key": "k"})

    assert answer.status_code == 422
    assert answer.json()["field"] == "namespace"


async def test_what_is_about_meaning_is_refused_where_nothing_is_embedded(client: Any, mine: str) -> None:
    with pytest.raises(UnprocessableEntityError) as asked:
        await client.store.search_items([mine], query="pets")
    with pytest.raises(UnprocessableEntityError) as indexed:
        await client.store.put_item([mine], "k", {"text": "a"}, index=["text"])
    await client.store.put_item([mine], "k", {"text": "a"}, index=False)

    assert asked.value.code == indexed.value.code == "not_supported"
    assert await client.store.get_item([mine], "k") is not None


async def test_any_text_of_json_comes_back_as_it_was(client: Any, mine: str) -> None:
    value = {"": [1e-7, 2**53, -1, True, None, {"π": "\u2028 %s _ \\ ' \" 🙂"}], "a.b": {"$": {}}}
    await client.store.put_item([mine, "%_\\'*"], "key/with.dots?&#%_", value)

    found = await client.store.get_item([mine, "%_\\'*"], "key/with.dots?&#%_")
    assert found["value"] == value
    assert (await client.store.list_namespaces(prefix=[mine], suffix=["%_\\'*"]))["namespaces"] == [[mine, "%_\\'*"]]


async def test_a_hundred_writers_of_one_item_leave_one_of_their_values(server: Server, mine: str) -> None:
    await asyncio.gather(*(server.sdk.store.put_item([mine], "k", {"n": n}) for n in range(100)))

    found = await server.sdk.store.search_items([mine])
    assert [item["key"] for item in found["items"]] == ["k"]
    assert found["items"][0]["value"]["n"] in range(100)
