"""`outlast worker`: one worker until a signal comes. Imports nothing of the API: a dead worker's successor has to be quick."""

from outlast import runtime as composition
from outlast.cli import session
from outlast.cli.isolation import Isolation
from outlast.cli.processes import stop_signals
from outlast.cli.session import Arguments
from outlast.runtime import Runtime


async def work(arguments: Arguments, *, has_parent: bool) -> None:
    """Run a worker until it is told to stop and has handed everything back."""
    project = session.read_project()
    settings = session.read_settings(project, arguments)
    session.arm_faults(settings)
    async with (
        session.database(settings, project.root) as complete,
        Runtime.open(complete, project, application_name="outlast-worker") as runtime,
    ):
        # All of them now: a run must not be the first to find out that an agent is broken.
        await runtime.registry.load_all()
        worker = runtime.worker(isolate=Isolation(runtime))
        with stop_signals(worker.drain, interrupt=not has_parent):
            await composition.work(runtime, worker)
