"""`outlast keys`: API keys, straight in the database."""

import asyncio
import json
import re

import pytest
from outlast_command import outlast

from outlast.domain.api_key import parse


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments, **environment):
        return await asyncio.to_thread(
            outlast, "keys", *arguments, cwd=tmp_path, DATABASE_URL=database_url, **environment
        )

    return run


async def test_a_key_lives_through_all_of_its_life(command):
    made = await command("create", "--tenant", "acme", "--user", "ann", "--scope", "runs:read", "--expires", "90d")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    presented = parse(key)
    assert presented is not None, "nothing but the key goes to the standard output"
    assert "auth.keys" in made.stderr, "nobody is asked for keys yet, and that is said"

    listed = await command("list", "--tenant", "acme", "--json", OUTLAST_AUTH__KEYS="true")
    [row] = json.loads(listed.stdout)
    assert (row["key_id"], row["user"], row["scopes"], row["state"]) == (
        presented.key_id,
        "ann",
        ["runs:read"],
        "live",
    )
    assert "auth.keys" not in listed.stderr
    assert key.rpartition("_")[2] not in listed.stdout

    rotated = await command("rotate", presented.key_id, "--tenant", "acme", "--grace", "12h", "--json")
    assert json.loads(rotated.stdout)["scopes"] == ["runs:read"]
    assert (await command("rotate", presented.key_id, "--tenant", "acme")).returncode == 5

    # The whole key names itself, for whoever has found one where it should not be.
    assert (await command("revoke", key, "--tenant", "acme")).returncode == 0
    table = (await command("list", "--tenant", "acme", "--all")).stdout.splitlines()
    assert table[0].split("\t")[:3] == ["key_id", "state", "tenant"]
    states = {line.split("\t")[0]: line.split("\t")[1] for line in table[1:]}
    assert sorted(states.values()) == ["live", "revoked"]


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (("create", "--scope", "runs:raed"), "runs:raed", 2),
        (("create", "--tenant", "*"), "tenant", 2),
        (("revoke", "aaaaaaaaaaaaaaaa"), "API key", 4),
    ],
)
async def test_what_is_wrong_is_said(command, arguments, said, status):
    refused = await command(*arguments)
    assert refused.returncode == status, refused.stderr
    assert said in refused.stderr
    assert not re.search(r"Traceback", refused.stderr)
