"""`outlast worker`: one worker until a signal comes.

Nothing of the API is imported: the successor of a dead worker has to be quick.
"""

import logging

from outlast import runtime as composition
from outlast.agents.project import Project
from outlast.cli import logs, session
from outlast.cli.collector import spare_the_collector
from outlast.cli.isolation import Isolation
from outlast.cli.processes import stop_signals
from outlast.monitoring.metrics.listening import listening
from outlast.monitoring.metrics.sharing import sharing
from outlast.runtime import Runtime
from outlast.settings import Settings

log = logging.getLogger(__name__)


async def work(project: Project, settings: Settings, *, has_parent: bool) -> None:
    """Run a worker until it is told to stop and has handed everything back."""
    logs.configure(settings.logs)
    # A child is seen through its parent.
    address = "" if has_parent else settings.metrics.listen
    with sharing(settings.metrics, project.root, alone=not address), listening(address) as url:
        if url is not None:
            log.info("metrics at %s", url)
        await _work(project, settings, has_parent=has_parent)


async def _work(project: Project, settings: Settings, *, has_parent: bool) -> None:
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
