"""The audit log as it is read: found, verified, cut off at its beginning when it is old."""

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from outlast.domain.acting import across_tenants, acting_for, principal, tenant_now
from outlast.domain.audit import PERSONAL_KINDS, PRUNED, AuditEntry, Chain, Head, Problem, keyring
from outlast.settings_audit import AuditSettings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("audit")
_PAGE: Final = 1000
_PSEUDONYM: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which entries are wanted; None does not filter. `action` is one, or what stands before its dot."""

    action: str | None = None
    object: str | None = None
    actor: str | None = None
    after: datetime | None = None
    #: Only entries with a smaller number, for the next page of one tenant.
    before: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found in one tenant's log."""

    tenant: str
    entries: int
    #: Entries without a signature, from before there was a key.
    unsigned: int
    head: Head
    problems: Sequence[Problem]


class AuditReader:
    """Reads the logs that the context may see: the principal's tenant's, or all under `across_tenants()`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def search(self, query: AuditQuery) -> list[AuditEntry]:
        """Return entries, the newest first, with the names that are not forgotten in the place of pseudonyms."""
        parameters = {
            "action": query.action, "after": query.after, "before": query.before, "limit": query.limit,
            "object": await self._stored(query.object), "actor": await self._stored(query.actor),
        }  # fmt: skip
        return await self._named(await self._entries(_SQL.search, parameters))

    async def entries(self, tenant: str, *, after: int = 0) -> AsyncGenerator[AuditEntry]:
        """Yield a tenant's entries as they are stored, in the order of their chain."""
        while True:
            page = await self._entries(_SQL.following, {"tenant": tenant, "after": after, "limit": _PAGE})
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    async def heads(self) -> list[Head]:
        """Return where the logs end."""
        return [head for head, _, _ in await self._heads()]

    async def verify(self, keys: Mapping[str, bytes], *, kept: Sequence[Head] = ()) -> list[Verified]:
        """Go through the logs from their beginnings; what is wrong is in the answer.

        `kept`: heads from elsewhere, which show that entries were cut off, or all of them written anew.
        """
        heads = await self._heads()
        known = {head.tenant for head, _, _ in heads}
        # A log that is gone altogether has no head of its own to be missed by.
        gone = [(Head(tenant=head.tenant, seq=0, hash=b""), 0, b"") for head in kept if head.tenant not in known]
        return [
            await self._verify(head, Chain(tenant=head.tenant, keys=keys, base_seq=seq, base_hash=hash_), kept)
            for head, seq, hash_ in (*heads, *gone)
        ]

    async def _verify(self, stored: Head, chain: Chain, kept: Sequence[Head]) -> Verified:
        of_tenant = {head.seq: head for head in kept if head.tenant == stored.tenant}
        async for entry in self.entries(stored.tenant, after=chain.base_seq):
            # What was added since the head was read is not part of this look.
            if entry.seq > stored.seq:
                break
            chain.add(entry)
            if entry.seq in of_tenant:
                chain.compare(entry, of_tenant[entry.seq])
        return Verified(
            tenant=stored.tenant, problems=chain.end(stored, list(of_tenant.values())), entries=chain.entries,
            unsigned=chain.unsigned, head=stored,
        )  # fmt: skip

    async def _heads(self) -> list[tuple[Head, int, bytes]]:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.heads, {})).fetchall()
        return [
            (Head(tenant=tenant, seq=seq, hash=bytes(hash_)), base_seq, bytes(base_hash))
            for tenant, seq, hash_, base_seq, base_hash in rows
        ]

    async def _entries(self, statement: bytes, parameters: Mapping[str, Any]) -> list[AuditEntry]:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(statement, parameters)).fetchall()
        return [_entry(row) for row in rows]

    async def _stored(self, text: str | None) -> str | None:
        """Return an actor or an object as the log has it."""
        kind, _, name = (text or "").partition(":")
        if text is None or kind not in PERSONAL_KINDS or not name:
            return text
        parameters = {"tenant": tenant_now() or principal().tenant, "kind": kind, "name": name}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.known_pseudonym, parameters)).fetchone()
        # As it stands in the log: somebody who was erased can still be looked up by their pseudonym.
        return text if row is None else f"{kind}:{row[0]}"

    async def _named(self, entries: Sequence[AuditEntry]) -> list[AuditEntry]:
        wanted = {UUID(text) for entry in entries for text in _PSEUDONYM.findall(_personal(entry))}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.names, {"pseudonyms": list(wanted)})).fetchall()
        names = {(tenant, str(pseudonym)): name for tenant, pseudonym, name in rows}

        def shown(entry: AuditEntry, text: str) -> str:
            kind, _, name = text.partition(":")
            return f"{kind}:{names.get((entry.tenant, name), name)}" if kind in PERSONAL_KINDS else text

        def told(entry: AuditEntry) -> str:
            details = json.loads(entry.details)
            named = {kind: names.get((entry.tenant, details[kind])) for kind in PERSONAL_KINDS & details.keys()}
            known = {kind: name for kind, name in named.items() if name is not None}
            return json.dumps(details | known, separators=(",", ":"), sort_keys=True) if known else entry.details

        return [
            replace(entry, actor=shown(entry, entry.actor), object=shown(entry, entry.object), details=told(entry))
            for entry in entries
        ]


class AuditUpkeep:
    """Cuts logs off at their beginnings, and says in them that it did. Acts for all tenants."""

    def __init__(self, pool: Pool, log: AuditLog) -> None:
        self._pool = pool
        self._log = log

    async def prune(self, *, age: timedelta, limit: int) -> int:
        """Delete the oldest entries of each tenant as far as they are older; return how many that were."""
        parameters = {"age": age.total_seconds(), "limit": limit}
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.prunable_tenants, parameters)).fetchall()
        deleted = 0
        for (tenant,) in rows:
            with acting_for(tenant):
                deleted += await self._prune(tenant, parameters)
        return deleted

    async def _prune(self, tenant: str, parameters: Mapping[str, Any]) -> int:
        given = {**parameters, "tenant": tenant}
        async with self._pool.transaction() as connection:
            # Whoever adds an entry, and whoever else prunes, waits.
            await connection.execute(_SQL.lock_head, given)
            row = await (await connection.execute(_SQL.prunable, given)).fetchone()
            if row is None or row[0] is None:
                return 0
            given["until"] = row[0]
            last = await (await connection.execute(_SQL.hash_at, {**given, "seq": row[0]})).fetchone()
            assert last is not None  # noqa: S101 - there is always a row
            given["hash"] = last[0]
            await connection.execute(_SQL.allow_prune, given)
            cut = await (await connection.execute(_SQL.prune, given)).fetchone()
            # In the same transaction, and signed: nobody else can cut the log off and have it look like this.
            entry = {"until": row[0], "hash": bytes(last[0]).hex()}
            await self._log.record_in(connection, PRUNED, f"tenant:{tenant}", entry)
        return 0 if cut is None else cut[0]


def keys_of(settings: AuditSettings) -> dict[str, bytes]:
    """Return the keys that logs may be signed with, by their names."""
    present, *former = (key.reveal().encode() for key in (settings.key, *settings.former_keys))
    return keyring(present, former)


def _personal(entry: AuditEntry) -> str:
    """Return the text in which the pseudonyms of an entry stand."""
    return f"{entry.actor} {entry.object} {entry.details}"


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    tenant, seq, at, actor, key_id, action, object_, details, payload_hash, mac_key, previous, hash_ = row
    return AuditEntry(
        tenant=tenant, seq=seq, at=at, actor=actor, key_id=key_id, action=action, object=object_, details=details,
        payload_hash=None if payload_hash is None else bytes(payload_hash), mac_key=mac_key, previous=bytes(previous),
        hash=bytes(hash_),
    )  # fmt: skip
