"""`/switches`: what is off for the caller's tenant."""

from server_api import Api

from outlast.domain.acting import acting_for

BODY = {"reason": "answers in Latin"}


async def test_a_switch_is_a_resource_that_is_there_while_it_is_off(idle_api: Api) -> None:
    http = idle_api.http
    made = await http.put("/switches/agent/echo", json=BODY)
    assert made.status_code == 200, made.text
    (shown,) = (await http.get("/switches")).json()
    assert (shown["kind"], shown["name"], shown["reason"], shown["everybody"]) == (
        "agent",
        "echo",
        BODY["reason"],
        False,
    )
    assert (await http.delete("/switches/agent/echo")).status_code == 204
    assert (await http.get("/switches")).json() == []
    assert (await http.delete("/switches/agent/echo")).status_code == 404


async def test_a_run_of_what_is_off_is_taken_in_and_waits(idle_api: Api) -> None:
    await idle_api.http.put("/switches/tenant", json=BODY)
    started = await idle_api.start(agent="echo", input={})
    assert started["status"] == "queued"
    (shown,) = (await idle_api.http.get("/switches")).json()
    assert shown["runs_held"] >= 1
    assert (await idle_api.http.delete("/switches/tenant")).status_code == 204


async def test_another_tenants_switches_are_not_shown_and_cannot_be_turned(idle_api: Api) -> None:
    with acting_for("acme"):
        await idle_api.runtime.switch_desk().turn_off("tool", "send", reason="ours")
    assert (await idle_api.http.get("/switches")).json() == []
    assert (await idle_api.http.delete("/switches/tool/send")).status_code == 404


async def test_what_makes_no_sense_is_refused(idle_api: Api) -> None:
    http = idle_api.http
    assert (await http.put("/switches/world/all", json=BODY)).status_code == 422
    assert (await http.put("/switches/agent/echo", json={})).status_code == 422
    assert (await http.put("/switches/agent/echo", json={"reason": " "})).status_code == 422
    assert (await http.put(f"/switches/agent/{'x' * 300}", json=BODY)).status_code == 422
