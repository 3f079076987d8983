"""A process that makes model calls of one run at the same time, under one budget; started by test_budget_processes.py.

    python budget_process.py URL RUN_ID CALLS LIMIT_USD [FAULT]

Says `ready`, begins at the first line that it reads, and prints how many calls were answered and how many refused.
"""

import asyncio
import json
import sys
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from budget_models import PRICES, Model  # noqa: E402

from asking import ask, scope_of, target_of  # noqa: E402 - after the path
from outlast import telemetry  # noqa: E402
from outlast.calls.budgets import Budgets  # noqa: E402
from outlast.calls.services import Calls  # noqa: E402
from outlast.refusals import BudgetExceeded  # noqa: E402
from outlast.settings import CallSettings, DatabaseSettings, PriceSettings  # noqa: E402
from outlast.settings_budgets import BudgetRule, BudgetSettings  # noqa: E402
from outlast.storage.postgres.budgets import BudgetStore  # noqa: E402
from outlast.storage.postgres.pool import Pool  # noqa: E402

#: What each call takes, of the 102 micros that it reserves.
TAKES = (20, 80)


async def main(url: str, run_id: str, calls: str, limit: str, fault: str = "") -> None:
    telemetry.arm(fault)
    pool = Pool(DatabaseSettings(url=url), application_name="outlast-test", size=8)
    await pool.open()
    budgets = Budgets(BudgetSettings(rules={"b": BudgetRule(usd=Decimal(limit))}, wait=timedelta(0)), BudgetStore(pool))
    prices = {name: PriceSettings(**price) for name, price in PRICES.items()}
    shared = Calls(settings=CallSettings(prices=prices), budgets=budgets)
    scope = scope_of(shared, run_id=UUID(run_id))
    target = target_of(Model(takes=TAKES), "plain", provider="test")
    print("ready", flush=True)  # noqa: T201 - a program
    await asyncio.to_thread(sys.stdin.readline)

    async def one() -> str:
        try:
            await ask(shared, target, scope=scope, options={"max_tokens": TAKES[1]})
        except BudgetExceeded:
            return "refused"
        return "answered"

    outcomes = await asyncio.gather(*(one() for _ in range(int(calls))))
    await scope.close()
    print(json.dumps(Counter(outcomes)), flush=True)  # noqa: T201 - as above
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
