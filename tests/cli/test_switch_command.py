"""`outlast switch`: off, on, and what is off."""

import asyncio
import json

import pytest
from outlast_command import outlast

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.switches import SwitchStore


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments):
        return await asyncio.to_thread(outlast, "switch", *arguments, cwd=tmp_path, DATABASE_URL=database_url)

    return run


async def test_off_list_and_on(command, database):
    said = await command("off", "agent", "support", "--reason", "answers in Latin")
    assert (said.returncode, said.stdout) == (0, "agent support of tenant default is off\n"), said.stderr
    await command("off", "tool", "send_mail", "--all-tenants", "--reason", "bounces")
    (agent, tool) = json.loads((await command("list", "--json")).stdout)
    assert (agent["kind"], agent["name"], agent["tenant"], agent["runs"]) == ("agent", "support", "default", 0)
    assert (tool["name"], tool["tenant"], tool["reason"]) == ("send_mail", "*", "bounces")
    said = await command("on", "tool", "send_mail", "--all-tenants")
    assert said.stdout == "tool send_mail of all tenants is on\n"
    pool = Pool(database, application_name="test", size=1)
    await pool.open()
    assert [switch.name for switch in await SwitchStore(pool).all_off()] == ["support"]
    await pool.close()


async def test_a_whole_tenant(command):
    assert (await command("off", "tenant", "acme", "--reason", "key was leaked")).stdout == "tenant acme is off\n"
    lines = [line.split("\t") for line in (await command("list")).stdout.splitlines()]
    assert lines[1][:3] == ["tenant", "", "acme"]
    said = await command("on", "tenant", "other")
    assert said.returncode == 4
    assert "`outlast switch list`" in said.stderr
