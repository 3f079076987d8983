"""Runs whose outputs are looked at, on a worker of this process; attempts that end where a test says."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import review_agents

from outlast import telemetry
from outlast.agents.project import AgentSpec, Project
from outlast.domain.intake import Intake, Resume
from outlast.domain.options import RunOptions
from outlast.domain.run import NewRun, RunStatus, RunView
from outlast.runtime import Runtime
from outlast.settings_escalation import EscalationSettings
from outlast.settings_validation import ValidationSettings
from runtimes import opener, working
from waiting import until

PROJECT = Project(
    root=Path(__file__).parent,
    agents={
        name: AgentSpec(name=name, path=None, module="review_agents", attribute=name) for name in review_agents.AGENTS
    },
)


@dataclass(frozen=True)
class Reviewed:
    """One runtime with a worker, and runs of one protocol."""

    runtime: Runtime
    protocol: str

    async def start(self, agent: str, given: Any = None, *, thread: str | None = None, **fields: Any) -> UUID:
        run_id = uuid4()
        options = {name: fields.pop(name) for name in ("stream_modes", "live") if name in fields}
        new: dict[str, Any] = {"config": {}, "metadata": {}} | fields
        run = NewRun(
            id=run_id, thread_id=thread or str(run_id), agent=agent, input={} if given is None else given,
            options=RunOptions(protocol=self.protocol, **options), **new,
        )  # fmt: skip
        return (await self.runtime.queue.admit(run, Intake())).run_id

    async def answer(self, asked: RunView, answer: Any) -> UUID:
        """Answer the question of a run; return the run that goes on with it."""
        if self.protocol == "plain":
            await self.runtime.queue.answer(asked.id, answer)
            return asked.id
        [question] = asked.interrupts or []
        options = RunOptions(protocol=self.protocol, command={"resume": {question["id"]: answer}})
        run = NewRun(
            id=uuid4(),
            thread_id=asked.thread_id,
            agent=asked.agent,
            input=None,
            config={},
            metadata={},
            options=options,
        )
        return (await self.runtime.queue.admit(run, Intake(resume=Resume({question["id"]: answer})))).run_id

    async def view(self, run_id: UUID, *, asked: str | None = None) -> RunView:
        """Return the run once it has ended, or asks another question than this one."""

        async def there() -> bool:
            view = await self.runtime.queue.wait(run_id, timeout=timedelta(seconds=15))
            questions = view.interrupts or []
            if view.status in {RunStatus.WAITING, RunStatus.INTERRUPTED}:
                return not asked or bool(questions and questions[0]["id"] != asked)
            return view.ended

        await until(there, 15)
        return await self.runtime.queue.store.get(run_id)

    async def asks(self, run_id: UUID, *, asked: str | None = None) -> RunView:
        """Return the run once it asks a person."""
        view = await self.view(run_id, asked=asked)
        waits = RunStatus.WAITING if self.protocol == "plain" else RunStatus.INTERRUPTED
        assert view.status is waits, (view.status, view.error_code, view.error_message)
        return view

    async def succeeds(self, run_id: UUID) -> RunView:
        view = await self.view(run_id)
        assert view.status is RunStatus.SUCCEEDED, (view.status, view.error_code, view.error_message)
        return view

    async def fails(self, run_id: UUID) -> RunView:
        view = await self.view(run_id)
        assert view.status is RunStatus.FAILED, view.status
        return view

    async def decisions(self) -> list[tuple[Any, ...]]:
        """Return what was decided, in order: (position, action, what a person said)."""
        return await self.rows("SELECT position, action, decision FROM reviews ORDER BY reviewed_at, position")

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with self.runtime.pool.unscoped() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()

    async def state(self, agent: str, thread_id: str) -> Any:
        graph = getattr(review_agents, agent).with_config({})
        graph.checkpointer = self.runtime.saver
        return await graph.aget_state({"configurable": {"thread_id": thread_id}})


Opens = Callable[..., AbstractAsyncContextManager[Reviewed]]


def opening(url: str) -> Opens:
    """Return what opens a runtime with a worker, under settings of validation and escalation."""
    opens = opener(PROJECT, application_name="outlast-test", pool_timeout_seconds=5)

    @asynccontextmanager
    async def open_one(
        protocol: str = "plain", escalation: Mapping[str, Any] | None = None, **validation: Any
    ) -> AsyncIterator[Reviewed]:
        review_agents.reset()
        more = {"encryption": validation.pop("encryption")} if "encryption" in validation else {}
        settings = {
            "validation": ValidationSettings(**validation),
            "escalation": EscalationSettings(**(escalation or {})),
            **more,
        }
        async with opens(url, **settings) as runtime, working(runtime):
            try:
                yield Reviewed(runtime, protocol)
            finally:
                telemetry.arm("")

    return open_one
