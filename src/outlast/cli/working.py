"""`outlast worker`: one worker until a signal comes.

Nothing of the API is imported: the successor of a dead worker has to be quick.
"""

from outlast import runtime as composition
from outlast.agents.project import Project
from outlast.cli import logs, session
from outlast.cli.collector import spare_the_collector
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
