"""What has to be so before a process works on a database."""

import logging
from contextlib import nullcontext

from outlast.domain.acting import across_tenants
from outlast.errors import DatabaseSetupError
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import migrate, roles
from outlast.storage.postgres.pool import Pool

log = logging.getLogger(__name__)


async def require_current_schema(settings: DatabaseSettings) -> None:
    """Raise DatabaseSetupError that names the migrations which are missing."""
    missing = [item.migration for item in await migrate.status(settings) if item.applied_at is None]
    if missing:
        names = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in missing)
        msg = f"the database lacks migrations ({names}); run `outlast db migrate`"
        raise DatabaseSetupError(msg)


async def require_row_security(pool: Pool) -> None:
    """Raise DatabaseSetupError for a role, or for tables, that do not keep tenants apart."""
    warning = None
    for scope in (nullcontext(), across_tenants()):
        with scope:
            async with pool.transaction() as connection:
                warning = await roles.check(connection)
    if warning:
        log.warning("%s", warning)
