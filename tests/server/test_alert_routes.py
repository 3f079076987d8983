"""`GET /alerts`, and an API that raises the alarm when no worker is there."""

from ipaddress import ip_network
from uuid import uuid4

from server_api import Api

from outlast.domain.acting import acting_for
from outlast.domain.run import NewRun
from outlast.runtime import watching
from outlast.settings import WebhookSettings
from outlast.settings_alerts import AlertSettings
from outlast.settings_notifications import NotificationSettings
from outlast.storage.postgres.alerts import AlertStore
from waiting import until
from webhook_receiver import receiving


async def test_alerts_and_silences_of_the_callers_tenant_are_shown(idle_api: Api) -> None:
    http, store = idle_api.http, AlertStore(idle_api.runtime.pool)
    made = await store.test("half of the runs failed")
    with acting_for("acme"):
        await store.test("theirs")
        await store.silence("*", subject=None, seconds=60, why="theirs", who="eve")
    await store.silence("error_rate", subject="agent=echo", seconds=60, why="known", who="ann")

    shown = (await http.get("/alerts", params={"state": ["firing", "pending"]})).json()
    (alert,) = shown["alerts"]
    assert (alert["id"], alert["text"], alert["state"], alert["notices"]) == (
        str(made), "half of the runs failed", "firing", 1,
    )  # fmt: skip
    (silence,) = shown["silences"]
    assert (silence["rule"], silence["subject"], silence["why"], silence["silenced_by"]) == (
        "error_rate", "agent=echo", "known", "ann",
    )  # fmt: skip
    assert (await http.get("/alerts", params={"state": "resolved"})).json()["alerts"] == []
    assert (await http.get("/alerts", params={"rule": "other"})).json()["alerts"] == []
    assert (await http.get("/alerts", params={"state": "loud"})).status_code == 422


async def test_an_api_tells_that_no_worker_is_there(databases, open_runtime) -> None:
    url = await databases.create()
    async with receiving() as receiver:
        settings = {
            "alerts": AlertSettings.model_validate({"every": 1, "rules": {"no_worker": {"after": 0}}}),
            "webhooks": WebhookSettings(networks=(ip_network("127.0.0.0/8"),)),
            "notifications": NotificationSettings.model_validate(
                {"channels": {"hook": {"type": "webhook", "url": receiver.url}}, "poll": 0.1}
            ),
        }
        async with open_runtime(url, **settings) as runtime, watching(runtime):
            await runtime.queue.enqueue(
                NewRun(id=uuid4(), thread_id="t", agent="echo", input=None, config={}, metadata={})
            )
            await until(lambda: receiver.got(1), 20, "somebody is told")
            assert (await AlertStore(runtime.pool).standing()).evaluated_at is not None
    (notice,) = receiver.received[0].body["data"]["notices"]
    assert (notice["kind"], notice["severity"], notice["agent"]) == ("no_worker", "error", "echo")
    assert "runs of agent 'echo' that are due and that no live worker could run: 1" in notice["text"]
    await databases.leave(url)
