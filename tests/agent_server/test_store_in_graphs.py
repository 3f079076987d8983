"""The store inside of graphs, by itself and behind a server, and searched by meaning."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from agent_server_api import Server, served, some_id, write_project
from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.store.base import GetOp, PutOp, SearchOp
from langgraph_sdk.errors import InternalServerError

from outlast.agents.store.postgres_store import PostgresStore
from outlast.errors import ConfigurationError, InvalidInput
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.items import ItemQuery, ItemStore, ItemWrite, Place
from outlast.storage.postgres.pool import Pool
from outlast.testing.postgres import Databases
from runtimes import Opens

INDEX = {"dims": 4, "embed": "./store_embeddings.py:embed_texts"}


@pytest.fixture
async def items(database: DatabaseSettings) -> AsyncIterator[ItemStore]:
    pool = Pool(database, application_name="store")
    await pool.open()
    yield ItemStore(pool)
    await pool.close()


@pytest.fixture
async def store(items: ItemStore) -> PostgresStore:
    return PostgresStore(items)


class Names(TypedDict, total=False):
    names: list[str]


async def test_sync_and_async_nodes_share_one_store(store: PostgresStore) -> None:
    def write(_state: Names) -> None:
        get_store().put(("people",), "ada", {"name": "Ada"})
        assert get_store().get(("people",), "ada") is not None

    async def read(_state: Names) -> Names:
        await get_store().aput(("people",), "bob", {"name": "Bob"})
        found = await get_store().asearch(("people",))
        return {"names": sorted(item.value["name"] for item in found)}

    def list_all(state: Names) -> Names:
        namespaces = get_store().list_namespaces()
        get_store().delete(("people",), "bob")
        return {"names": [*state["names"], *(label for labels in namespaces for label in labels)]}

    graph = StateGraph(Names).add_node(write).add_node(read).add_node(list_all)
    graph.add_edge(START, "write").add_edge("write", "read").add_edge("read", "list_all")

    assert await graph.compile(store=store).ainvoke({}) == {"names": ["Ada", "Bob", "people"]}
    assert await store.aget(("people",), "bob") is None


async def test_a_node_with_a_loop_of_its_own_reaches_the_store(store: PostgresStore) -> None:
    def own_loop() -> Any:
        return asyncio.run(store.aput(("a",), "k", {"n": 1}))

    await asyncio.to_thread(own_loop)

    found = await store.aget(("a",), "k")
    assert found is not None
    assert found.value == {"n": 1}


async def test_a_sync_call_on_the_event_loop_says_what_to_call_instead(store: PostgresStore) -> None:
    with pytest.raises(ConfigurationError, match="aget"):
        store.get(("a",), "k")


async def test_a_batch_reads_what_was_there_before_it_and_writes_all_or_nothing(store: PostgresStore) -> None:
    await store.aput(("a",), "k", {"n": 1})
    results = await store.abatch(
        [PutOp(("a",), "k", {"n": 2}), GetOp(("a",), "k"), PutOp(("a",), "k", {"n": 3}), SearchOp(("a",))]
    )
    with pytest.raises(InvalidInput, match="not JSON"):
        await store.abatch([PutOp(("a",), "other", {"n": 4}), PutOp(("a",), "k", {"n": object()})])

    before = results[1]
    after = await store.aget(("a",), "k")
    assert [getattr(before, "value", None), getattr(after, "value", None)] == [{"n": 1}, {"n": 3}]
    assert await store.aget(("a",), "other") is None


async def test_two_batches_that_meet_wait_for_each_other_in_one_order(store: PostgresStore) -> None:
    keys = [f"k{n}" for n in range(8)]

    async def write(order: list[str], n: int) -> None:
        await store.abatch([PutOp(("a",), key, None if (n + i) % 3 == 0 else {"n": n}) for i, key in enumerate(order)])

    await store.abatch([PutOp(("a",), key, {}) for key in keys])
    await asyncio.gather(*(write(keys if n % 2 else keys[::-1], n) for n in range(40)))

    assert {item.key for item in await store.asearch(("a",))} <= set(keys)


# behind a server


@pytest.fixture(scope="module")
async def server(
    databases: Databases, open_runtime: Opens, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    root = tmp_path_factory.mktemp("store")
    shutil.copy(Path(__file__).parent / "store_embeddings.py", root / "store_embeddings.py")
    project = write_project(
        root, store={"index": {**INDEX, "fields": ["text"]}, "ttl": {"default_ttl": 60, "refresh_on_read": False}}
    )
    url = await databases.create()
    async with served(open_runtime, url, project=project) as server:
        yield server
    await databases.leave(url)


async def test_a_run_remembers_across_threads_and_clients_see_it(server: Server, client: Any) -> None:
    await client.store.delete_item(["notes"], "log")
    answers = []
    for n in range(2):
        thread = await client.threads.create()
        result = await client.runs.wait(thread["thread_id"], "remember", input={"log": [n]})
        answers += result["answers"]
    await client.store.put_item(["notes"], "log", {"log": ["by a client"]})
    thread = await client.threads.create()
    result = await client.runs.wait(thread["thread_id"], "remember", input={"log": [2]})

    assert answers == [None, {"log": [0]}]
    assert result["answers"] == [{"log": ["by a client"]}]
    assert (await client.store.get_item(["notes"], "log"))["value"] == {"log": [2]}


async def test_items_are_found_by_what_they_mean(client: Any) -> None:
    mine = some_id()
    for key, text in (("pets", "my cat and my dog"), ("trip", "by train and car"), ("meal", "bread and soup")):
        await client.store.put_item([mine, key], key, {"text": text, "kind": "note"})
    await client.store.put_item([mine], "unindexed", {"text": "a cat"}, index=False)
    await client.store.put_item([mine], "elsewhere", {"text": "bread", "title": "a dog"}, index=["title"])
    await client.store.put_item([mine], "empty", {"other": "a cat"})

    found = (await client.store.search_items([mine], query="which pet?"))["items"]
    filtered = await client.store.search_items([mine], query="which pet?", filter={"kind": "note"}, limit=2)
    paged = await client.store.search_items([mine], query="which pet?", limit=1, offset=1)

    # The embedding gives the question a share of everything, so a score is above 0 for each indexed item.
    assert [item["key"] for item in found[:2]] in (["pets", "elsewhere"], ["elsewhere", "pets"])
    assert {item["key"] for item in found} == {"pets", "elsewhere", "trip", "meal"}
    scores = [item["score"] for item in found]
    assert scores == sorted(scores, reverse=True)
    assert 0.99 < scores[0] <= 1.0001
    assert filtered["items"][0]["key"] == "pets"
    assert {item["value"]["kind"] for item in filtered["items"]} == {"note"}
    assert paged["items"] == found[1:2]


async def test_a_changed_item_is_found_by_its_new_text_alone(client: Any) -> None:
    mine = some_id()
    await client.store.put_item([mine], "k", {"text": "cat"})
    await client.store.put_item([mine], "k", {"text": "train"})
    await client.store.put_item([mine], "best", {"text": "cat"})
    await client.store.put_item([mine], "best", {"texts": ["soup", "dog"]}, index=["texts[*]"])

    (by_pet, by_train) = [(await client.store.search_items([mine], query=query))["items"] for query in ("cat", "train")]
    assert [item["key"] for item in by_pet] == ["best", "k"]
    assert [item["key"] for item in by_train] == ["k", "best"]


async def test_the_projects_ttl_holds_for_items_that_have_none(server: Server, client: Any) -> None:
    mine = some_id()
    await client.store.put_item([mine], "default", {"text": "a"})
    await client.store.put_item([mine], "own", {"text": "a"}, ttl=5)
    for_ever = {"namespace": [mine], "key": "for ever", "value": {}, "ttl": None}
    assert (await server.http.put("/store/items", json=for_ever)).status_code == 204
    await server.rows(
        "UPDATE store_items SET expires_at = expires_at - interval '1 minute' WHERE path = %s", f".{mine}."
    )
    await client.store.search_items([mine])
    await client.store.get_item([mine], "own", refresh_ttl=True)

    left = await server.rows(
        "SELECT key, extract(epoch FROM expires_at - clock_timestamp())::float8 / 60 FROM store_items WHERE path = %s",
        f".{mine}.",
    )
    assert dict(left) == {"default": pytest.approx(59, abs=0.5), "own": pytest.approx(5, abs=0.5), "for ever": None}


async def test_an_embedding_that_fails_stores_nothing_and_tells_nothing(server: Server) -> None:
    mine = some_id()
    put = await server.http.put("/store/items", json={"namespace": [mine], "key": "k", "value": {"text": "unreadable"}})
    asked = await server.http.post("/store/items/search", json={"namespace_prefix": [mine], "query": "unreadable"})

    for answer in (put, asked):
        assert answer.status_code == 503
        assert answer.json()["code"] == "embedding_failed"
        assert "secret" not in answer.text
        assert answer.headers["retry-after"]
    assert await server.sdk.store.get_item([mine], "k") is None


async def test_vectors_of_another_length_are_refused(databases: Databases, open_runtime: Opens, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "store_embeddings.py", tmp_path / "store_embeddings.py")
    project = write_project(tmp_path, store={"index": {**INDEX, "dims": 5}})
    url = await databases.create()
    async with served(open_runtime, url, project=project, workers=0) as server:
        with pytest.raises(InternalServerError):
            await server.sdk.store.put_item(["a"], "k", {"text": "cat"})
        assert await server.sdk.store.get_item(["a"], "k") is None
    await databases.leave(url)


async def test_an_extension_for_vectors_changes_no_answer(items: ItemStore) -> None:
    vectors = {
        "x": [[1.0, 0.0]],
        "y": [[0.6, 0.8], [0.0, 1.0]],
        "z": [[-1.0, 0.0]],
        "other": [[0.5, 0.5, 0.5]],
        "no": [],
    }
    await items.write(
        [ItemWrite(place=Place(("a",), key), value=b"{}", vectors=found) for key, found in vectors.items()]
    )
    query = ItemQuery(prefix=("a",), vector=[0.6, 0.8])
    plain = await items.nearest(query, vector_schema=None)
    schema = await items.find_vector()
    if schema is None:
        pytest.skip("this PostgreSQL has no extension `vector`")
    found = await items.nearest(query, vector_schema=schema)

    assert [item.place.key for item in plain] == ["y", "x", "z"]
    assert [item.place for item in found] == [item.place for item in plain]
    for one, other in zip(plain, found, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-6)
