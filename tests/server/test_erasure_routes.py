"""Personal data over HTTP: what a run has left behind is handed out, erased, and accounted for."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from server_api import Api, client_of

from outlast import telemetry
from outlast.secret import Secret
from outlast.settings import RetentionSettings
from outlast.settings_audit import AuditSettings
from outlast.settings_encryption import EncryptionSettings
from outlast.testing.postgres import Databases
from planted_rows import holding
from runtimes import Opens, working

CANARIES = [f"canary-{number:02}-of-ann" for number in range(50)]


@pytest.fixture
async def api(databases: Databases, open_runtime: Opens) -> AsyncIterator[Api]:
    url = await databases.create()
    settings = AuditSettings(key=Secret("the key of the audit log, 32 bytes".replace(" ", "-")))
    async with open_runtime(url, audit=settings) as runtime, working(runtime), client_of(runtime) as http:
        yield Api(runtime, http)
    await databases.leave(url)


async def chat(api: Api, thread_id: str) -> None:
    """What a user says in a conversation, with one run that succeeded, one that asks, and one that failed."""
    for agent, given in (
        ("chat", {"messages": [{"role": "user", "content": " ".join(CANARIES)}]}),
        ("ask", CANARIES), ("broken", {"said": CANARIES}), ("echo", CANARIES),
    ):  # fmt: skip
        run = await api.start(agent=agent, input=given, thread_id=f"{thread_id}-{agent}")
        await api.ended(run["task_id"])
    await api.runtime.store.aput(("users", "ann"), "facts", {"said": CANARIES})
    async with api.runtime.pool.transaction() as connection:
        # Nobody has to say who they are here.
        await connection.execute("UPDATE run_details SET user_id = 'ann'")


async def found(api: Api) -> set[str]:
    return set(await holding(api.runtime.pool, *CANARIES))


async def test_what_somebody_left_behind_is_handed_out_in_a_form_that_can_be_read(api: Api) -> None:
    await chat(api, "ann")
    response = await api.http.post("/exports", json={"user": "ann"})
    lines = [json.loads(line) for line in response.text.splitlines()]
    rows = [line for line in lines if "row" in line]
    assert lines[0]["export"]["user"] == "ann"
    assert lines[-1] == {"end": {"rows": len(rows), "tables": lines[-1]["end"]["tables"]}}
    readable = {line["table"] for line in rows if CANARIES[0] in json.dumps(line)}
    # Each place that holds it says so: nothing is handed out as bytes.
    assert await found(api) == readable
    assert {"run_details", "store_items"} <= readable
    [entry] = (await api.http.get("/audit", params={"action": "data.exported"})).json()
    assert entry["object"] == "user:ann"


async def test_what_is_encrypted_is_handed_out_decrypted_and_its_keys_are_destroyed_with_the_tenant(
    databases: Databases, open_runtime: Opens
) -> None:
    url = await databases.create()
    key = EncryptionSettings(master_key=Secret(b64encode(bytes(range(32))).decode()))
    async with open_runtime(url, encryption=key) as runtime, working(runtime), client_of(runtime) as http:
        api = Api(runtime, http)
        await chat(api, "ann")
        assert await found(api) == set()
        lines = (await http.post("/exports", json={"user": "ann"})).text.splitlines()
        readable = {json.loads(line)["table"] for line in lines if CANARIES[0] in line}
        assert {"run_details", "thread_details", "checkpoint_blobs", "store_items"} <= readable

        receipt = (await http.post("/erasures", json={"tenant": "default"})).json()

        assert receipt["removed"]["data_keys"] == 1
        *_, end = (await http.post("/exports", json={"tenant": "default"})).text.splitlines()
        assert json.loads(end)["end"]["rows"] == 0
    await databases.leave(url)


async def test_nothing_of_fifty_canaries_is_found_in_any_table_after_erasure(api: Api) -> None:
    await chat(api, "ann")
    assert len(await found(api)) >= 5

    counted = (await api.http.post("/erasures", json={"user": "ann", "dry_run": True})).json()
    assert counted["erasure_id"] is None
    assert await found(api) != set()
    response = await api.http.post("/erasures", json={"user": "ann"})

    assert response.status_code == 200, response.text
    assert await found(api) == set()
    receipt = response.json()
    assert receipt["removed"]["runs"] == counted["removed"]["runs"] == 4
    assert (await api.http.get(f"/erasures/{receipt['erasure_id']}")).json() == receipt
    assert (await api.http.get("/erasures")).json() == [receipt]
    assert (await api.http.get("/agent/state/ann-chat")).status_code == 404
    # A new conversation under the old name begins with nothing.
    run = await api.start(agent="echo", input="again", thread_id="ann-echo")
    assert (await api.ended(run["task_id"]))["output"] == {"got": "again"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422), ({"user": "ann", "thread": "t"}, 422), ({"tenant": "acme"}, 422), ({"user": ""}, 422),
        ({"user": "a\0b"}, 422), ({"user": "ann", "namespaces": [["a.b"]]}, 422), ({"everybody": True}, 422),
    ],
)  # fmt: skip
async def test_whose_data_it_is_has_to_be_said(idle_api: Api, body: dict[str, Any], status: int) -> None:
    for path in ("/erasures", "/exports"):
        assert (await idle_api.http.post(path, json=body)).status_code == status, path


async def test_a_receipt_that_is_not_there_is_not_found(idle_api: Api) -> None:
    assert (await idle_api.http.get("/erasures/00000000-0000-0000-0000-000000000000")).status_code == 404
    assert (await idle_api.http.get("/erasures/x")).status_code == 422


async def test_the_audit_log_is_verified_over_http(api: Api) -> None:
    await api.runtime.audit.record("key.created", "key:1", {"scopes": 2})
    whole = (await api.http.post("/audit/verification")).json()
    assert (whole["entries"], whole["unsigned"], whole["problems"]) == (1, 0, [])
    again = await api.http.post("/audit/verification", json={"heads": [whole["head"]]})
    assert again.json()["problems"] == []
    cut = await api.http.post("/audit/verification", json={"heads": [{"seq": 7, "hash": "0" * 64}]})
    assert [problem["kind"] for problem in cut.json()["problems"]] == ["cut_off"]


async def test_heads_of_audit_logs_go_to_whoever_listens(api: Api) -> None:
    heard: list[dict[str, Any]] = []
    stop = telemetry.subscribe(lambda point, fields: heard.append(dict(fields)) if point == "audit.head" else None)
    entry = await api.runtime.audit.record("key.created", "key:1")
    upkeep = api.runtime.upkeep()
    await upkeep.job("audit heads").work()
    stop()
    assert heard[-1] == {"head": f"default:1:{entry.hash.hex()}"}


async def test_upkeep_cuts_audit_logs_off_by_age_where_an_age_is_set(databases: Databases, open_runtime: Opens) -> None:
    url = await databases.create()
    async with open_runtime(url, retention=RetentionSettings(audit=timedelta(0))) as runtime:
        for number in range(3):
            await runtime.audit.record("key.created", f"key:{number}")
        assert await runtime.upkeep().job("audit").work() == 2
    await databases.leave(url)


async def test_who_answers_a_run_or_replays_it_stands_in_the_audit_log(api: Api) -> None:
    asking = await api.start(agent="ask", input="may I?", thread_id="one")
    await api.ended(asking["task_id"])
    assert (await api.http.post(f"/agent/answer/{asking['task_id']}", json={"answer": "yes"})).status_code == 202
    broken = await api.start(agent="broken", input="x", thread_id="two")
    await api.ended(broken["task_id"])
    await api.runtime.queue.replay(UUID(broken["task_id"]))

    found = (await api.http.get("/audit", params={"action": "run"})).json()

    assert [(entry["action"], entry["object"], entry["actor"]) for entry in found] == [
        ("run.replayed", f"run:{broken['task_id']}", "anybody"), ("run.answered", f"run:{asking['task_id']}", "anybody")
    ]  # fmt: skip
