"""Effects inside of the tasks that an entrypoint calls: each of these is saved by itself, and counts by itself."""

from typing import Any

import remembered
from effect_receiver import EffectReceiver
from effecting import charging, interrupted_at, succeeded
from engine import Engine
from remembered import NODES, Gate


async def test_a_task_that_is_saved_takes_no_number_of_the_effects_of_the_next(
    engine: Engine, receiver: EffectReceiver
) -> None:
    gate, charge = Gate(), charging(receiver, on_unknown="retry")

    async def first(state: dict[str, Any], config: Any) -> Any:
        return await charge(1)

    async def second(state: dict[str, Any], config: Any) -> Any:
        await gate()
        return await charge(2)

    async def errands(given: Any, config: Any) -> list[Any]:
        return [await remembered.errand("first errand"), await remembered.errand("second errand")]

    NODES.update({"functional": errands, "first errand": first, "second errand": second})
    async with engine.working(agents=remembered.project()):
        run_id = await engine.start("functional")
        await interrupted_at(gate, engine, run_id)
        await succeeded(engine, run_id)

    assert await engine.rows("SELECT state, calls, ordinal FROM effects") == [("done", 1, 0), ("done", 1, 0)]
    assert len(await engine.rows("SELECT DISTINCT task FROM effects")) == 2
