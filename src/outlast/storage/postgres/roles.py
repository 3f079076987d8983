"""The roles that the program works as. None of them owns a table, and none passes by row security.

    <schema>_app       what requests and runs do: the rows of one tenant, which each transaction names
    <schema>_claim     what keeps the whole running (claiming runs, recovery, retention): the rows of all tenants
    <schema>_readonly  for people and dashboards: reads the rows of the tenant that `outlast.tenant` names

The role of the database URL owns the tables and is a member of the first two; `outlast db migrate` makes them. Row
security is forced, so that the owner has no way round it either.
"""

from typing import Any, Final

from psycopg import AsyncConnection, errors, sql

from outlast.errors import DatabaseSetupError

_APP: Final = "app"
_CLAIM: Final = "claim"
_READONLY: Final = "readonly"
_MEMBERS: Final = (_APP, _CLAIM)
_INHERIT_BY_GRANT: Final = 16_00_00


def app_role(schema: str) -> str:
    """Return the role that acts for one tenant at a time."""
    return f"{schema}_{_APP}"


def claim_role(schema: str) -> str:
    """Return the role that sees all tenants."""
    return f"{schema}_{_CLAIM}"


def readonly_role(schema: str) -> str:
    """Return the role that reads the rows of one tenant."""
    return f"{schema}_{_READONLY}"


async def ensure(connection: AsyncConnection[Any], schema: str) -> bool:
    """Make the roles that are missing, and the present role a member of those that the program works as.

    Returns whether there was anything to do. Raises DatabaseSetupError with the statements that an administrator has to
    execute where this role may not.
    """
    statements = await _missing(connection, schema)
    for statement in statements:
        try:
            await connection.execute(statement.as_string(connection).encode())
        except (errors.DuplicateObject, errors.UniqueViolation):
            # Roles are the server's, and another database of it was faster.
            continue
        except errors.InsufficientPrivilege as error:
            text = "; ".join(statement.as_string(connection) for statement in statements)
            msg = (
                "the database's role may not make the roles that Outlast works as (their rows are kept apart by "
                f"tenant). Let an administrator execute once: {text}; then run `outlast db migrate` again"
            )
            raise DatabaseSetupError(msg) from error
    return bool(statements)


async def _missing(connection: AsyncConnection[Any], schema: str) -> list[sql.Composed]:
    names = [f"{schema}_{purpose}" for purpose in (*_MEMBERS, _READONLY)]
    cursor = await connection.execute(
        "SELECT n.name, r.oid IS NULL, r.oid IS NOT NULL AND pg_has_role(current_user, r.oid, 'MEMBER'), current_user "
        "FROM unnest(%s::text[]) AS n (name) LEFT JOIN pg_roles r ON r.rolname = n.name",
        [names],
    )
    statements: list[sql.Composed] = []
    for name, missing, member, owner in await cursor.fetchall():
        if missing:
            statements.append(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
        if not member and name != readonly_role(schema):
            granting = sql.SQL("GRANT {} TO {}").format(sql.Identifier(name), sql.Identifier(owner))
            if name == claim_role(schema) and connection.info.server_version >= _INHERIT_BY_GRANT:
                # To be taken on, not had all the time: a policy for a role also counts for whoever inherits from it.
                granting += sql.SQL(" WITH INHERIT FALSE")
            statements.append(granting)
    return statements


async def grant(connection: AsyncConnection[Any], schema: str) -> None:
    """Let the roles do what they are for, in every table there is; safe to repeat."""
    may: tuple[tuple[str, str], ...] = (
        (app_role(schema), "SELECT, INSERT, UPDATE, DELETE"),
        (claim_role(schema), "SELECT, INSERT, UPDATE, DELETE"),
        (readonly_role(schema), "SELECT"),
    )
    of_schema = sql.Identifier(schema)
    for role, actions in may:
        to = sql.Identifier(role)
        for statement in (
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(of_schema, to),
            sql.SQL("GRANT {} ON ALL TABLES IN SCHEMA {} TO {}").format(sql.SQL(actions), of_schema, to),
        ):
            await connection.execute(statement)
    # What has happened is not changed; and keys and secrets are no tenant's to read.
    for table in ("schema_migrations",):
        revoked = sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}, {}")
        roles = (sql.Identifier(app_role(schema)), sql.Identifier(claim_role(schema)))
        await connection.execute(revoked.format(sql.Identifier(table), *roles))


#: What must not be so for a role that works with tenants' rows. One row: what is wrong, or nothing.
_SELF_TEST: Final = """
SELECT r.rolname, r.rolsuper, r.rolbypassrls, s.rolsuper,
       ARRAY(
           SELECT c.relname::text FROM pg_class c
           WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
             AND EXISTS (
                 SELECT FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
             )
             AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
           ORDER BY 1
       ),
       ARRAY(
           SELECT c.relname::text FROM pg_class c
           WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relowner = r.oid
           ORDER BY 1
       )
FROM pg_roles r, pg_roles s
WHERE r.rolname = current_user AND s.rolname = session_user
"""


async def check(connection: AsyncConnection[Any]) -> str | None:
    """Refuse to work as a role that row security does not hold, or on tables without it.

    To be called inside of a transaction as the program makes them. Raises DatabaseSetupError; returns a warning, if
    there is reason for one.
    """
    cursor = await connection.execute(_SELF_TEST)
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - both roles exist, since they are connected
    role, superuser, bypasses, session_superuser, unprotected, owned = row
    if superuser or bypasses:
        msg = (
            f"the database's role {role!r} is a superuser or has BYPASSRLS: PostgreSQL would show it the rows of all "
            "tenants. Use a role without both, that owns the schema; see docs/tenants.md"
        )
        raise DatabaseSetupError(msg)
    if unprotected:
        msg = (
            f"row security is not forced on {', '.join(unprotected)}; run `outlast db migrate`, or, if somebody has "
            "switched it off, ALTER TABLE ... FORCE ROW LEVEL SECURITY"
        )
        raise DatabaseSetupError(msg)
    if owned:
        msg = f"the program works as {role!r}, which owns {owned[0]} and more: an owner can switch row security off"
        raise DatabaseSetupError(msg)
    if session_superuser:
        return (
            "the database's URL is that of a superuser. The program gives its rights up in every transaction, but a "
            "role of its own is safer; see docs/tenants.md"
        )
    return None


def as_role(role: str) -> sql.Composed:
    """Return the statement that takes on a role for the length of a session."""
    return sql.SQL("SET ROLE {}").format(sql.Identifier(role))
