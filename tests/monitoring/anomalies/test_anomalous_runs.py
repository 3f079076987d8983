"""Real runs, from the end of a graph to the finding, the question to a person, the API and the command line."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from outlast.admission.request import RunRequest
from outlast.agents.project import AgentSpec, Project
from outlast.domain.run import RunStatus, RunView
from outlast.runtime import Runtime
from outlast.server.app import create_app
from outlast.settings_anomalies import AnomalySettings
from outlast.settings_escalation import EscalationRules, EscalationSettings
from runtimes import opener, working
from waiting import until

WARM = 25
AGENTS = ("usual", "careful")
PROJECT = Project(
    root=Path(__file__).parent,
    agents={name: AgentSpec(name=name, path=None, module="watched_agents", attribute=name) for name in AGENTS},
)
OPEN = opener(
    PROJECT, application_name="outlast-test-anomalies", pool_timeout_seconds=5,
    anomalies=AnomalySettings(warm_up=WARM, window=30, hold=0, every=timedelta(milliseconds=100)),
    escalation=EscalationSettings(agents={"careful": EscalationRules(rules=("anomaly",))}),
)  # fmt: skip


@pytest.fixture
async def runtime(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    async with OPEN(database_url) as runtime, working(runtime):
        yield runtime


async def ended(runtime: Runtime, agent: str, *words: int) -> list[RunView]:
    """Run the agent with each of these, and return the runs when they have ended or ask somebody."""
    started = [await runtime.gate().admit(RunRequest(agent=agent, input={"words": count})) for count in words]
    return await asyncio.gather(*(runtime.queue.wait(run.run_id, timeout=timedelta(seconds=20)) for run in started))


async def judged(runtime: Runtime, runs: int) -> None:
    async def all_of_them() -> bool:
        async with runtime.pool.connection() as connection:
            rows = await (await connection.execute("SELECT sum(runs)::int FROM anomaly_baselines", {})).fetchall()
        return rows[0][0] == runs

    await until(all_of_them, 15, "the runs are judged")


async def test_an_agent_that_becomes_terse_is_found_and_one_that_is_careful_asks_first(
    runtime: Runtime, database_url: str, tmp_path: Path
) -> None:
    for agent in AGENTS:
        healthy = await ended(runtime, agent, *(300 + 7 * (number % 9) for number in range(WARM + 2)))
        assert {run.status for run in healthy} == {RunStatus.SUCCEEDED}
    await judged(runtime, 2 * (WARM + 2))

    [asks] = await ended(runtime, "careful", 2)
    assert asks.status is RunStatus.WAITING
    [question] = asks.interrupts or []
    [reason] = question["value"]["reasons"]
    assert reason["code"] == "anomaly"
    assert "length" in reason["text"]
    assert "against a median of" in reason["text"]

    terse = await ended(runtime, "usual", *[2] * 5)
    assert {run.status for run in terse} == {RunStatus.SUCCEEDED}, "nothing failed"
    await judged(runtime, 2 * (WARM + 2) + 5)
    [found] = [each for each in await _over_http(runtime, agent="usual", kind="length") if each["ended_at"] is None]
    assert found["run_id"] in {str(run.id) for run in terse}
    assert (found["agent"], found["kind"], found["runs"]) == ("usual", "length", 5)
    assert await _over_http(runtime, agent="careful") == [], "a run that waits has not ended"
    await _on_the_command_line(database_url, tmp_path, found)


async def _over_http(runtime: Runtime, **asked: str) -> list[dict[str, Any]]:
    transport = httpx.ASGITransport(create_app(runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
        answer = await client.get("/anomalies", params={**asked, "open": "true"})
        refused = await client.get("/anomalies", params={"kind": "unheard-of"})
    assert (answer.status_code, refused.status_code) == (200, 422)
    return answer.json()["anomalies"]


async def _on_the_command_line(database_url: str, folder: Path, found: dict[str, Any]) -> None:
    listed = await _outlast(database_url, folder, "list", "--agent", "usual", "--kind", "length", "--json")
    [each] = json.loads(listed)
    assert (each["id"], each["text"], each["seen_runs"]) == (found["id"], found["text"], 5)
    shown = (await _outlast(database_url, folder, "show", found["id"])).splitlines()
    facts = dict(line.split(maxsplit=1) for line in shown[: shown.index("")])
    assert (facts["ended"], facts["text"]) == ("open", found["text"])
    assert found["run_id"] in "\n".join(shown[shown.index("") :]), "the runs of its time are there, too"


async def _outlast(database_url: str, folder: Path, *arguments: str) -> str:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "outlast", "anomalies", *arguments], cwd=folder, capture_output=True, text=True,
            timeout=60, check=False, stdin=subprocess.DEVNULL, env={"DATABASE_URL": database_url, "PATH": "/usr/bin"},
        )  # fmt: skip

    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stderr
    return done.stdout
