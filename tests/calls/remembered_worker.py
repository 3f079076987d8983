"""A worker whose runs do what a test puts into `remembered.NODES`."""

from typing import Any
from uuid import UUID, uuid4

from outlast.domain.run import ENDED, NewRun, RunStatus, RunView
from outlast.runtime import Runtime
from waiting import until


class RunningWorker:
    """A worker on a database of its own, and runs for it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.desk = runtime.budget_desk()

    async def start(self, agent: str = "one", **given: Any) -> UUID:
        run_id = uuid4()
        fields: dict[str, Any] = {"input": {}, "config": {}, "metadata": {}, "thread_id": str(run_id)} | given
        return await self.runtime.queue.enqueue(NewRun(id=run_id, agent=agent, **fields))

    async def stands(self, run_id: UUID, *statuses: RunStatus) -> RunView:
        async def there() -> bool:
            return (await self.runtime.queue.store.get(run_id)).status in statuses

        await until(there, 20, f"run {run_id} does not become {statuses}")
        return await self.runtime.queue.store.get(run_id)

    async def ended(self, run_id: UUID) -> RunView:
        return await self.stands(run_id, *ENDED)

    async def waits(self, run_id: UUID) -> dict[str, Any]:
        """Return the one question that it asks."""
        view = await self.stands(run_id, RunStatus.WAITING, RunStatus.INTERRUPTED, RunStatus.FAILED)
        assert view.interrupts is not None, view.error_message
        [question] = view.interrupts
        return question["value"]

    async def succeeded(self, run_id: UUID) -> Any:
        view = await self.stands(run_id, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.WAITING)
        assert view.status is RunStatus.SUCCEEDED, (view.error_message, view.interrupts)
        return view.output
