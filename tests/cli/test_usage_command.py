"""`outlast usage`: what calls cost, straight from the database."""

import asyncio
import json
import os
import pty

import pytest
from outlast_command import OUTLAST, environment, outlast

from usage_rows import insert_usage, moment


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments):
        return await asyncio.to_thread(outlast, "usage", *arguments, cwd=tmp_path, DATABASE_URL=database_url)

    return run


async def test_through_a_pipe_it_is_a_line_for_each_sum(pool, command):
    for model, cost in (("gpt-4o", 350), ("gpt-4o", 350), ("mine", None)):
        await insert_usage(pool, model=model, cost_micros=cost, user_id="ada")
    await insert_usage(pool, outcome="failed", input_tokens=0, output_tokens=0, cost_micros=0)
    lines = [line.split("\t") for line in (await command()).stdout.splitlines()]
    assert lines == [
        ["provider", "model", "calls", "cached", "failed", "input_tokens", "output_tokens", "cache_read_tokens",
         "cost_usd", "unpriced_calls"],
        ["openai", "gpt-4o", "2", "0", "1", "200", "20", "0", "0.000700", "0"],
        ["openai", "mine", "1", "0", "0", "100", "10", "0", "0.000000", "1"],
    ]  # fmt: skip


async def test_json_has_what_it_is_summed_by_and_all_figures(pool, command):
    await insert_usage(pool, at=moment("2026-01-31T12:00:00Z"), user_id="ada", reasoning_tokens=4)
    said = await command("--by", "day", "--by", "user", "--since", "2026-01-01", "--json")
    assert json.loads(said.stdout) == [
        {
            "day": "2026-01-31", "user": "ada", "calls": 1, "cached": 0, "failed": 0, "input_tokens": 100,
            "output_tokens": 10, "cache_read_tokens": 0, "cost_usd": "0.000350", "cache_write_tokens": 0,
            "reasoning_tokens": 4, "saved_usd": "0.000000", "unpriced_calls": 0,
        }
    ]  # fmt: skip


async def test_only_what_was_asked_for(pool, command):
    await insert_usage(pool, agent="support", user_id="ada")
    await insert_usage(pool, agent="sales", at=moment("2026-01-31T12:00:00Z"))
    both = json.loads((await command("--by", "agent", "--since", "2026-01-01", "--json")).stdout)
    assert {row["agent"] for row in both} == {"support", "sales"}
    for arguments in (("--since", "24h"), ("--agent", "support", "--since", "2026-01-01"), ("--user", "ada")):
        found = json.loads((await command("--by", "agent", "--json", *arguments)).stdout)
        assert [row["agent"] for row in found] == ["support"], arguments


async def test_a_terminal_gets_a_table(pool, tmp_path, database_url):
    await insert_usage(pool, model="gpt-[4o]")
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *OUTLAST, "usage", cwd=tmp_path, stdout=theirs, env=environment(DATABASE_URL=database_url, COLUMNS="120")
    )
    assert await process.wait() == 0
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "gpt-[4o]" in shown
    assert "0.000350" in shown
    assert "\t" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--since", "recently"), "neither an age"), (("--run", "x"), "no run id"), (("--by", "colour"), "colour")],
)
async def test_a_wrong_argument_is_explained(command, arguments, said):
    done = await command(*arguments)
    assert done.returncode == 2, done
    assert said in done.stderr
