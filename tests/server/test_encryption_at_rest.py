"""With a master key, whoever has the database alone reads nothing of what runs are about."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient
from server_api import Api, client_of

from outlast import telemetry
from outlast.agents.project import Project, find_project
from outlast.domain.acting import across_tenants
from outlast.errors import ConfigurationError, NotSupported, Undecipherable
from outlast.monitoring.story import story_of
from outlast.runtime import Runtime
from outlast.secret import Secret
from outlast.settings import DatabaseSettings
from outlast.settings_encryption import EncryptionSettings
from outlast.storage.postgres.data_keys import opened_keys
from outlast.storage.postgres.listing import Page
from outlast.storage.postgres.master_keys import MasterKeys
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.resealing import Resealing
from outlast.storage.postgres.sealing import Sealed
from outlast.storage.postgres.threads import ThreadQuery
from runtimes import Opens, working

MASTER = Secret("bmV3LW1hc3Rlci1rZXktb2YtMzItYnl0ZXMtMDEyMzQ=")
ENCRYPTED = EncryptionSettings(
    master_key=MASTER, refresh=timedelta(milliseconds=50), batch=20, pause=timedelta(milliseconds=5)
)
TOKEN = "sk-proj-Zk3vQ9xWb7LmT2pRy8NcJ5dHs6FgA1eU4iKoV0z"
CANARIES = [f"canary-{number:02d}-of-ada" for number in range(49)]


@pytest.fixture(scope="module")
def sealed_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("sealed")
    shutil.copy(Path(__file__).parent / "sealed_agents.py", root / "sealed_test_agents.py")
    names = ("whole", "broken", "quick")
    (root / "outlast.toml").write_text(
        "[agents]\n" + "\n".join(f'{name} = "./sealed_test_agents.py:{name}"' for name in names)
    )
    return find_project(root)


@pytest.fixture
async def api(database_url: str, open_runtime: Opens, sealed_project: Project) -> AsyncIterator[Api]:
    async with (
        open_runtime(database_url, project=sealed_project, encryption=ENCRYPTED) as runtime,
        working(runtime),
        client_of(runtime) as http,
    ):
        yield Api(runtime, http)


def said(canary: Any) -> dict[str, Any]:
    names = ("streamed", "journaled", "kept", "to", "text", "large", "reply", "asked", "broken")
    return {"said": {**{name: next(canary) for name in names}, "token": TOKEN}, "notes": [next(canary)]}


async def dump(runtime: Runtime) -> dict[str, bytes]:
    """Return every table of the schema as the server writes it out, all columns as they are."""
    return await dump_of(runtime.pool)


async def dump_of(pool: Pool) -> dict[str, bytes]:
    with across_tenants():
        async with pool.transaction() as connection:
            cursor = await connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
            )
            tables: dict[str, bytes] = {}
            for (name,) in await cursor.fetchall():
                async with (
                    connection.cursor() as copying,
                    copying.copy(f"COPY {name} TO STDOUT (FORMAT binary)") as copy,
                ):
                    tables[name] = b"".join([bytes(part) async for part in copy])
    return tables


def found(tables: dict[str, bytes]) -> list[tuple[str, str]]:
    return [(name, canary) for name, data in tables.items() for canary in [*CANARIES, TOKEN] if canary.encode() in data]


async def plant(api: Api) -> dict[str, Any]:
    """Put every canary somewhere; return the ids of what is made."""
    sdk, canary = LangGraphClient(api.http), iter(CANARIES)
    thread = (await sdk.threads.create())["thread_id"]
    parts = [
        part async for part in sdk.runs.stream(
            thread, "whole", input=said(canary), stream_mode=["values", "custom", "checkpoints"],
            config={"configurable": {"whose": next(canary)}}, stream_resumable=True,
        )
    ]  # fmt: skip
    await sdk.runs.wait(thread, "whole", command={"resume": next(canary)})
    await sdk.threads.update_state(thread, {"notes": [next(canary)]})
    copy = (await sdk.threads.copy(thread))["thread_id"]
    failed = await sdk.runs.create(thread, "broken", input=said(canary))
    await sdk.runs.join(thread, failed["run_id"])
    plain = await api.start(agent="whole", input=said(canary), config={"configurable": {"whose": next(canary)}})
    waiting = await api.ended(plain["task_id"])
    asked = (await api.runtime.inbox().find(status="open"))[0][-1]
    await api.runtime.inbox().comment(asked.id, next(canary))
    await api.runtime.feedback.add(
        (await api.runtime.queue.store.get(plain["task_id"])).id,
        "score", score=1.0, value=f'"{next(canary)}"'.encode(), comment=next(canary),
    )  # fmt: skip
    cron = await sdk.crons.create("quick", schedule="0 0 1 1 *", input=said(canary))
    for number, text in enumerate(canary):
        await sdk.store.put_item(("people", str(number)), "note", {"text": text, "n": number})
    return {
        "thread": thread, "copy": copy, "failed": failed["run_id"], "cron": cron["cron_id"], "parts": parts,
        "waiting": waiting,
    }  # fmt: skip


async def test_of_fifty_planted_canaries_nothing_is_found_in_the_database_events_or_logs(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    unsubscribe = telemetry.subscribe(lambda point, fields: heard.append(f"{point} {fields}"))
    caplog.set_level(logging.DEBUG, "outlast")
    try:
        made = await plant(api)
        tables = await dump(api.runtime)
    finally:
        unsubscribe()

    assert found(tables) == []
    assert all(len(tables[name]) > 50 for name in ("checkpoints", "effects", "call_journal", "store_items", "crons"))
    assert len(tables["run_events"]) > 50
    told = "\n".join([*heard, caplog.text])
    assert [canary for canary in [*CANARIES, TOKEN] if canary in told] == []
    await still_there(api, made)


async def still_there(api: Api, made: dict[str, Any]) -> None:
    """Look at everything that was planted as a client does."""
    sdk = LangGraphClient(api.http)
    for thread in (made["thread"], made["copy"]):
        state = await sdk.threads.get_state(thread)
        assert CANARIES[1] in state["values"]["notes"]
        assert len(await sdk.threads.get_history(thread)) >= 4
        assert (await sdk.threads.get(thread))["values"]["said"]["kept"] in CANARIES
    assert any(CANARIES[0] in str(part.data) for part in made["parts"] if part.event == "custom")
    joined = [part async for part in sdk.runs.join_stream(made["thread"], made["failed"])]
    run = (await api.http.get(f"/agent/status/{made['failed']}")).json()
    assert "cannot reach canary" in str(run["error"])
    assert TOKEN not in str(run) + str(joined)
    assert made["waiting"]["status"] == "waiting"
    assert made["waiting"]["interrupts"][0]["value"]["may I"] in CANARIES
    answered = await api.http.post(f"/agent/answer/{made['waiting']['task_id']}", json={"answer": "yes"})
    assert answered.status_code < 300, answered.text
    assert (await api.ended(made["waiting"]["task_id"]))["status"] == "succeeded"
    assert [cron["cron_id"] for cron in await sdk.crons.search()] == [made["cron"]]
    items = (await sdk.store.search_items(("people",), limit=100))["items"]
    assert {item["value"].get("text") for item in items} & {*CANARIES}
    assert await texts(sdk, {"n": {"$gte": 1, "$lt": 3}}) == [CANARIES[-1], CANARIES[-2]][: len(items) - 2]
    assert len(await texts(sdk, {"kind": "note"})) == 1
    (effect, *_) = await effects(api.runtime)
    assert b"canary" in effect.arguments
    assert "canary" not in str(await story_of(api.runtime.pool, made["thread"])), "a story is told without content"
    assert "canary" in str(await story_of(api.runtime.pool, made["thread"], content=True))


async def texts(sdk: LangGraphClient, conditions: dict[str, Any]) -> list[Any]:
    found = await sdk.store.search_items(("people",), filter=conditions)
    return [item["value"].get("text") for item in found["items"]]


async def effects(runtime: Runtime) -> Any:
    return await runtime.calls.effects.find(limit=5)


async def test_what_cannot_be_searched_says_so(api: Api) -> None:
    query = ThreadQuery(values={"notes": ["x"]})
    with pytest.raises(NotSupported, match="search by metadata"):
        await api.runtime.threads.count(query)
    with pytest.raises(NotSupported):
        await api.runtime.threads.search(query, sort_by="created_at", order="asc", page=Page(1), with_values=False)


async def test_a_row_that_is_not_encrypted_is_refused(api: Api) -> None:
    started = await api.start(agent="quick", input=said(iter(CANARIES)))
    await api.ended(started["task_id"])
    async with api.runtime.pool.transaction() as connection:
        await connection.execute("UPDATE run_details SET output = '{}', input = '{\"a\": 1}'")

    with pytest.raises(Undecipherable, match=r"run_details.*is not encrypted"):
        await api.runtime.queue.store.get(started["task_id"])


async def test_a_run_whose_input_was_tampered_with_fails_and_says_why(
    database_url: str, open_runtime: Opens, sealed_project: Project
) -> None:
    async with (
        open_runtime(database_url, project=sealed_project, encryption=ENCRYPTED) as runtime,
        client_of(runtime) as http,
    ):
        api = Api(runtime, http)
        started = [await api.start(agent="quick", input=said(iter(CANARIES))) for _ in range(2)]
        async with runtime.pool.transaction() as connection:
            await connection.execute(
                "UPDATE run_details d SET input = o.input FROM run_details o WHERE d.run_id = %s AND o.run_id = %s",
                [run["task_id"] for run in started],
            )
        async with working(runtime):
            assert (await api.ended(started[1]["task_id"]))["status"] == "succeeded"
            async with runtime.pool.transaction() as connection:
                row = await (
                        await connection.execute(
                            "SELECT r.status, d.error_code FROM runs r JOIN run_details d ON d.run_id = r.id"
                            " WHERE r.id = %s", [started[0]["task_id"]],
                        )
                    ).fetchone()  # fmt: skip
            assert row == ("failed", "undecipherable")


async def test_keys_are_rotated_under_load_without_an_error(api: Api) -> None:
    runtime = api.runtime
    async with opened_keys(runtime.pool, MasterKeys(MASTER), refresh=timedelta(0)) as keys:
        started: list[str] = []
        for _ in range(3):
            runs = [api.start(agent="quick", input=said(iter(CANARIES))) for _ in range(8)]
            started += [run["task_id"] for run in await asyncio.gather(*runs)]
            await keys.rotate()
        ended = [await api.ended(run) for run in started]
        pool = runtime.pool
        await Resealing(pool, settled=timedelta(milliseconds=200), batch=7).whole()

        assert {run["status"] for run in ended} == {"succeeded"}
        assert all(run["output"]["large"] for run in ended)
        counts = {row.tenant: row for row in await keys.counts()}
        assert (counts["default"].keys, counts["default"].retiring, counts["default"].retired) == (4, 0, 3)
        active = (await keys.active("default")).id.bytes
        tables = await dump(runtime)
    old = [row for row in await all_keys(runtime) if row != active]
    durable = [name for name in tables if name not in {"data_keys", "run_events", "call_cache"}]
    assert [(name, key) for name in durable for key in old if b"\xc1\x01" + key in tables[name]] == []
    again = [await api.ended(run) for run in started]
    assert [run["output"] for run in again] == [run["output"] for run in ended]


async def all_keys(runtime: Runtime) -> list[bytes]:
    with across_tenants():
        async with runtime.pool.transaction() as connection:
            rows = await (await connection.execute("SELECT id FROM data_keys WHERE tenant = 'default'")).fetchall()
    return [row[0].bytes for row in rows]


async def test_a_step_that_fails_before_its_commit_has_changed_nothing_and_is_taken_again(
    database_url: str, open_runtime: Opens, sealed_project: Project
) -> None:
    async with (
        open_runtime(database_url, project=sealed_project, encryption=ENCRYPTED) as runtime,
        client_of(runtime) as http,
        opened_keys(runtime.pool, MasterKeys(MASTER), refresh=timedelta(0)) as keys,
    ):
        async with working(runtime):
            api = Api(runtime, http)
            await api.ended((await api.start(agent="quick", input=said(iter(CANARIES))))["task_id"])
        await keys.rotate()
        walk = Resealing(runtime.pool, settled=timedelta(0), batch=2)
        telemetry.arm("encryption.resealed.before_commit:raise:1:3")
        try:
            with pytest.raises(telemetry.FaultInjected):
                await walk.whole()
        finally:
            telemetry.arm("")
        assert sum(row.retiring for row in await keys.counts()) == 2

        await walk.whole()

        assert [row.retiring for row in await keys.counts()] == [0, 0]


async def test_a_database_with_content_is_encrypted_as_a_whole_and_refuses_plain_content_from_then_on(
    database_url: str, open_runtime: Opens, sealed_project: Project
) -> None:
    async with (
        open_runtime(database_url, project=sealed_project) as runtime, working(runtime), client_of(runtime) as http
    ):  # fmt: skip
        made = await plant(Api(runtime, http))
        assert len({canary for _, canary in found(await dump(runtime))}) > 40
    with pytest.raises(ConfigurationError, match="outlast encryption enable"):
        async with open_runtime(database_url, project=sealed_project, encryption=ENCRYPTED):
            pass

    pool = Pool(DatabaseSettings(url=database_url), application_name="enabling")
    await pool.open()
    async with opened_keys(pool, MasterKeys(MASTER), refresh=timedelta(0)) as keys:
        assert await keys.begin(with_content="enabling") == "enabling"
        await keys.forget_transient()
        pool.sealing = Sealed(keys)
        assert await Resealing(pool, settled=timedelta(0), batch=7).whole() > 20
        assert await keys.state() == "on"
    tables = await dump_of(pool)
    await pool.close()

    assert found(tables) == []
    with pytest.raises(ConfigurationError, match="there is no master key"):
        async with open_runtime(database_url, project=sealed_project):
            pass
    async with (
        open_runtime(database_url, project=sealed_project, encryption=ENCRYPTED) as runtime,
        working(runtime),
        client_of(runtime) as http,
    ):
        await still_there(Api(runtime, http), made)
