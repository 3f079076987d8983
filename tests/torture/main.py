"""Torture: kill workers with -9, freeze and wake them, at random, while they work; then check that nothing was lost.

    python tests/torture/main.py --runs 300 --kills 200 --workers 3 --seed 7

Prints the seed, what was done, and every invariant that was broken (exit status 1, with the history's file). A run that
its third dead worker would turn into a dead letter is what Outlast does by design; here a run's worker dies many times
through no fault of the run, so OUTLAST_RETRY__MAX_CRASHES is raised to 100.

Some runs are poisoned: one of their steps fails, before or after its effect, until the cause is removed. They become
dead letters while workers are killed; then the cause is removed, all of them are replayed, a worker is killed once
more, and every one has to succeed, with no effect done twice.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from checker import Asked, observe, violations, write_history
from fleet import SHRUNK, Fleet, Runs, WorkerProcess, Zygote, own_server
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torture_agents import EXPECTED
from witness import seen

from outlast.domain.dead_letter import DeadLetterQuery
from outlast.domain.run import RunStatus
from outlast.errors import Conflict
from outlast.recovery.dead_letters import DeadLetters
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.dead_letters import DeadLetterStore
from outlast.storage.postgres.usage import UsageStore

SETTINGS = {**SHRUNK, "OUTLAST_RETRY__MAX_CRASHES": "100", "OUTLAST_WORKER__CONCURRENCY": "12"}
# What remains to be done when the last kill has fallen; far longer than it takes.
_LAST_RUNS_SECONDS = 120.0


@dataclass
class Plan:
    """What is asked for."""

    runs: int
    kills: int
    workers: int
    seed: int
    #: Of the runs, how many are poisoned.
    poisoned_share: float = 0.15
    #: Of the kills, how many are freezes that end after the lease.
    frozen_share: float = 0.15
    pause: tuple[float, float] = (0.2, 0.8)


@dataclass
class Account:
    """What was done."""

    asked: list[Asked] = field(default_factory=list)
    kills: int = 0
    freezes: int = 0
    answers: int = 0
    #: Runs that were poisoned, and dead letters that were replayed.
    poisoned: int = 0
    replayed: int = 0
    by_agent: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Torture:
    """One session on one database."""

    def __init__(self, plan: Plan, fleet: Fleet, runs: Runs, *, tick: Callable[[Account], None]) -> None:
        self._plan = plan
        self._fleet = fleet
        self._runs = runs
        self._rng = Random(plan.seed)
        self._tick = tick
        self._asked_all = False
        self.account = Account()

    async def run(self) -> list[str]:
        """Do everything that was planned; return the invariants that were broken."""
        started = time.monotonic()
        await observe(self._runs)
        self._poison.touch()
        for _ in range(self._plan.workers):
            self._fleet.start()
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(self._answer())
            group.create_task(self._enqueue())
            await self._kill()
            try:
                await self._until_all_ended()
                await self._cure()
            finally:
                answering.cancel()
        self.account.seconds = time.monotonic() - started
        return await violations(
            self._runs, self.account.asked, self._fleet.witness, workers=self._fleet.workers
        )  # fmt: skip

    async def _enqueue(self) -> None:
        """Ask for runs at the pace of the kills, so that the last kill still finds work."""
        rng = Random(f"{self._plan.seed}:runs")
        for number in range(self._plan.runs):
            ahead = 3 * self._plan.workers
            while self._struck < self._plan.kills * (number - ahead) / self._plan.runs:  # noqa: ASYNC110 - a pace
                await asyncio.sleep(0.02)
            agent = rng.choices(["line", "wide", "plain", "asking"], [4, 2, 2, 2])[0]
            shared = agent in {"line", "wide"} and rng.random() < 0.25
            thread_id = f"shared-{agent}-{rng.randrange(4)}" if shared else f"own-{number}"
            given = {"seed": rng.random(), "slow": rng.choice([0.02, 0.05, 0.2])}
            if not shared and rng.random() < self._plan.poisoned_share:
                # On a shared thread others would go on meanwhile, from where the letter stands.
                given |= {"poison": rng.choice(EXPECTED[agent]), "too_late": rng.random() < 0.5}
                self.account.poisoned += 1
            run_id = await self._runs.enqueue(agent, given, thread_id=thread_id, priority=rng.randrange(3))
            self.account.asked.append(Asked(id=run_id, agent=agent, thread_id=thread_id))
            self.account.by_agent[agent] += 1
        self._asked_all = True

    async def _answer(self) -> None:
        """Be the person: answer every question once, as long as there may be some."""
        store = self._runs.queue.store
        while True:
            for view in await store.find(status=RunStatus.WAITING, limit=20):
                answer = f"yes-{view.id}-{self.account.answers}"
                with contextlib.suppress(Conflict):
                    await self._runs.queue.answer(view.id, answer)
                    self.account.answers += 1
                    self._note_answer(view.id, answer)
            await asyncio.sleep(0.05)

    def _note_answer(self, run_id: Any, answer: str) -> None:
        for index, run in enumerate(self.account.asked):
            if run.id == run_id:
                self.account.asked[index] = replace(run, answers=(*run.answers, answer))

    @property
    def _struck(self) -> int:
        return self.account.kills + self.account.freezes

    async def _kill(self) -> None:
        waking: list[asyncio.Task[None]] = []
        while self._struck < self._plan.kills:
            await asyncio.sleep(self._rng.uniform(*self._plan.pause))
            victim = self._rng.choice(self._awake(waking))
            if self._rng.random() < self._plan.frozen_share and len(waking) < self._plan.workers - 1:
                waking.append(asyncio.create_task(self._freeze(victim), name=str(victim.pid)))
                self.account.freezes += 1
            else:
                victim.kill()
                self.account.kills += 1
            self._replace_dead()
            waking = [task for task in waking if not task.done()]
            self._tick(self.account)
        await asyncio.gather(*waking)

    def _awake(self, waking: list[asyncio.Task[None]]) -> list[WorkerProcess]:
        frozen = {task.get_name() for task in waking if not task.done()}
        while not (awake := [worker for worker in self._fleet.living if str(worker.pid) not in frozen]):
            self._fleet.start()
        return awake

    def _replace_dead(self) -> None:
        for _ in range(self._plan.workers - len(self._fleet.living)):
            self._fleet.start()

    async def _freeze(self, victim: WorkerProcess) -> None:
        """Suspend a worker for longer than its lease: when it wakes, everything it has belongs to others."""
        victim.freeze()
        await asyncio.sleep(self._rng.uniform(1.0, 4.0))
        victim.wake()

    @property
    def _poison(self) -> Path:
        return self._fleet.witness.parent / "poison"

    async def _cure(self) -> None:
        """Remove the cause, and replay every dead letter."""
        pool = self._runs.pool
        letters = DeadLetters(self._runs.queue, DeadLetterStore(pool), UsageStore(pool), AuditLog(pool))
        self._poison.unlink()
        done = await letters.replay_all(DeadLetterQuery(code="Poisoned"), rate=1000, limit=100_000)
        self.account.replayed = len(done.run_ids)
        for victim in self._fleet.living[:1]:
            victim.kill()
        await self._until_all_ended()

    async def _until_all_ended(self) -> None:
        deadline = time.monotonic() + _LAST_RUNS_SECONDS
        while time.monotonic() < deadline:
            self._replace_dead()
            still = await self._runs.rows(
                "SELECT count(*) FROM runs WHERE status NOT IN ('succeeded', 'failed', 'cancelled')"
            )
            if self._asked_all and still[0][0] == 0:
                return
            self._tick(self.account)
            await asyncio.sleep(0.1)


async def torture(
    plan: Plan, url: str, directory: Path, tick: Callable[[Account], None], *, zygote: Zygote | None = None
) -> tuple[Account, list[str]]:
    """Torture on this database; return what was done and what was broken."""
    with Fleet.open(url, directory, SETTINGS, zygote=zygote) as fleet:
        async with Runs.open(url) as runs:
            session = Torture(plan, fleet, runs, tick=tick)
            found = await session.run()
            if found:
                await _keep_evidence(runs, directory, plan, session.account, found)
            return session.account, found


async def _keep_evidence(runs: Runs, directory: Path, plan: Plan, account: Account, found: list[str]) -> None:
    unfinished = await runs.rows("SELECT * FROM runs WHERE status <> 'succeeded'")
    failed = await runs.rows("SELECT run_id, error_code, error_message FROM run_details WHERE error_code IS NOT NULL")
    facts = {
        "plan": plan,
        "kills": account.kills,
        "freezes": account.freezes,
        "unfinished": unfinished,
        "errors": failed,
        "workers": await runs.rows("SELECT * FROM workers ORDER BY started_at"),
        "history": await runs.rows("SELECT * FROM history ORDER BY n"),
        "checkpoints": await runs.rows(
            "SELECT thread_key, ns, seq, checkpoint_id, parent_id, run_id, epoch, metadata->'step' FROM checkpoints"
            " WHERE thread_key IN (SELECT thread_key FROM runs WHERE status <> 'succeeded') ORDER BY seq"
        ),
        "lists": await runs.rows(
            "SELECT thread_key, list_id, start, length, encode(items, 'escape') FROM checkpoint_lists"
            " WHERE thread_key IN (SELECT thread_key FROM runs WHERE status <> 'succeeded') ORDER BY 1, 2, 3"
        ),
        "witness": list(seen(directory / "witness.jsonl")),
    }
    write_history(directory / "history.json", facts, found)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=240, help="kill -9 and freezes together")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="repeat the kills and the runs of another session")
    return parser.parse_args()


async def _main() -> int:
    options = parse()
    seed = SystemRandom().randrange(10**6) if options.seed is None else options.seed
    plan = Plan(runs=options.runs, kills=options.kills, workers=options.workers, seed=seed)
    console = Console(highlight=False)
    console.print(
        f"seed {seed}: {plan.runs} runs, {plan.kills} kills and freezes, {plan.workers} workers, "
        f"lease {SETTINGS['OUTLAST_WORKER__LEASE']}, max_crashes {SETTINGS['OUTLAST_RETRY__MAX_CRASHES']}"
    )
    # Kept when something was broken.
    directory = Path(tempfile.mkdtemp(prefix="outlast-torture-"))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    async with own_server() as databases:
        url = await databases.create()
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("torturing", total=plan.kills)

            def tick(account: Account) -> None:
                struck = account.kills + account.freezes
                progress.update(
                    bar,
                    completed=struck,
                    description=f"{len(account.asked)} runs, {account.kills} kills, {account.freezes} freezes",
                )

            account, found = await torture(plan, url, directory, tick)
    events = Counter(event["event"] for event in seen(directory / "witness.jsonl"))
    lost = sum(text.startswith("I1") and "still" not in text for text in found)
    stuck = sum(text.startswith("I1") and "still" in text for text in found)
    doubled = sum(text.startswith(("I2", "I5")) for text in found)
    console.print(
        f"{len(account.asked)} runs ({', '.join(f'{n} {agent}' for agent, n in sorted(account.by_agent.items()))}), "
        f"{account.answers} answers, {account.kills} kills with -9, {account.freezes} freezes, "
        f"in {account.seconds:.0f} s"
    )
    console.print(f"{events['started']} executions of steps, {events['effect']} effects requested")
    console.print(f"{account.poisoned} runs poisoned, {account.replayed} dead letters replayed after the cure")
    console.print(f"lost {lost}, stuck {stuck}, doubled {doubled}, other {len(found) - lost - stuck - doubled}")
    untrue = sum(text.startswith("S") for text in found)
    console.print(f"{len({run.thread_id for run in account.asked})} stories of threads told, {untrue} untrue sentences")
    if found:
        for sentence in found[:40]:
            console.print(f"  {sentence}")
        console.print(f"history: {directory / 'history.json'}; repeat with --seed {seed}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
