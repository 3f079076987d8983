"""What a caller may do: scopes, and how tenants and users may be called.

    require_scope("inbox:answer")       # Forbidden, unless the principal of this context has it

A scope is a resource and what is done with it. Writing does not include reading. `admin` is everything within the
tenant, and nothing beyond it: what concerns all tenants is done on the command line, by whoever has the database.
"""

import re
from collections.abc import Iterable
from typing import Final

from outlast.domain.acting import principal
from outlast.errors import Forbidden, InvalidInput

#: Every scope there is.
SCOPES: Final = (
    "runs:read", "runs:write", "threads:read", "threads:write", "assistants:read", "assistants:write", "store:read",
    "store:write", "crons:read", "crons:write", "inbox:read", "inbox:answer", "usage:read", "metrics:read",
    "budgets:read", "budgets:write", "dlq:read", "dlq:write", "keys:admin", "admin",
)  # fmt: skip
#: Includes all others.
ADMIN: Final = "admin"
#: What is for those who run the server, or answer for its costs.
OPERATOR_SCOPES: Final = frozenset({"budgets:read", "budgets:write", "dlq:read", "dlq:write", "keys:admin", ADMIN})
#: What a client of the API needs; what a key may do for which nothing else was said.
CLIENT_SCOPES: Final = frozenset(SCOPES) - OPERATOR_SCOPES - {"metrics:read"}
#: What changes nothing.
READ_SCOPES: Final = frozenset(scope for scope in SCOPES if scope.endswith(":read"))

# No `*`, which means everybody's; no colon at the end of a name that is put before another one.
_TENANT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@/-]{0,126}[A-Za-z0-9])?")
_LONGEST_USER: Final = 255


def has_scope(scopes: frozenset[str] | None, wanted: str) -> bool:
    """Whether somebody with these scopes may do what `wanted` names; None is everything."""
    return scopes is None or wanted in scopes or ADMIN in scopes


def require_scope(wanted: str) -> None:
    """Raise Forbidden, which names the scope, when the principal of this context does not have it."""
    if not has_scope(principal().scopes, wanted):
        raise Forbidden(f"this needs the scope {wanted}; use credentials that have it")


def checked_scopes(given: Iterable[str], *, field: str = "scopes") -> frozenset[str]:
    """Return the scopes; raises InvalidInput that names the one that is none."""
    scopes = frozenset(given)
    for scope in sorted(scopes - frozenset(SCOPES)):
        raise InvalidInput(f"there is no scope {scope!r}; there are {', '.join(SCOPES)}", field=field)
    return scopes


def is_tenant(name: object) -> bool:
    """Whether a tenant may be called so: at most 128 letters, digits, `.`, `_`, `@`, `/` and `-`."""
    return isinstance(name, str) and _TENANT.fullmatch(name) is not None


def is_user(name: object) -> bool:
    """Whether a user may be called so: a text of at most 255 characters, none of which steers a terminal."""
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_USER and name.isprintable()


def checked_tenant(name: str) -> str:
    """Return the name; raises InvalidInput when no tenant can be called so."""
    if not is_tenant(name):
        raise InvalidInput(
            f"{name!r} is no name of a tenant; use up to 128 letters, digits, '.', '_', '@', '/' and '-', with a "
            "letter or digit at both ends",
            field="tenant",
        )
    return name


def checked_user(name: str | None) -> str | None:
    """Return the name; raises InvalidInput when no user can be called so."""
    if name is not None and not is_user(name):
        raise InvalidInput(f"a user's name is a text of 1 to {_LONGEST_USER} printable characters", field="user")
    return name
