"""`outlast budget`: set, raise, look, straight in the database."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from outlast.cli.main import app


@pytest.fixture
def command(tmp_path, database_url, monkeypatch):
    (tmp_path / "outlast.toml").write_text(
        '[agents]\n[budgets.rules.team]\nusd = 100\nperiod = "month"\n[budgets.rules.daily]\nper = "user"\nusd = 5\n'
        'period = "day"\non_limit = "ask"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)

    async def run(*arguments):
        # In a thread: a command runs an event loop of its own.
        return await asyncio.to_thread(CliRunner().invoke, app, ["budget", *arguments])

    return run


async def test_budgets_are_set_raised_looked_at_and_removed(command):
    assert (await command("set", "daily", "--usd", "7.50")).stdout == "budget daily is set\n"
    assert (await command("raise", "daily", "--subject", "ann", "--usd", "0.25")).stdout == "budget daily is raised\n"
    lines = [line.split("\t") for line in (await command("list")).stdout.splitlines()]
    assert lines[0][:5] == ["budget", "per", "period", "subject", "usd"]
    daily, team = lines[1:]
    assert daily[:7] == ["daily", "user", "day", "ann", "7.75", "0.00", "0.00"]
    assert daily[-2] == "ask", "what was not given is as outlast.toml says"
    assert team[:7] == ["team", "tenant", "month", "default", "100.00", "0.00", "0.00"]

    shown = json.loads((await command("show", "daily", "--subject", "bob", "--json")).stdout)
    assert (shown["usd"], shown["set"], shown["per"]) == ("7.50", True, "user")
    [counter] = shown["counters"]
    assert (counter["subject"], counter["usd"], counter["spent_usd"]) == ("bob", "7.50", "0.00")

    assert (await command("remove", "daily")).stdout == "budget daily is removed\n"


async def test_budgets_of_another_tenant_are_not_touched(command):
    await command("set", "team", "--usd", "1", "--tenant", "acme")
    listed = json.loads((await command("list", "--json")).stdout)
    assert [(budget["name"], budget["usd"]) for budget in listed] == [("daily", "5.00"), ("team", "100.00")]


async def test_what_is_no_amount_is_refused(command):
    refused = await command("raise", "team", "--usd", "a lot")
    assert refused.exit_code == 2
    assert "--usd 'a lot' is no amount; one looks like 12.50" in refused.output
