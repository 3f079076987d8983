"""Two tenants in one database: whatever a statement says, it reaches the rows of the tenant that its transaction names.

The database is that of the migrations, but for foreign keys, checks and unique indexes, so that each table can be
filled with rows that mean nothing. What is tested is the catalogue's own list of tables: a new one is tested by being
there.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, errors, sql

from outlast.domain.acting import across_tenants, acting_for
from outlast.errors import DatabaseSetupError
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import roles
from outlast.storage.postgres.pool import Pool, connect

#: Tables without tenants, and why.
EVERYBODYS = {
    "admission_limits": "hashes of keys and figures; some limits are everybody's",
    "alert_clock": "whose turn it is to look, and when somebody last did",
    "breaker_tallies": "health of providers",
    "breakers": "health of providers",
    "encryption": "whether it is on, for all",
    "rate_limits": "pace at providers",
    "retry_budgets": "retries at providers",
    "schema_migrations": "the schema's own history",
    "secrets": "of the installation, not of a tenant",
    "slo_counts": "counts of agents, all tenants' together",
    "slo_rollups": "up to when they were counted",
    "thread_watches": "hashes of threads and a time, for hints",
    "workers": "processes",
}
TENANTS = ("acme", "globex")
OPERATIONS = 10_000
ROWS = 3

_VALUES = {
    "uuid": "gen_random_uuid()", "text": "md5(random()::text)", "text[]": "'{}'", "json": "'{}'",
    "bytea": "decode(md5(random()::text), 'hex')",
    "jsonb": "'{}'", "boolean": "false", "date": "current_date", "timestamp with time zone": "clock_timestamp()",
    "real[]": "'{}'", "inet": "'127.0.0.1'", "interval": "'1 s'",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    name: str
    #: What has to be given, with its type.
    columns: tuple[tuple[str, str], ...]

    @property
    def rows(self) -> int:
        """How many a tenant has: of what is one for each tenant, one."""
        return ROWS if self.columns else 1

    def filling(self) -> sql.Composed:
        if not self.columns:
            return sql.SQL("INSERT INTO {} DEFAULT VALUES").format(sql.Identifier(self.name))
        values = [_VALUES.get(kind, "(random() * 30000)::int") for _, kind in self.columns]
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {})").format(
            sql.Identifier(self.name),
            sql.SQL(", ").join(sql.Identifier(name) for name, _ in self.columns),
            sql.SQL(", ").join(map(sql.SQL, values)),
            sql.Literal(ROWS),
        )


async def tables_of(owner: AsyncConnection[Any]) -> list[Table]:
    cursor = await owner.execute(
        "SELECT c.relname::text, array_agg(ARRAY[a.attname::text, format_type(a.atttypid, NULL)] ORDER BY a.attnum)"
        " FILTER (WHERE a.attname <> 'tenant' AND a.attidentity = '' AND a.attgenerated = ''"
        "         AND (a.attnotnull AND NOT a.atthasdef))"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relnamespace = 'outlast'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " GROUP BY c.relname HAVING bool_or(a.attname = 'tenant') ORDER BY 1"
    )
    return [
        Table(name, tuple((column, kind) for column, kind in needed or ())) for name, needed in await cursor.fetchall()
    ]


@pytest.fixture
async def owner(database: DatabaseSettings) -> AsyncIterator[AsyncConnection[Any]]:
    async with await connect(database, application_name="owner") as connection:
        yield connection


@pytest.fixture
async def filled(owner: AsyncConnection[Any], pool: Pool) -> list[Table]:
    """Rows of both tenants in every table."""
    cursor = await owner.execute(
        "SELECT conrelid::regclass::text, conname::text FROM pg_constraint"
        " WHERE connamespace = 'outlast'::regnamespace AND contype IN ('f', 'c')"
    )
    for table, constraint in await cursor.fetchall():
        dropping = sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}")
        await owner.execute(dropping.format(sql.Identifier(table), sql.Identifier(constraint)))
    cursor = await owner.execute(
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indrelid"
        " WHERE c.relnamespace = 'outlast'::regnamespace AND indisunique"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    )
    for (index,) in await cursor.fetchall():
        await owner.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
    tables = await tables_of(owner)
    for tenant in TENANTS:
        with acting_for(tenant):
            for table in tables:
                async with pool.connection() as connection:
                    await connection.execute(table.filling().as_string(owner))
    return tables


async def test_every_table_has_a_tenant_or_a_reason_to_have_none(owner):
    cursor = await owner.execute(
        "SELECT table_name::text FROM information_schema.tables"
        " WHERE table_schema = 'outlast' AND table_type = 'BASE TABLE'"
    )
    every = {name for (name,) in await cursor.fetchall()}

    assert every - {table.name for table in await tables_of(owner)} == EVERYBODYS.keys() & every


async def test_ten_thousand_operations_of_two_tenants_side_by_side_reach_no_foreign_row(pool, filled):
    dice = random.Random(20261121)
    plan = [(dice.choice(filled), *dice.sample(TENANTS, 2), dice.randrange(4)) for _ in range(OPERATIONS)]
    found: list[str] = []

    async def side(steps: list[tuple[Table, str, str, int]]) -> None:
        for table, own, other, kind in steps:
            with acting_for(own):
                if (seen := await _reached(pool, table, own, other, kind)) is not None:
                    found.append(f"{own} reached {seen} in {table.name} (operation {kind})")

    await asyncio.gather(*(side(plan[start::6]) for start in range(6)))

    assert found == []
    with across_tenants():
        for table in filled:
            async with pool.connection() as connection:
                counting = f"SELECT tenant, count(*) FROM {table.name} WHERE tenant = ANY(%s) GROUP BY tenant"
                reply = await connection.execute(counting, [list(TENANTS)])
                assert dict(await reply.fetchall()) == dict.fromkeys(TENANTS, table.rows), table.name


async def _reached(pool: Pool, of: Table, own: str, other: str, kind: int) -> object:
    """Try to reach the other tenant's rows; return what was reached."""
    table = of.name
    try:
        async with pool.connection() as connection:
            if kind == 0:
                reply = await connection.execute(
                    f"SELECT count(*), count(*) FILTER (WHERE tenant = %s) FROM {table}", [own]
                )
                every, mine = await reply.fetchone()
                return None if (every, mine) == (of.rows, of.rows) else f"{every} rows, {mine} its own"
            if kind == 1:
                return (
                    await connection.execute(f"UPDATE {table} SET tenant = tenant WHERE tenant = %s", [other])
                ).rowcount or None
            if kind == 2:
                return (await connection.execute(f"DELETE FROM {table} WHERE tenant = %s", [other])).rowcount or None
            return (await connection.execute(f"UPDATE {table} SET tenant = %s", [other])).rowcount
    except (errors.InsufficientPrivilege, errors.RaiseException):
        # Row security for what would become another tenant's, and tables whose rows nobody changes.
        return None


@pytest.mark.parametrize("role", [roles.app_role, roles.readonly_role, None], ids=["app", "readonly", "owner"])
async def test_a_role_sees_the_rows_of_the_tenant_that_is_named_and_none_without_a_name(role, database, owner, filled):
    if role is not None:
        await owner.execute(sql.SQL("GRANT {} TO current_user").format(sql.Identifier(role("outlast"))))
        await owner.execute(roles.as_role(role("outlast")))
    for table in filled:
        for tenant, rows in ((TENANTS[0], table.rows), ("", 0), ("nobody", 0)):
            async with owner.transaction():
                await owner.execute("SELECT set_config('outlast.tenant', %s, true)", [tenant])
                cursor = await owner.execute(
                    sql.SQL("SELECT count(*) FROM {} WHERE tenant <> '*'").format(sql.Identifier(table.name))
                )
                assert (await cursor.fetchone())[0] == rows, (table.name, tenant)


async def test_the_next_borrower_of_a_connection_does_not_inherit_the_tenant(database, filled):
    pool = Pool(database, application_name="one", size=1)
    await pool.open()
    try:
        with acting_for(TENANTS[0]):
            async with pool.transaction() as connection:
                assert (await (await connection.execute("SELECT count(*) FROM runs")).fetchone())[0] == ROWS
        async with pool.unscoped() as connection:
            row = await (
                await connection.execute("SELECT current_setting('role'), current_user = session_user")
            ).fetchone()
            assert row == ("none", True)
        with acting_for("nobody"):
            async with pool.connection() as connection:
                assert (await (await connection.execute("SELECT count(*) FROM runs")).fetchone())[0] == 0
    finally:
        await pool.close()


async def test_a_row_cannot_be_given_to_another_tenant(pool, filled):
    with acting_for(TENANTS[0]):
        async with pool.connection() as connection:
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                await connection.execute("UPDATE threads SET tenant = %s", [TENANTS[1]])


async def test_a_table_without_forced_row_security_stops_the_start(pool, owner):
    await owner.execute("ALTER TABLE runs NO FORCE ROW LEVEL SECURITY")

    async with pool.transaction() as connection:
        with pytest.raises(DatabaseSetupError, match="not forced on runs"):
            await roles.check(connection)


async def test_a_role_that_owns_the_tables_does_not_do_the_work(owner):
    async with owner.transaction():
        with pytest.raises(DatabaseSetupError, match="owns"):
            await roles.check(owner)


async def test_a_role_that_passes_by_row_security_is_refused(database, owner):
    """Only a superuser can make one, so it is asked of the server's own, if the tests may."""
    try:
        superuser = await AsyncConnection.connect(database.url, autocommit=True, user="postgres")
    except psycopg.OperationalError:
        pytest.skip("no superuser to ask with")
    async with superuser:
        await superuser.execute("SET search_path TO outlast")
        with pytest.raises(DatabaseSetupError, match="superuser"):
            await roles.check(superuser)
