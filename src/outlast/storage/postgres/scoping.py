"""How each transaction tells the database on whose behalf it acts.

The first statement of every transaction is `SCOPE`: it names the tenant, and takes on a role that row security holds
(see `roles`). Both end with the transaction, so a connection that somebody borrows next, or that a pooler hands to
somebody else, remembers nothing. A transaction without it sees no row of any tenant.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from outlast.domain.acting import tenant_now
from outlast.storage.postgres.queries import Numbered
from outlast.storage.postgres.roles import app_role, claim_role

#: `true`: to the end of the transaction.
SCOPE: Final = Numbered(
    b"SELECT set_config('outlast.tenant', $1, true), set_config('role', $2, true)", ("tenant", "role")
)
#: The same for psycopg's own cursors.
SCOPE_NAMED: Final = b"SELECT set_config('outlast.tenant', %(tenant)s, true), set_config('role', %(role)s, true)"


class Scope(NamedTuple):
    """Whose rows a transaction sees; the tenant is '' for all of them, which only the role for that makes so."""

    tenant: str
    role: str

    def texts(self) -> tuple[bytes, bytes]:
        """Return the parameters of `SCOPE`, as PostgreSQL reads texts."""
        return self.tenant.encode(), self.role.encode()

    @classmethod
    def now(cls, schema: str) -> "Scope":
        """Return the scope of the present context."""
        return cls.of(tenant_now(), schema)

    @classmethod
    def of(cls, tenant: str | None, schema: str) -> "Scope":
        """Return the scope of a tenant; None: all tenants."""
        return _scope(tenant, schema)


# Asked for in every transaction, of few tenants.
@lru_cache(maxsize=1024)
def _scope(tenant: str | None, schema: str) -> Scope:
    return Scope("", claim_role(schema)) if tenant is None else Scope(tenant, app_role(schema))
