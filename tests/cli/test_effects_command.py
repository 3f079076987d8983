"""`outlast effects`: what was written to the outside, straight from the database."""

import asyncio
import hashlib
import json
from uuid import UUID, uuid4

import pytest
from outlast_command import outlast

from outlast.domain.effect import Intent, Owner
from outlast.domain.run import NewRun, RunStatus
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.effects import EffectStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments):
        return await asyncio.to_thread(outlast, "effects", *arguments, cwd=tmp_path, DATABASE_URL=database_url)

    return run


async def begun(pool: Pool, name: str) -> tuple[UUID, str]:
    """An effect that a running run has announced."""
    run_id = uuid4()
    await RunStore(pool).enqueue(
        NewRun(id=run_id, thread_id=str(run_id), agent="support", input={}, config={}, metadata={})
    )
    async with pool.connection() as connection:
        await connection.execute(
            b"UPDATE runs SET status = 'running', epoch = 1, worker_id = gen_random_uuid() WHERE id = %s", (run_id,)
        )
    key = hashlib.sha256(f"{name} {run_id}".encode()).hexdigest()
    intent = Intent(
        key=key, lineage=run_id, task=uuid4(), name=name, ordinal=0, business_key=None, tenant="default",
        agent="support", thread_key=thread_key(str(run_id)), args_hash=bytes(16), arguments=b'{"amount":7}', calls=1,
        key_ttl=None,
    )  # fmt: skip
    assert await EffectStore(pool).intend(intent, Owner(run_id, 1, 0, 1)) is not None
    return run_id, key


async def owner_gone(pool: Pool, run_id: UUID, status: RunStatus) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            b"UPDATE runs SET status = %s, worker_id = NULL, epoch = epoch + 1 WHERE id = %s", (status, run_id)
        )


async def test_an_intent_whose_owner_is_gone_is_listed_as_unknown(pool, command):
    await begun(pool, "charge")
    run_id, key = await begun(pool, "mail")
    await owner_gone(pool, run_id, RunStatus.QUEUED)

    lines = [line.split("\t") for line in (await command("list")).stdout.splitlines()]
    assert lines[0] == ["key", "name", "state", "calls", "agent", "run", "begun", "error"]
    assert [(line[1], line[2]) for line in lines[1:]] == [("mail", "unknown"), ("charge", "intent")]
    unknown = json.loads((await command("list", "--state", "unknown", "--json")).stdout)
    assert [(item["key"], item["arguments"]) for item in unknown] == [(key, {"amount": 7})]
    assert [item["name"] for item in json.loads((await command("list", "--state", "intent", "--json")).stdout)] == [
        "charge"
    ]
    assert [item["key"] for item in json.loads((await command("list", "--run", run_id, "--json")).stdout)] == [key]


async def test_an_unknown_effect_is_shown_with_what_can_be_done(pool, command):
    run_id, key = await begun(pool, "charge")
    await owner_gone(pool, run_id, RunStatus.WAITING)

    shown = (await command("show", key[:12])).stdout
    assert f"key        {key}\n" in shown
    assert 'arguments  {"amount":7}\n' in shown
    assert f'outlast runs answer {run_id} \'{{"applied": true' in shown


async def test_a_key_that_is_none_is_told_apart_from_one_that_is_too_short(command):
    missing = await command("show", "0123456789")
    assert missing.returncode == 4
    assert "outlast effects list" in missing.stderr
    assert (await command("show", "0123")).returncode == 2
    assert (await command("list", "--run", "x")).returncode == 2
