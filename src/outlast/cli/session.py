"""What most commands begin with: the project of this directory, its settings, its database."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from outlast import settings as settings_module
from outlast import telemetry
from outlast.agents.project import LANGGRAPH_FILE, OUTLAST_FILE, Project, find_project
from outlast.errors import ConfigurationError
from outlast.secret import Secret
from outlast.settings import Settings

if TYPE_CHECKING:
    from outlast.runtime import Runtime

_AUDIT_KEY_BYTES: Final = 32
Arguments = Mapping[str, Mapping[str, Any]]


def read_project(root: Path | None = None) -> Project:
    """Return the project of the working directory, with its `env` applied to this process."""
    project = find_project(root or Path.cwd())
    settings_module.apply_environment(project.env)
    return project


def read(arguments: Arguments) -> tuple[Project, Settings]:
    """Return the project of the working directory and the settings of a process that runs it."""
    project = read_project()
    settings = read_settings(project, arguments)
    arm_faults(settings)
    return project, settings


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
    if not any(
        (folder / name).is_file() for folder in (here, *here.parents) for name in (OUTLAST_FILE, LANGGRAPH_FILE)
    ):
        settings = settings_module.load()
        if settings.database.url:
            return Project(root=here), settings
    project = read_project()
    return project, read_settings(project, {})


@asynccontextmanager
async def database(settings: Settings, root: Path) -> AsyncGenerator[Settings]:
    """Provide settings that name a database: the configured one, or the project's private server.

    The private one's schema is brought up to date here: nobody else would.
    """
    if settings.database.url:
        yield settings
        return
    from outlast.storage.postgres.embedded import EmbeddedPostgres  # noqa: PLC0415 - the driver is not always needed
    from outlast.storage.postgres.migrate import migrate  # noqa: PLC0415 - as above

    server = await asyncio.to_thread(EmbeddedPostgres.start, root / ".outlast" / "postgres")
    try:
        own = {"database": settings.database.model_copy(update={"url": server.url})}
        complete = with_audit_key(settings.model_copy(update=own), root)
        await migrate(complete.database)
        yield complete
    finally:
        await asyncio.to_thread(server.close)


async def announce(runtime: "Runtime", process: str) -> None:
    """Write into the audit log with which settings a process has started: their hash, which says when they changed."""
    settings = hashlib.sha256(runtime.settings.model_dump_json().encode()).hexdigest()
    await runtime.audit.note("config.loaded", f"process:{process}", {"settings": settings})


def with_audit_key(settings: Settings, root: Path) -> Settings:
    """Return settings that sign the audit log: beside a private database there is a private key, made at first use."""
    if settings.audit.key:
        return settings
    file = root / ".outlast" / "audit.key"
    # Whoever comes second finds the first one's; a link is there whole or not at all.
    if not file.exists():
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix="audit.", delete=False) as made:
            made.write(secrets.token_urlsafe(_AUDIT_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(made.name, file)
        Path(made.name).unlink()
    key = Secret(file.read_text(encoding="ascii").strip())
    return settings.model_copy(update={"audit": settings.audit.model_copy(update={"key": key})})
