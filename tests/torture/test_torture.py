"""A short session of what `make torture` and `freeze.py` do for longer."""

from pathlib import Path

import pytest
from checker import Asked, observe, violations
from fleet import SHRUNK, Fleet, Runs, Zygote, until
from freeze import frozen
from main import Plan, torture

pytestmark = pytest.mark.processes


async def test_nothing_is_lost_stuck_or_doubled_while_workers_are_killed(
    database_url: str, tmp_path: Path, zygote: Zygote
) -> None:
    plan = Plan(runs=36, kills=18, workers=3, seed=20261121)
    account, found = await torture(plan, database_url, tmp_path, lambda _: None, zygote=zygote)

    assert found == [], f"history: {tmp_path / 'history.json'}"
    assert account.kills + account.freezes == 18
    assert account.poisoned == account.replayed > 0, "every dead letter was replayed, and succeeded"


@pytest.mark.parametrize("trial", [1, 2])
async def test_nothing_that_a_frozen_worker_says_after_its_lease_is_accepted(
    trial: int, database_url: str, tmp_path: Path, zygote: Zygote
) -> None:
    thaw = await frozen(zygote, database_url, tmp_path, SHRUNK, step=0.1)

    assert thaw.late_rows == 0
    assert thaw.succeeded
    assert thaw.takeover_seconds < 25


@pytest.mark.parametrize(
    ("breach", "invariant"),
    [
        ("UPDATE checkpoints SET parent_id = NULL WHERE seq = (SELECT max(seq) FROM checkpoints)", "I3"),
        ("UPDATE checkpoints SET epoch = 0 WHERE seq = (SELECT max(seq) FROM checkpoints)", "I4"),
        ("DELETE FROM run_details; DELETE FROM runs", "I1"),
        ("UPDATE runs SET status = 'queued', ended_at = NULL", "I1"),
        ("UPDATE runs SET epoch = epoch + 1", "I7"),
        ("UPDATE checkpoint_writes SET epoch = 0", "I2"),
        ('UPDATE run_details SET output = \'{"done": ["s1"]}\'', "I2"),
    ],
)
async def test_the_checker_sees(breach: str, invariant: str, database_url: str, tmp_path: Path, zygote: Zygote) -> None:
    """The harness has teeth: each kind of breach is found when it is there."""
    with Fleet.open(database_url, tmp_path, zygote=zygote) as fleet:
        async with Runs.open(database_url) as runs:
            await observe(runs)
            fleet.start()
            run_id = await runs.enqueue("line", {"seed": 1, "slow": 0.0})
            asked = [Asked(id=run_id, agent="line", thread_id=str(run_id))]
            await until(lambda: _ended(runs))
            assert await violations(runs, asked, fleet.witness) == []
            for statement in breach.split("; "):
                await runs.rows(statement)

            found = await violations(runs, asked, fleet.witness)

    assert any(sentence.startswith(invariant) for sentence in found), found


async def test_the_checker_sees_stories_that_are_not_true(database_url: str, tmp_path: Path, zygote: Zygote) -> None:
    breaches = {
        "UPDATE effects SET key = reverse(key) WHERE ordinal = 0 AND begun_at = (SELECT min(begun_at) FROM effects)":
            "was applied, and is not told",
        "UPDATE run_history SET worker_id = gen_random_uuid() WHERE event = 'claimed'": "claims: ",
        "INSERT INTO run_attempts (run_id, epoch, kind, error_code) SELECT id, 1, 'crash', 'crashed' FROM runs":
            "attempt.lost: 1 of",
        "UPDATE checkpoint_writes SET task_id = decode(md5(task_path), 'hex') WHERE task_path = '~__pregel_pull, s3'":
            "s3 is told as done under epoch 1, and was not started under it",
        "UPDATE runs SET status = 'cancelled'": "runs stand at",
    }  # fmt: skip
    with Fleet.open(database_url, tmp_path, zygote=zygote) as fleet:
        async with Runs.open(database_url) as runs:
            await observe(runs)
            fleet.start()
            run_id = await runs.enqueue("line", {"seed": 1, "slow": 0.0})
            asked = [Asked(id=run_id, agent="line", thread_id=str(run_id))]
            await until(lambda: _ended(runs))
            await runs.rows("DROP TRIGGER kept ON runs")
            for breach, sentence in breaches.items():
                await runs.rows(breach)

                found = await violations(runs, asked, fleet.witness, workers=fleet.workers)

                assert any(text.startswith("S ") and sentence in text for text in found), (breach, found)


async def _ended(runs: Runs) -> bool:
    return await runs.rows("SELECT 1 FROM runs WHERE ended_at IS NULL") == []
