"""`outlast admission`: what was decided about requests, straight from the database."""

import asyncio
import json
from uuid import uuid4

import pytest
from outlast_command import outlast

from outlast.domain.acting import Principal, acting_for
from outlast.domain.decision import Decision
from outlast.domain.run import NewRun
from outlast.storage.postgres.admission import AdmissionStore
from outlast.storage.postgres.runs import RunStore


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments):
        return await asyncio.to_thread(outlast, *arguments, cwd=tmp_path, DATABASE_URL=database_url)

    return run


def a_run(**given):
    fields = {"id": uuid4(), "thread_id": "t", "agent": "support", "input": 1, "config": {}, "metadata": {}}
    return NewRun(**(fields | given))


REFUSAL = Decision(verdict="refuse", stage="limits", code="rate_limited", reason="limit `1/day per user` is reached")
LATER = Decision(verdict="later", stage="limits", reason="its turn comes in 60.0 s", delay_seconds=60)


async def test_refusals_and_delays_are_listed_with_their_reason_and_the_rest_on_request(pool, command):
    store = AdmissionStore(pool)
    allowed, delayed, refused = a_run(decision=Decision()), a_run(decision=LATER, thread_id="u"), a_run()
    with acting_for(Principal(user="ann", key_id="k1")):
        for run in (allowed, delayed):
            await RunStore(pool).enqueue(run)
        await store.refused(refused, REFUSAL)
        await store.refused_again(refused.id, times=2)

    said = await command("admission")
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    assert rows[0] == ["at", "verdict", "stage", "agent", "user", "api_key", "times", "reason", "id"]
    assert sorted(row[1:] for row in rows[1:]) == [
        ["later", "limits", "support", "ann", "k1", "1", LATER.reason, str(delayed.id)],
        ["refuse", "limits", "support", "ann", "k1", "3", REFUSAL.reason, str(refused.id)],
    ]
    everything = json.loads((await command("admission", "--all", "--user", "ann", "--json")).stdout)
    assert {row["id"]: row["verdict"] for row in everything} == {
        str(allowed.id): "allow", str(delayed.id): "later", str(refused.id): "refuse"
    }  # fmt: skip


async def test_a_run_tells_what_was_decided_about_it(pool, command):
    run = a_run(decision=LATER)
    await RunStore(pool).enqueue(run)

    assert "admission later, by limits: its turn comes in 60.0 s\n" in (await command("runs", "show", run.id)).stdout
