"""`outlast worker`: one worker until a signal comes.

Nothing of the API is imported: the successor of a dead worker has to be quick.
"""

import gc

from outlast import runtime as composition
from outlast.agents.project import Project
from outlast.cli import logs, session
from outlast.cli.isolation import Isolation
from outlast.cli.processes import stop_signals
from outlast.runtime import Runtime
from outlast.settings import Settings


async def work(project: Project, settings: Settings, *, has_parent: bool) -> None:
    """Run a worker until it is told to stop and has handed everything back."""
    logs.configure()
    async with (
        session.database(settings, project.root) as complete,
        Runtime.open(complete, project, application_name="outlast-worker") as runtime,
    ):
        # All of them now: a run must not be the first to find out that an agent is broken.
        await runtime.registry.load_all()
        await session.announce(runtime, "worker")
        spare_the_collector()
        worker = runtime.worker(isolate=Isolation(runtime))
        with stop_signals(worker.drain, interrupt=not has_parent):
            await composition.work(runtime, worker)


def spare_the_collector() -> None:
    """Keep what is loaded out of every later garbage collection.

    LangChain alone is half a million objects that live as long as the process; walking them again and again
    was a seventh of the CPU of a step.
    """
    gc.collect()
    gc.freeze()
    # A step makes some 3,000 objects, nearly all of them gone with it: looking every 700 finds little.
    gc.set_threshold(10_000, 20, 20)
