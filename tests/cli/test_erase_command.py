"""`outlast erase`, `outlast export`, `outlast audit`: straight in the database."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from outlast.cli.main import app
from outlast.storage.postgres.audit import AuditLog
from planted_rows import holding, plant

KEY = "the key of the audit log, 32 bytes"


@pytest.fixture
def command(tmp_path, database_url, monkeypatch):
    """The command in this process, on a thread: that it starts as a process of its own, others test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("OUTLAST_AUDIT__KEY", KEY)

    async def run(*arguments, code=0):
        said = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        assert said.exit_code == code, said.output
        return said

    return run


async def test_a_person_looks_exports_erases_and_finds_it_in_the_audit_log(pool, command, tmp_path):
    await plant(pool, user="ann", thread_id="ann's", canary="canary-1")

    assert "nothing was changed" in (await command("erase", "--user", "ann", "--dry-run")).stdout
    assert await holding(pool, "canary-1") != {}

    await command("export", "--user", "ann", "--output", "ann.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "ann.jsonl").read_text().splitlines()]
    assert lines[0]["export"]["user"] == "ann"
    assert lines[-1]["end"]["rows"] == len(lines) - 2
    assert (tmp_path / "ann.jsonl").stat().st_mode & 0o077 == 0

    receipt = json.loads((await command("erase", "--user", "ann", "--yes", "--json")).stdout)
    assert receipt["removed"]["run_details"] == 1
    assert set(await holding(pool, "canary-1")) == {"switches", "usage_days"}

    listed = json.loads((await command("audit", "list", "--json")).stdout)
    assert [(entry["action"], entry["actor"]) for entry in listed] == [("data.erased", "cli"), ("data.exported", "cli")]
    assert listed[0]["object"] == f"user:{receipt['subject']}"
    assert (await command("audit", "verify")).stdout.startswith("default: 2 entries, whole\n  head default:2:")


async def test_nothing_is_erased_without_a_yes(pool, command):
    await plant(pool, user="ann", thread_id="ann's", canary="canary-1")
    said = await command("erase", "--user", "ann", code=2)
    assert "--yes" in said.stderr
    assert (await command("erase", code=2)).stderr.startswith("outlast: say whose data")
    assert await holding(pool, "canary-1") != {}


async def test_a_log_that_is_not_whole_is_said_and_is_the_exit_status(pool, command):
    await AuditLog(pool, KEY.encode()).record("key.created", "key:1")
    head = (await command("audit", "verify")).stdout.split()[-1]
    assert "whole" in (await command("audit", "verify", "--head", head)).stdout
    said = await command("audit", "verify", "--head", f"9:{'0' * 64}", "--json", code=1)
    assert [problem["kind"] for problem in json.loads(said.stdout)[0]["problems"]] == ["cut_off"]


async def test_the_log_is_exported_in_the_order_of_its_chain(pool, command):
    log = AuditLog(pool, KEY.encode())
    first, second = [await log.record("key.created", f"key:{number}") for number in range(2)]
    lines = [json.loads(line) for line in (await command("audit", "export")).stdout.splitlines()]
    assert [line["hash"] for line in lines] == [first.hash.hex(), second.hash.hex()]
    assert lines[1]["previous"] == lines[0]["hash"]
