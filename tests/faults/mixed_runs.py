from checker import Asked
from fleet import Runs


async def enqueue_mix(runs: Runs) -> list[Asked]:
    """One run of each kind, and two on one thread."""
    asked = []
    for agent, thread_id in (("line", "shared"), ("line", "shared"), ("wide", "w"), ("plain", "p"), ("asking", "a")):
        run_id = await runs.enqueue(agent, {"seed": 1, "slow": 0.05}, thread_id=thread_id)
        asked.append(Asked(id=run_id, agent=agent, thread_id=thread_id, answers=("yes",) if agent == "asking" else ()))
    return asked
