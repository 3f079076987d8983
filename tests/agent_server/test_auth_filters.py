"""Filters decide what exists for a caller; the database and nobody else applies them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from agent_server_api import some_id
from auth_servers import bearer, guarded, sdk_of
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_sdk.errors import NotFoundError, PermissionDeniedError

from outlast.errors import ConfigurationError
from outlast.server.auth.filters import broken_by, compiled, stamped

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
async def guard(databases, open_runtime, tmp_path_factory) -> AsyncIterator[Any]:
    async with guarded(databases, open_runtime, tmp_path_factory.mktemp("auth")) as server:
        yield server


# through the API


async def test_what_one_creates_is_seen_by_nobody_else(guard):
    ada, eve, admin = sdk_of(guard, "ada"), sdk_of(guard, "eve"), sdk_of(guard, "root:admin")
    mine = await ada.threads.create(metadata={"topic": "x"})
    await eve.threads.create(metadata={"topic": "x"})
    assert {thread["metadata"]["owner"] for thread in await ada.threads.search()} == {"ada"}
    assert {thread["metadata"]["owner"] for thread in await admin.threads.search(metadata={"topic": "x"})} == {
        "ada",
        "eve",
    }
    assert await eve.threads.count(metadata={"owner": "ada"}) == 0
    assert await eve.threads.search(ids=[mine["thread_id"]]) == []


async def test_nobody_can_create_for_somebody_else(guard):
    made = await sdk_of(guard, "eve").threads.create(metadata={"owner": "ada"})
    assert made["metadata"]["owner"] == "eve"
    assistant = await sdk_of(guard, "eve").assistants.create("agent", metadata={"owner": "ada"})
    assert assistant["metadata"]["owner"] == "eve"


async def test_nobody_can_give_away_what_decides(guard):
    ada = sdk_of(guard, "ada")
    thread = await ada.threads.create()
    with pytest.raises(PermissionDeniedError):
        await ada.threads.update(thread["thread_id"], metadata={"owner": "eve"})
    same = await ada.threads.update(thread["thread_id"], metadata={"owner": "ada", "note": 1})
    assert same["metadata"] == {"owner": "ada", "note": 1}
    assistant = await ada.assistants.create("agent")
    with pytest.raises(PermissionDeniedError):
        await ada.assistants.update(assistant["assistant_id"], metadata={"owner": "eve"})


async def test_somebody_elses_id_is_neither_taken_nor_shown(guard):
    ada, eve = sdk_of(guard, "ada"), sdk_of(guard, "eve")
    thread_id = some_id()
    await ada.threads.create(thread_id=thread_id)
    with pytest.raises(NotFoundError):
        await eve.threads.create(thread_id=thread_id, if_exists="do_nothing")
    for if_not_exists in ("create", "reject"):
        with pytest.raises(NotFoundError):
            await eve.runs.create(thread_id, "agent", input=HELLO, if_not_exists=if_not_exists)
    assert (await ada.threads.get(thread_id))["metadata"] == {"owner": "ada"}
    assert await ada.runs.list(thread_id) == []


async def test_the_thread_that_a_run_creates_is_its_callers(guard):
    ada, eve = sdk_of(guard, "ada"), sdk_of(guard, "eve")
    thread_id = some_id()
    await ada.runs.wait(thread_id, "agent", input=HELLO, if_not_exists="create")
    assert (await ada.threads.get(thread_id))["metadata"]["owner"] == "ada"
    with pytest.raises(NotFoundError):
        await eve.threads.get(thread_id)


async def test_a_stateless_run_is_its_callers(guard):
    ada, eve = sdk_of(guard, "ada"), sdk_of(guard, "eve")
    run = await ada.runs.create(None, "agent", input=HELLO)
    assert (await ada.runs.join(run["thread_id"], run["run_id"]))["messages"]
    # The SDK leaves an error of this call as it is.
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await eve.runs.join(run["thread_id"], run["run_id"])
    assert run["thread_id"] not in {thread["thread_id"] for thread in await ada.threads.search(limit=1000)}


async def test_a_copy_is_its_makers(guard):
    ada = sdk_of(guard, "ada")
    thread = await ada.threads.create()
    await ada.runs.wait(thread["thread_id"], "agent", input=HELLO)
    copy = await guard.http.post(f"/threads/{thread['thread_id']}/copy", headers=bearer("ada"))
    assert copy.json()["metadata"]["owner"] == "ada"


async def test_cancelling_many_meets_only_ones_own(guard):
    ada, eve = sdk_of(guard, "ada"), sdk_of(guard, "eve")
    thread = await ada.threads.create()
    run = await ada.runs.create(thread["thread_id"], "agent", input=HELLO, after_seconds=3600)
    for body in ({"status": "all"}, {"thread_id": thread["thread_id"], "run_ids": [run["run_id"]]}):
        with pytest.raises(NotFoundError):
            await eve.http.post("/runs/cancel", json=body)
    assert (await ada.runs.get(thread["thread_id"], run["run_id"]))["status"] == "pending"


async def test_members_share(guard):
    ada, bob, eve = (sdk_of(guard, f"{name}:member") for name in ("ada", "bob", "eve"))
    thread = await ada.threads.create(metadata={"members": ["bob"]})
    assert thread["metadata"]["members"] == ["bob", "ada"]
    assert (await bob.threads.get(thread["thread_id"]))["thread_id"] == thread["thread_id"]
    with pytest.raises(NotFoundError):
        await eve.threads.get(thread["thread_id"])
    await bob.threads.update(thread["thread_id"], metadata={"members": ["ada", "bob", "eve"]})
    assert await eve.threads.get(thread["thread_id"])
    with pytest.raises(PermissionDeniedError):
        await eve.threads.update(thread["thread_id"], metadata={"members": ["ada"]})


async def test_a_cron_runs_as_who_made_it(guard):
    ada, eve = sdk_of(guard, "ada"), sdk_of(guard, "eve")
    cron = await ada.crons.create("agent", schedule="0 0 1 1 *", input=HELLO)
    assert cron["metadata"]["owner"] == "ada"
    assert [found["cron_id"] for found in await ada.crons.search()] == [cron["cron_id"]]
    assert await eve.crons.search() == []
    with pytest.raises(NotFoundError):
        await eve.crons.delete(cron["cron_id"])
    thread = await ada.threads.create()
    with pytest.raises(NotFoundError):
        await eve.crons.create_for_thread(thread["thread_id"], "agent", schedule="0 0 1 1 *")


async def test_a_graph_belongs_to_everybody_and_an_assistant_to_its_maker(guard):
    ada, eve = sdk_of(guard, "ada"), sdk_of(guard, "eve")
    mine = await ada.assistants.create("agent")
    assert (await eve.runs.wait(None, "agent", input=HELLO))["messages"]
    with pytest.raises(NotFoundError):
        await eve.runs.create(None, mine["assistant_id"], input=HELLO)


async def test_the_store_is_rewritten_and_never_filtered(guard):
    ada, eve = sdk_of(guard, "ada"), sdk_of(guard, "eve")
    await ada.store.put_item(["notes"], "k", {"of": "ada"})
    await eve.store.put_item(["notes"], "k", {"of": "eve"})
    assert (await ada.store.get_item(["notes"], "k"))["value"] == {"of": "ada"}
    found = await ada.store.search_items(["notes"])
    assert [item["value"] for item in found["items"]] == [{"of": "ada"}]
    await eve.store.delete_item(["notes"], "k")
    assert (await ada.store.get_item(["notes"], "k"))["value"] == {"of": "ada"}
    with pytest.raises(PermissionDeniedError, match="namespace"):
        await sdk_of(guard, "ada:member").store.get_item(["notes"], "k")


# against PostgreSQL, and against what they mean


SCALARS = st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5) | st.sampled_from(["a", "b"])
KEYS = st.text(min_size=1, max_size=3) | st.sampled_from(["owner", "members", "a b", '"', "$", "a.b"])
CONDITIONS = st.one_of(
    SCALARS,
    st.fixed_dictionaries({"$eq": SCALARS}),
    st.fixed_dictionaries({"$contains": SCALARS | st.lists(SCALARS, max_size=3)}),
)
METADATA = st.dictionaries(KEYS, SCALARS | st.lists(SCALARS | st.lists(SCALARS, max_size=2), max_size=3), max_size=3)


def storable(text: Any) -> bool:
    # What jsonb holds: no NUL, no half of a surrogate pair.
    encoded = json.dumps(text)
    return "\\u0000" not in encoded and "\\ud" not in encoded


def same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def meets(conditions: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """What the filter means, told without SQL."""
    for key, condition in conditions.items():
        operations = condition if isinstance(condition, dict) else {"$eq": condition}
        for operator, wanted in operations.items():
            if key not in metadata:
                return False
            found = metadata[key]
            if operator == "$eq" and (isinstance(found, list) or not same(found, wanted)):
                return False
            if operator == "$contains":
                each = wanted if isinstance(wanted, list) else [wanted]
                if not isinstance(found, list):
                    return not each
                if not all(any(same(item, value) for item in found) for value in each):
                    return False
    return True


@pytest.fixture(scope="module")
def asked(server_url):
    import psycopg

    with psycopg.connect(server_url, autocommit=True) as connection:

        def ask(access, metadata):
            row = connection.execute(
                "SELECT %s::jsonpath IS NULL OR %s::jsonb @@ %s::jsonpath", [access, json.dumps(metadata), access]
            ).fetchone()
            return row is not None and bool(row[0])

        yield ask


@settings(max_examples=400, deadline=None)
@given(conditions=st.dictionaries(KEYS, CONDITIONS, max_size=2), metadata=METADATA)
def test_postgresql_decides_what_the_filter_means(asked, conditions, metadata):
    if not storable(conditions) or not storable(metadata):
        return
    if any(isinstance(c, dict) and c.get("$contains") == [] for c in conditions.values()):
        return
    assert asked(compiled(conditions), metadata) == meets(conditions, metadata)


@settings(max_examples=200, deadline=None)
@given(conditions=st.dictionaries(KEYS, CONDITIONS, max_size=2), metadata=METADATA)
def test_what_is_stamped_is_found_again(asked, conditions, metadata):
    if not storable(conditions) or not storable(metadata):
        return
    made = stamped(conditions, metadata)
    assert asked(compiled(conditions), made)
    assert broken_by(conditions, made) is None


@pytest.mark.parametrize(
    "key", ['"', "\\", "a.b", "$", "@", "a b", "*", "'", "é", "😀", '") || (1 == 1', "x\ny", "", "\t"]
)
def test_no_key_and_no_value_ends_its_quotes(asked, key):
    assert asked(compiled({key: key}), {key: key})
    assert not asked(compiled({key: key}), {key: key + "x"})
    assert not asked(compiled({"owner": key}), {"other": key})


def test_a_nul_matches_nothing(asked):
    assert not asked(compiled({"owner": "a\0b"}), {"owner": "ab"})
    assert not asked(compiled({"a\0b": "x"}), {"ab": "x"})


def test_a_list_is_not_owned_by_each_of_its_members(asked):
    assert not asked(compiled({"owner": "ada"}), {"owner": ["ada", "eve"]})


def test_no_filter_is_no_condition():
    assert compiled({}) is None


@pytest.mark.parametrize(
    "conditions", [{"a": {"$like": "x"}}, {"a": {}}, {"a": ["x"]}, {"a": {"$eq": {"b": 1}}}, {"a": {"$contains": {}}}]
)
def test_another_form_of_filter_is_an_error_and_not_ignored(conditions):
    with pytest.raises(ConfigurationError):
        compiled(conditions)
