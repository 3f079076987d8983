"""`outlast slo`: service levels, straight from the database."""

import asyncio
import json

import pytest
from outlast_command import outlast

from outlast.domain.acting import across_tenants
from outlast.monitoring.slo.rollup import Rollup
from outlast.settings_slo import SloSettings


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments, **environment):
        return await asyncio.to_thread(
            outlast, "slo", *arguments, cwd=tmp_path, DATABASE_URL=database_url, **environment
        )

    return run


async def observe(pool, count, status, seconds):
    with across_tenants():
        async with pool.connection() as connection:
            await connection.execute(
                "INSERT INTO run_observations (tenant, agent, run_id, epoch, status, seconds, first_byte_seconds)"
                " SELECT 'acme', 'support', gen_random_uuid(), 1, %s, 1, %s FROM generate_series(1, %s::int)",
                [status, seconds, count],
            )


async def test_it_shows_what_is_promised_and_what_is_left_of_it(pool, command):
    await observe(pool, 995, "success", 0.1)
    await observe(pool, 5, "error", 0.1)
    await Rollup(pool, SloSettings()).turn()
    shown = await command()
    header, *lines = (line.split("\t") for line in shown.stdout.splitlines())
    assert header == ["SLO", "AGENT", "PROMISE", "EVENTS", "BAD", "KEPT", "BUDGET LEFT", "BURN 1H", "6H", "3D", "STATE"]
    by_slo = {line[0]: line[1:] for line in lines}
    assert by_slo["first_byte"] == [
        "", "95 % of first bytes within 1.5 s", "1000", "0", "100.00 %", "100 %", "0.0", "0.0", "0.0", "ok"
    ]  # fmt: skip
    assert by_slo["runs"][2:] == ["1000", "5", "99.50 %", "50 %", "0.5", "0.5", "0.5", "ok"]
    assert by_slo["recovery"][2:] == ["0", "0", "", "", "", "", "", ""]
    assert shown.stderr == ""

    # By another limit it was not counted yet, and the one agent has no objective of its own.
    other = await command("--agent", "support", OUTLAST_SLO__FIRST_BYTE_SECONDS="2")
    assert len(other.stdout.splitlines()) == 1
    assert "outlast worker" in other.stderr


async def test_it_says_what_burns(pool, command):
    await observe(pool, 90, "success", 9.0)
    await observe(pool, 10, "success", 0.1)
    await Rollup(pool, SloSettings()).turn()
    shown = await command()
    assert shown.stdout.splitlines()[1].endswith("18.0\t18.0\t18.0\tburning")
    text = (
        "95 % of first bytes within 1.5 s: 90 of 100 failed in 1 h, 18 times what the goal allows;"
        " the error budget of 30 days is spent"
    )
    assert shown.stderr == f"critical: {text}\n"
    found = json.loads((await command("--json")).stdout)
    first = found["objectives"][0]
    assert found["counted_to"] is not None
    assert (first["slo"], first["events"], first["state"], first["text"]) == ("first_byte", 100, "burning", text)
