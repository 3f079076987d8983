"""Erases what belongs to a user, a thread or a whole tenant, and keeps a receipt of it that names nobody.

Thread by thread, each in a transaction that first locks it: from its commit on, every late write of its runs and of its
checkpoints is refused. Then what is found elsewhere, in batches; then everything is counted again, until nothing is
found. What is interrupted is finished by upkeep.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection

from outlast.domain.acting import across_tenants, acting_for, principal
from outlast.domain.erasure import Receipt, Scope, Subject
from outlast.errors import Conflict, InvalidInput
from outlast.storage.postgres.audit import AuditLog, pseudonym_in
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.erasure_rules import RULES, Rule
from outlast.storage.postgres.items import path_of
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.threads import ThreadStore

_SQL = Queries("erasure")
_USAGE_SQL = Queries("usage")
_FIRST: Final = UUID(int=0)
_PAGE: Final = 100
_BATCH: Final = 1000
#: A writer that is not refused after so many rounds will not be after more.
_ROUNDS: Final = 5
Connection = AsyncConnection[Any]
Forget = Callable[[], Awaitable[int]]
#: What is kept, and why: the same in every receipt.
KEPT: Final = {rule.table: rule.why for rule in RULES if rule.why and not rule.why.startswith("about ")}


class Erasure:
    """Acts for the principal's tenant."""

    def __init__(
        self, pool: Pool, threads: ThreadStore, audit: AuditLog, *, forget_cache: Forget | None = None
    ) -> None:
        self._pool = pool
        self._threads = threads
        self._audit = audit
        # Cached answers that are not in a table.
        self._forget_cache = forget_cache

    async def plan(self, subject: Subject) -> dict[str, int]:
        """Return how many rows of which tables would be erased; nothing is changed."""
        given = await parameters_of(self._pool, subject)
        async with self._pool.transaction() as connection:
            counted = await _count(connection, subject, RULES, given)
        return {table: count for table, count in counted.items() if count}

    async def erase(self, subject: Subject) -> Receipt:
        """Erase it, for good. When this returns it is done, and the receipt is stored.

        Raises Conflict when somebody writes faster than it is erased: stop them first, then repeat it. What was erased
        by then is gone.
        """
        _check(subject)
        async with self._pool.transaction() as connection:
            who = principal()
            asked_by = await self._audit.actor_in(connection)
            # A name that is to be forgotten must not stay in the receipt.
            named = {Scope.TENANT: subject.name}
            pseudonym = named.get(subject.scope) or str(await pseudonym_in(connection, subject.scope, subject.name))
            given = {
                "tenant": who.tenant, "scope": subject.scope, "subject": pseudonym, "asked_by": asked_by,
                "paths": [path_of(namespace) for namespace in subject.namespaces],
            }  # fmt: skip
            row = await (await connection.execute(_SQL.begin, given)).fetchone()
            assert row is not None  # noqa: S101 - there is always a row
        return await self._finish(_receipt(row), subject)

    async def receipts(self, *, id: UUID | None = None, limit: int = 100) -> list[Receipt]:  # noqa: A002 - the word for it
        """Return the receipts of the tenant, the newest first."""
        given = {"tenant": principal().tenant, "id": id, "limit": limit}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.receipts, given)).fetchall()
        return [_receipt(row) for row in rows]

    async def resume(self, *, age: timedelta) -> int:
        """Finish what was interrupted so long ago, of all tenants; return how many that were."""
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.unfinished, {"age": age.total_seconds()})).fetchall()
        for id_, tenant, scope, name, paths in rows:
            # Without a name, somebody else has just come to the end of it.
            if name is None:
                continue
            namespaces = tuple(tuple(path[1:-1].split(".")) for path in paths or ())
            with acting_for(tenant):
                [receipt] = await self.receipts(id=id_)
                await self._finish(receipt, Subject(scope=Scope(scope), name=name, namespaces=namespaces))
        return len(rows)

    async def _finish(self, receipt: Receipt, subject: Subject) -> Receipt:
        removed: Counter[str] = Counter()
        left: dict[str, int] = {}
        for _ in range(_ROUNDS):
            removed += await self._round(subject)
            left = await self._left(subject)
            if not left:
                return await self._done(receipt, subject, removed)
        tables = ", ".join(f"{table} ({count})" for table, count in left.items())
        msg = (
            f"the {subject.scope} is still being written to, so not all of it could be erased: {tables}. Stop its "
            "clients and runs, then repeat this; upkeep repeats it, too"
        )
        raise Conflict(msg, details={"left": left, "erasure_id": str(receipt.id)})

    async def _round(self, subject: Subject) -> "Counter[str]":
        removed: Counter[str] = Counter()
        # Ways in first, then the threads.
        given = await self._elsewhere_in_tables(subject)
        removed += await self._apply(subject, [rule for rule in RULES if rule.table == "api_keys"], given)
        async for key, thread_id in threads_of(self._pool, subject):
            removed += await self._erase_thread(subject, key, thread_id)
        apart = {"api_keys", "data_keys"}
        later = [rule for rule in RULES if rule.how not in {"keep", "names"} and rule.table not in apart]
        removed += await self._apply(subject, later, given)
        if self._forget_cache is not None:
            removed["cache (Redis)"] += await self._forget_cache()
        if subject.scope is Scope.TENANT:
            # Whatever was copied of it elsewhere, backups too, can be read by nobody from here on.
            removed["data_keys"] += await self._pool.sealing.destroy(subject.name)
        return removed

    async def _elsewhere_in_tables(self, subject: Subject) -> dict[str, Any]:
        """Return the parameters for what is not found by a thread."""
        keys = [UUID(bytes=thread_key(subject.name))]
        return _parameters(subject, threads=keys if subject.scope is Scope.THREAD else [], runs=[])

    async def _erase_thread(self, subject: Subject, key: UUID, thread_id: str) -> "Counter[str]":
        async with self._pool.transaction() as connection:
            await connection.execute(_SQL.lock_thread, {"key": key})
            runs = await _runs(connection, [key])
            alone = Subject(scope=Scope.THREAD, name=thread_id)
            given = _parameters(alone, threads=[key], runs=runs)
            with_thread = [rule for rule in RULES if rule.with_thread]
            removed = await _count(connection, alone, with_thread, given)
            if thread_id:
                await self._threads.expire_in(connection, thread_id, strategy="delete")
            # What is found by a run is found now or never.
            for rule in RULES:
                # The name of the thread that was asked for goes last.
                if rule.how == "names" and subject.scope is Scope.USER:
                    await _change(connection, alone, rule, given)
                elif rule.how in {"delete", "blank"} and not rule.shared and _by_thread(rule):
                    done = await _change(connection, alone, rule, given)
                    if not rule.with_thread:
                        removed[rule.table] += done
        return removed

    async def _apply(self, subject: Subject, rules: Iterable[Rule], given: Mapping[str, Any]) -> "Counter[str]":
        removed: Counter[str] = Counter()
        for rule in rules:
            if rule.how == "fold" and subject.scope is Scope.USER:
                removed[rule.table] += await self._fold(given)
            elif rule.found or subject.scope is Scope.TENANT:
                removed[rule.table] += await self._in_batches(subject, rule, given)
            for column in rule.named if subject.scope is Scope.USER else ():
                async with self._pool.transaction() as connection:
                    removed[rule.table] += await _unname(connection, rule, column, given)
        return removed

    async def _in_batches(self, subject: Subject, rule: Rule, given: Mapping[str, Any]) -> int:
        total = 0
        while True:
            async with self._pool.transaction() as connection:
                done = await _change(connection, subject, rule, given)
            total += done
            if done < _BATCH:
                return total

    async def _fold(self, given: Mapping[str, Any]) -> int:
        async with self._pool.transaction() as connection:
            row = await (await connection.execute(_USAGE_SQL.fold_user, given)).fetchone()
        return 0 if row is None else row[0]

    async def _left(self, subject: Subject) -> dict[str, int]:
        given = await parameters_of(self._pool, subject)
        rules = [rule for rule in RULES if rule.how not in {"keep", "names"} and not rule.shared]
        async with self._pool.transaction() as connection:
            counted = await _count(connection, subject, rules, given)
        return {table: count for table, count in counted.items() if count}

    async def _done(self, receipt: Receipt, subject: Subject, removed: "Counter[str]") -> Receipt:
        names = next(rule for rule in RULES if rule.how == "names")
        given = await parameters_of(self._pool, subject)
        async with self._pool.transaction() as connection:
            counts = {table: count for table, count in sorted(removed.items()) if count}
            row = await (await connection.execute(_SQL.end, {"id": receipt.id, "removed": jsonb(counts)})).fetchone()
            if row is None:
                # Somebody else has finished it meanwhile.
                return replace(receipt, removed=counts)
            details = {"erasure": str(receipt.id), "rows": sum(counts.values())}
            # While the name is still known, so that the entry has the pseudonym of all others.
            await self._audit.record_in(connection, "data.erased", f"{subject.scope}:{subject.name}", details)
            await _change(connection, subject, names, given)
        return _receipt(row)


async def threads_of(pool: Pool, subject: Subject) -> AsyncGenerator[tuple[UUID, str]]:
    """Yield the threads of a subject: keys and names."""
    given: dict[str, Any] = {"tenant": principal().tenant, "user": subject.name, "after": _FIRST, "limit": _PAGE}
    given["key"] = UUID(bytes=thread_key(subject.name))
    statement = {
        Scope.USER: _SQL.threads_of_user, Scope.TENANT: _SQL.threads_of_tenant, Scope.THREAD: _SQL.thread_by_key
    }[subject.scope]  # fmt: skip
    while True:
        async with pool.connection() as connection:
            rows = await (await connection.execute(statement, given)).fetchall()
        for key, thread_id in rows:
            yield key, thread_id
        if len(rows) < _PAGE:
            return
        given["after"] = rows[-1][0]


async def parameters_of(pool: Pool, subject: Subject) -> dict[str, Any]:
    """Return the parameters of all rules for everything that a subject has."""
    _check(subject)
    found = [] if subject.scope is Scope.TENANT else [thread async for thread in threads_of(pool, subject)]
    threads = [key for key, _ in found]
    if subject.scope is Scope.THREAD:
        threads = [UUID(bytes=thread_key(subject.name))]
    async with pool.transaction() as connection:
        given = _parameters(subject, threads=threads, runs=await _runs(connection, threads))
    return {**given, "names": [*given["names"], *(name for _, name in found)]}


def condition_of(subject: Subject, rule: Rule) -> str:
    """Return the SQL that finds a table's rows of a subject."""
    if subject.scope is Scope.TENANT:
        return f"tenant = %(tenant)s AND NOT ({rule.unless or 'false'})"
    return f"tenant = %(tenant)s AND {rule.condition}"


def _check(subject: Subject) -> None:
    if not subject.name or "\0" in subject.name:
        msg = f"the name of the {subject.scope} is empty, or holds NUL"
        raise InvalidInput(msg, field=subject.scope)
    if subject.scope is Scope.TENANT and subject.name != principal().tenant:
        msg = f"this acts for tenant {principal().tenant!r}, which cannot erase or export tenant {subject.name!r}"
        raise InvalidInput(msg, field="tenant")


def _parameters(subject: Subject, *, threads: Sequence[UUID], runs: Sequence[UUID]) -> dict[str, Any]:
    user, thread = (subject.name if subject.scope is scope else None for scope in (Scope.USER, Scope.THREAD))
    return {
        "tenant": principal().tenant, "threads": list(threads), "runs": list(runs), "user": user, "thread": thread,
        "name": subject.name, "names": [] if thread is None else [thread],
        "paths": [path_of(namespace) for namespace in subject.namespaces],
    }  # fmt: skip


async def _runs(connection: Connection, threads: Sequence[UUID]) -> list[UUID]:
    cursor = await connection.execute(_SQL.runs_of_threads, {"threads": list(threads)})
    return [run_id for (run_id,) in await cursor.fetchall()]


def _by_thread(rule: Rule) -> bool:
    return any(name in found for found in rule.found for name in ("%(threads)s", "%(runs)s", "%(thread)s"))


async def _count(
    connection: Connection, subject: Subject, rules: Iterable[Rule], given: Mapping[str, Any]
) -> "Counter[str]":
    counted: Counter[str] = Counter()
    for rule in rules:
        if rule.how == "keep" or not (rule.found or subject.scope is Scope.TENANT):
            continue
        # Everything here is from the list of rules.
        statement = f"SELECT count(*) FROM {rule.table} WHERE {condition_of(subject, rule)}"  # noqa: S608 - all of it is from the list of rules
        row = await (await connection.execute(statement.encode(), given)).fetchone()
        counted[rule.table] = 0 if row is None else row[0]
    return counted


async def _change(connection: Connection, subject: Subject, rule: Rule, given: Mapping[str, Any]) -> int:
    """Delete or blank a batch of rows."""
    batch = f"ctid = ANY(ARRAY(SELECT ctid FROM {rule.table} WHERE {condition_of(subject, rule)} LIMIT {_BATCH}))"  # noqa: S608 - all of it is from the list of rules
    blank = rule.how == "blank" and (subject.scope is not Scope.TENANT or rule.outlives_tenant)
    verb = f"UPDATE {rule.table} SET {rule.assignments}" if blank else f"DELETE FROM {rule.table}"  # noqa: S608 - all of it is from the list of rules
    return (await connection.execute(f"{verb} WHERE {batch}".encode(), given)).rowcount


async def _unname(connection: Connection, rule: Rule, column: str, given: Mapping[str, Any]) -> int:
    statement = f"UPDATE {rule.table} SET {column} = NULL WHERE tenant = %(tenant)s AND {column} = %(user)s"  # noqa: S608 - all of it is from the list of rules
    return (await connection.execute(statement.encode(), given)).rowcount


def _receipt(row: tuple[Any, ...]) -> Receipt:
    id_, tenant, scope, subject, asked_by, begun_at, ended_at, removed = row
    return Receipt(
        id=id_, tenant=tenant, scope=Scope(scope), subject=subject, asked_by=asked_by, begun_at=begun_at,
        ended_at=ended_at, removed=removed, kept=KEPT,
    )  # fmt: skip
