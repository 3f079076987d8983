"""A runtime without a server or a worker: what commands work on that read the states of graphs."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from outlast.cli.processes import run
from outlast.cli.session import database, project_or_database
from outlast.runtime import Runtime
from outlast.storage.postgres.pool import connect

T = TypeVar("T")


def call(action: Callable[[Runtime], Awaitable[T]]) -> T:
    """Open the runtime of this project, do one thing with it, close it."""
    return run(_call(action))


async def _call(action: Callable[[Runtime], Awaitable[T]]) -> T:
    project, settings = project_or_database()
    # The error says it all; the pool would say it again for every try.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    async with database(settings, project.root) as complete:
        # A pool tries for seconds; a person wants to know at once that there is no server.
        async with await connect(complete.database, application_name="outlast-cli"):
            pass
        async with Runtime.open(complete, project, application_name="outlast-cli") as runtime:
            runtime.audit.nobody = "cli"
            return await action(runtime)
