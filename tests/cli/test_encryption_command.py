"""`outlast encryption`: a database becomes encrypted, its keys change, and it says so."""

import asyncio
from base64 import b64encode
from os import urandom
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from outlast_command import outlast

from outlast.domain.run import NewRun
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore

CONTENT = "what ada has asked"


@pytest.fixture
async def run_id(database: DatabaseSettings) -> str:
    """A run that was stored before anything was encrypted."""
    pool = Pool(database, application_name="test", size=1)
    await pool.open()
    run = NewRun(id=uuid4(), thread_id=str(uuid4()), agent="support", input=CONTENT, config={}, metadata={})
    await RunStore(pool).enqueue(run)
    await pool.close()
    return str(run.id)


async def stored(database: DatabaseSettings) -> bytes:
    pool = Pool(database, application_name="test", size=1)
    await pool.open()
    async with pool.transaction() as connection:
        row = await (await connection.execute("SELECT input FROM run_details")).fetchone()
    await pool.close()
    assert row is not None
    return row[0]


async def test_a_database_is_encrypted_its_keys_change_and_runs_are_shown_with_the_key_alone(
    tmp_path: Path, database_url: str, database: DatabaseSettings, run_id: str
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b64encode(urandom(32)) + b"\n")
    old = {"OUTLAST_ENCRYPTION__MASTER_KEY_FILE": str(tmp_path / "old"), "OUTLAST_ENCRYPTION__REFRESH": "0.01"}
    new = {**old, "OUTLAST_ENCRYPTION__MASTER_KEY_FILE": str(tmp_path / "new")}
    both = {**new, "OUTLAST_ENCRYPTION__OLD_MASTER_KEYS": f'["{(tmp_path / "old").read_text().strip()}"]'}

    async def command(*arguments: str, **variables: str) -> Any:
        return await asyncio.to_thread(outlast, *arguments, cwd=tmp_path, DATABASE_URL=database_url, **variables)

    refused = await command("runs", "show", run_id, **old)
    assert refused.returncode == 2
    assert "outlast encryption enable" in refused.stderr
    enabled = await command("encryption", "enable", **old)
    assert enabled.returncode == 0, enabled.stderr
    assert "refused from here on" in enabled.stdout
    assert CONTENT.encode() not in (before := await stored(database))
    assert (await command("runs", "show", run_id)).returncode == 2
    assert (await command("runs", "show", run_id, **old)).returncode == 0

    rotated = await command("encryption", "rotate", "--wait", **old)
    assert "rows anew" in rotated.stdout, rotated.stderr
    assert (await stored(database))[:18] != before[:18]
    assert "is not given" in (await command("encryption", "rewrap", **new)).stderr
    assert "wrapped 4 keys anew" in (await command("encryption", "rewrap", **both)).stdout
    status = await command("encryption", "status", **new)
    assert "encryption: on" in status.stdout
    assert "rewrap" not in status.stdout
    assert (await command("runs", "show", run_id, **new)).returncode == 0


async def test_without_a_master_key_there_is_nothing_to_encrypt_with(tmp_path: Path, database_url: str) -> None:
    done = await asyncio.to_thread(outlast, "encryption", "enable", cwd=tmp_path, DATABASE_URL=database_url)
    assert done.returncode == 2
    assert "there is no master key" in done.stderr
