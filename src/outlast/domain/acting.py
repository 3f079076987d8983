"""On whose behalf the program acts: a tenant, and within it a user and the key that they came with.

    with acting_for(Principal(tenant="acme", user="ann")):
        await runs.get(run_id)          # sees what belongs to acme, and nothing else

Every transaction tells the database for which tenant it acts, and the database itself hides all other tenants' rows
(row-level security, see `storage.postgres.scoping`). The principal goes with the context: a task, a thread and a
callback act for whoever they were started for. Where nothing was said it is the default tenant, which is the only one
there is until somebody names another; so a forgotten `acting_for` hides rows, and never shows foreign ones.

What has to look at all tenants at once (claiming runs, recovery, retention) says so: `across_tenants()`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. Only what was proven stands here: no header that anybody can write, no name that a client chose."""

    tenant: str = DEFAULT_TENANT
    #: Who it is within the tenant; None: nobody in particular.
    user: str | None = None
    #: The API key, by its public id.
    key_id: str | None = None
    #: What it may do (`runs:write`...); None: everything, as where nobody is asked who they are.
    scopes: frozenset[str] | None = field(default=None)


#: Nobody in particular, of the default tenant.
ANYBODY: Final = Principal()
_current: Final[ContextVar[Principal]] = ContextVar("outlast_principal", default=ANYBODY)
_across: Final[ContextVar[bool]] = ContextVar("outlast_across_tenants", default=False)


def principal() -> Principal:
    """Return on whose behalf this context acts."""
    return _current.get()


def tenant_now() -> str | None:
    """Return the tenant whose rows are there for this context; None: all tenants'."""
    return None if _across.get() else _current.get().tenant


@contextmanager
def acting_for(who: Principal | str) -> Generator[Principal]:
    """Act on behalf of a principal, or of a tenant by its name, to the end of the block."""
    principal = who if isinstance(who, Principal) else Principal(tenant=who)
    before, across = _current.set(principal), _across.set(False)
    try:
        yield principal
    finally:
        _across.reset(across)
        _current.reset(before)


@contextmanager
def across_tenants() -> Generator[None]:
    """Look at the rows of all tenants: for what keeps the whole running, and for nothing that a client asked for."""
    before = _across.set(True)
    try:
        yield
    finally:
        _across.reset(before)
