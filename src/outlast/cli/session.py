"""What most commands begin with: the project of this directory, its settings, its database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from outlast import settings as settings_module
from outlast import telemetry
from outlast.agents.project import LANGGRAPH_FILE, OUTLAST_FILE, Project, find_project
from outlast.errors import ConfigurationError
from outlast.settings import Settings

Arguments = Mapping[str, Mapping[str, Any]]


def read_project(root: Path | None = None) -> Project:
    """Return the project of the working directory, with its `env` applied to this process."""
    project = find_project(root or Path.cwd())
    settings_module.apply_environment(project.env)
    return project


def read_settings(project: Project, arguments: Arguments) -> Settings:
    """Return the settings of this process; what the command line did not give is left out of `arguments`."""
    given = {
        branch: values
        for branch, fields in arguments.items()
        if (values := {name: value for name, value in fields.items() if value is not None})
    }
    return settings_module.load(project=project.settings, arguments=given)


def arm_faults(settings: Settings) -> None:
    """Arm the faults of the test suite."""
    try:
        telemetry.arm(settings.fault)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def project_or_database() -> tuple[Project, Settings]:
    """Return project and settings of a command that needs no agents: outside of projects a database URL will do."""
    here = Path.cwd()
    if not any((folder / name).is_file() for folder in (here, *here.parents) for name in (OUTLAST_FILE, LANGGRAPH_FILE)):
        settings = settings_module.load()
        if settings.database.url:
            return Project(root=here), settings
    project = read_project()
    return project, read_settings(project, {})


@asynccontextmanager
async def database(settings: Settings, root: Path) -> AsyncIterator[Settings]:
    """Provide settings that name a database. The private server's schema is brought up to date: nobody else would."""
    from outlast import runtime  # noqa: PLC0415 - brings LangGraph with it
    from outlast.storage.postgres.migrate import migrate  # noqa: PLC0415 - heavy: psycopg

    async with runtime.database(settings, root) as complete:
        if not settings.database.url:
            await migrate(complete.database)
        yield complete
