"""Every panel shows something on a real Prometheus that scrapes the examples at work: API, workers, a crash."""

import asyncio
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from live_prometheus import watching
from monitored import ROOT, queries
from outlast_command import Running, running

from outlast.testing.providers import ProviderServer, Reply, ToolCall
from waiting import wait_until
from webhook_receiver import receiving

pytestmark = pytest.mark.processes

LIVE = Path(__file__).parent / "live"
SAID = {"messages": [{"role": "user", "content": "What is it?"}]}


def make_project(folder: Path, receiver: str) -> Path:
    """The support example, with other agents beside it."""
    shutil.copytree(LIVE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("agent.py", "orders.json"):
        shutil.copy(ROOT / "examples" / "support" / name, folder)
    with (folder / "outlast.toml").open("a") as settings:
        settings.write(f'\n[notifications.channels.ops]\ntype = "slack"\nurl = "{receiver}"\n')
    return folder


class Story:
    """What happens, again and again, until every panel has seen it."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api

    def happen(self) -> None:
        """A talk, a question, tools, a judgement that nobody trusts, a failure and a stream."""
        assert "delivered" in self._said("Where is my order 1001?")
        asked = self._post("/chat", {"user_id": "anna", "agent": "support", "message": "I want to talk to a person"})
        self._answer(asked["task_id"], {"decision": "approve", "value": "We are here."})
        self._post("/runs/wait", {"assistant_id": "clerk", "input": SAID})
        judged = self._start("judge", {"question": "Is it right?"})
        self._answer(judged, {"decision": "approve"})
        self._start("broken", {"why": "it is broken"}, max_attempts=2)
        with self.api.stream("POST", "/runs/stream", json={"assistant_id": "support", "input": SAID}) as answer:
            assert answer.read()

    def crash(self, workers: list[Running]) -> None:
        """Kill the worker that has a run, and let another one end it."""
        for worker in workers:
            (worker.folder / "hold").touch()
        run_id = self._start("steady", 1)
        wait_until(lambda: [w for w in workers if (w.folder / "began").exists()], 20, "no worker took it")
        (at_it,) = [worker for worker in workers if (worker.folder / "began").exists()]
        for worker in workers:
            (worker.folder / "hold").unlink()
            if worker is at_it:
                worker.process.kill()
        self._until(run_id, "succeeded")

    def _said(self, text: str) -> str:
        return self._post("/chat", {"user_id": "anna", "agent": "support", "message": text})["reply"]

    def _start(self, agent: str, given: object, **options: object) -> str:
        return self._post("/agent/start", {"agent": agent, "input": given, **options})["task_id"]

    def _answer(self, run_id: str, decision: dict) -> None:
        """Answer what a run asks."""
        self._until(run_id, "waiting")
        [question] = self.api.get("/inbox", params={"run_id": run_id}).json()
        hash_ = self.api.get(f"/inbox/{question['id']}").json()["hash"]
        answered = self.api.post(f"/inbox/{question['id']}/answer", json={**decision, "hash": hash_})
        assert answered.status_code == httpx.codes.OK, answered.text

    def _until(self, run_id: str, status: str) -> None:
        def reached() -> bool:
            return self.api.get(f"/agent/status/{run_id}").json()["status"] == status

        wait_until(reached, 30, f"{run_id} did not become {status}")

    def _post(self, path: str, body: dict) -> dict:
        answer = self.api.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def processes(folder: Path, receiver: str, **settings: str):
    """Start an API and two workers, each with a folder of its own."""
    with ExitStack() as stack:

        def start(name: str, *command: object, **more: str) -> Running:
            project = make_project(folder / name, receiver)
            return stack.enter_context(running(*command, cwd=project, **settings, **more))

        api = start("api", "serve", "--port", 0)
        workers = [start(name, "worker", OUTLAST_METRICS__LISTEN="127.0.0.1:0") for name in ("first", "second")]
        for worker in workers:
            worker.find("worker started")
        yield api, workers


def told(folder: Path, receiver: str, **settings: str) -> None:
    with processes(folder, receiver, **settings) as (api, workers):
        urls = [worker.find(r"metrics at (http://[\w.:]+/metrics)")[1] for worker in workers]
        with (
            watching(folder / "prometheus", api.url, *urls) as prometheus,
            httpx.Client(base_url=api.url, timeout=30, trust_env=False) as client,
        ):
            story = Story(client)
            # What was never counted before a crash cannot be seen to grow with it.
            wait_until(lambda: prometheus.shows("sum(up) == 3"), 20, "not everything is scraped")
            story.happen()
            story.crash(workers)
            missing = dict(queries())

            def all_shown() -> bool:
                story.happen()
                for place in [place for place, query in missing.items() if prometheus.shows(query)]:
                    del missing[place]
                return not missing

            try:
                wait_until(all_shown, 40)
            except AssertionError:
                pytest.fail("panels without data:\n" + "\n".join(f"{place}: {missing[place]}" for place in missing))
            assert prometheus.query("sum(outlast_runs_recovered_total) >= 1"), "the crash was not counted"
            assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
            alerts = {alert["metric"]["alertname"] for alert in prometheus.query('ALERTS{alertstate="firing"}')}
            # It always fires; the worker that was killed may be missed by now.
            assert "OutlastWatchdog" in alerts
            assert not alerts & {
                "OutlastUnwatched",
                "OutlastNoWorkers",
                "OutlastCheckpointsFail",
                "OutlastAlerterSilent",
            }


async def test_every_panel_shows_data_of_a_real_run_of_the_examples(tmp_path, database_url):
    async with receiving() as receiver, ProviderServer() as provider:
        calls = tuple(ToolCall(name, {"what": "it"}) for name in ("look_up", "fall_over"))
        provider.when(Reply(tool_calls=calls), tool="look_up", after_tool=False)
        settings = {
            "DATABASE_URL": database_url,
            "OPENAI_API_KEY": "test",
            "OPENAI_BASE_URL": provider.openai_url,
        }
        await asyncio.to_thread(told, tmp_path, receiver.url, **settings)
