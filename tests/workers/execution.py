"""Runs of the Agent Server API on a worker of this process, and what they say."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import execution_agents
from engine import Engine

from outlast import telemetry
from outlast.agents.project import AgentSpec, Project
from outlast.domain.intake import Intake, Resume
from outlast.domain.options import RunOptions
from outlast.domain.run import NewRun, RunView
from outlast.domain.thread import ThreadView
from outlast.runtime import Runtime
from outlast.storage.postgres.checkpoints import thread_key
from outlast.streams.records import Record, RunEnd


def project() -> Project:
    specs = {
        name: AgentSpec(name=name, path=None, module="execution_agents", attribute=name)
        for name in execution_agents.AGENTS
    }
    return Project(root=Path(__file__).parent, agents=specs)


@dataclass
class Said:
    """What one run said, and how it ended."""

    run: RunView
    end: RunEnd
    records: list[Record] = field(default_factory=list)

    def of(self, mode: str, ns: str | None = "") -> list[Any]:
        """The data of the records of a mode; `ns` None: of every graph."""
        return [json.loads(record.data) for record in self.records if record.mode == mode and ns in (None, record.ns)]

    @property
    def modes(self) -> list[str]:
        return [record.mode for record in self.records]


@dataclass
class Server:
    """One runtime with a worker."""

    engine: Engine
    runtime: Runtime

    async def admit(self, agent: str, thread: str, given: Any = None, **fields: Any) -> UUID:
        options = RunOptions(**({"protocol": "v1", "live": True} | fields.pop("options", {})))
        command = options.command or {}
        resume = Resume(command["resume"]) if "resume" in command else None
        run = NewRun(
            id=uuid4(), thread_id=thread, agent=agent, input=given, options=options,
            **({"config": {}, "metadata": {}} | fields),
        )  # fmt: skip
        return (await self.runtime.queue.admit(run, Intake(resume=resume))).run_id

    async def run(self, agent: str, thread: str, given: Any = None, **fields: Any) -> Said:
        """Execute a run to its end and listen to it."""
        run_id = await self.admit(agent, thread, given, **fields)
        follower = self.runtime.hub.follow_run(thread_key(thread), run_id, after=0)
        said: list[Any] = [item async for item in follower]
        await follower.aclose()
        assert isinstance(said[-1], RunEnd)
        view = await self.engine.ended(run_id)
        return Said(run=view, end=said[-1], records=[item for item in said[:-1] if item.run_id == run_id])

    async def thread(self, thread: str) -> ThreadView:
        return await self.runtime.threads.get(thread)

    async def log(self, agent: str, thread: str) -> list[str]:
        """The thread's state, as its graph reads it."""
        return (await self.state(agent, thread)).values.get("log", [])

    async def state(self, agent: str, thread: str) -> Any:
        graph = getattr(execution_agents, agent).with_config({})
        graph.checkpointer = self.runtime.saver
        return await graph.aget_state({"configurable": {"thread_id": thread}})

    async def history(self, agent: str, thread: str) -> list[Any]:
        graph = getattr(execution_agents, agent).with_config({})
        graph.checkpointer = self.runtime.saver
        return [state async for state in graph.aget_state_history({"configurable": {"thread_id": thread}})]


@asynccontextmanager
async def serving(engine: Engine, **options: Any) -> AsyncIterator[Server]:
    execution_agents.reset()
    async with engine.working(agents=project(), **options) as running:
        yield Server(engine, running.runtime)


@contextmanager
def attempt_ends_at(where: str) -> Iterator[None]:
    """Let one attempt end at a node, or at the first use of a fault point; it does not in the attempt after it."""
    if "." in where:
        telemetry.arm(f"{where}:raise:1:1")
    else:
        execution_agents.FAILING.add(where)
    try:
        yield
        assert where not in execution_agents.FAILING, "the node was not reached"
    finally:
        telemetry.arm("")


def new_thread() -> str:
    return str(uuid4())
