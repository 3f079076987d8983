"""The audit log: who did what to which thing, written once and chained (see `domain.audit`)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection

from outlast.domain.acting import acting_for, principal
from outlast.domain.audit import PERSONAL_KINDS, AuditEntry, Detail, encoded_details, keyed_hash
from outlast.errors import DatabaseUnavailable
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.telemetry import emit

_SQL = Queries("audit")
#: What somebody outside can cause as often as they like is written down this often per tenant, action and process.
_SAMPLES: Final = 10
_SAMPLED_SECONDS: Final = 60.0
_MOST_SERIES: Final = 10_000
_LONGEST_NAME: Final = 500
Connection = AsyncConnection[Any]


@dataclass(slots=True)
class _Series:
    """What was asked to be written down of one kind since a moment."""

    since: float = 0.0
    written: int = 0
    left_out: int = 0


@dataclass(slots=True)
class AuditLog:
    """Writes entries on behalf of `acting.principal()`, into the chain of its tenant.

    `key` is what the chain is signed with (at least 32 bytes, never in the database); empty: it is only hashed, which
    finds mistakes and nobody who knows what they are doing. `nobody`: the actor where the principal is nobody.
    """

    pool: Pool
    key: bytes = field(default=b"", repr=False)
    nobody: str = "anybody"
    _series: dict[tuple[str, str], _Series] = field(default_factory=dict[tuple[str, str], _Series], repr=False)

    async def record(
        self,
        action: str,
        object: str,  # noqa: A002 - the word for it
        details: Mapping[str, Detail] | None = None,
        *,
        payload: bytes | None = None,
    ) -> AuditEntry:
        """Write down that something was done; when this returns it is durable.

        `action` is `thing.done` (`key.revoked`), `object` is `kind:name` (`key:7f3a`, `run:<id>`). Names of users and
        threads (`user:ann`) and addresses, also as details of these names, are replaced by pseudonyms that can be
        forgotten. Other details are names and figures and never personal data, for entries are not erased. Of `payload`
        (what was approved) only the keyed hash is kept.

        Raises DatabaseUnavailable: whoever must not go on without an entry has to let that pass.
        """
        # The tenant of an entry is the actor's, also while all tenants are looked at.
        with acting_for(principal()):
            async with self.pool.transaction() as connection:
                return await self.record_in(connection, action, object, details, payload=payload)

    async def record_in(
        self, connection: Connection, action: str, object: str, details: Mapping[str, Detail] | None = None,  # noqa: A002 - the word for it
        *, payload: bytes | None = None,
    ) -> AuditEntry:  # fmt: skip
        """Do it as part of the open transaction: both are there or neither is.

        Other entries of the tenant wait until that transaction ends, so let this be its last statement.
        """
        who = principal()
        actor, object_ = await self.actor_in(connection), await self._pseudonymous(connection, object)
        told = {
            name: str(await pseudonym_in(connection, name, str(value))) if name in PERSONAL_KINDS else value
            for name, value in (details or {}).items()
        }
        row = await (await connection.execute(_SQL.lock_head, {"tenant": who.tenant})).fetchone()
        assert row is not None  # noqa: S101 - there is always a row
        seq, previous, at = row
        entry = AuditEntry(
            tenant=who.tenant, seq=seq + 1, at=at, actor=actor, key_id=who.key_id, action=action, object=object_,
            details=encoded_details(told), previous=bytes(previous), mac_key="",
            payload_hash=None if payload is None else keyed_hash(self.key, payload),
        ).sealed(self.key)  # fmt: skip
        await connection.execute(_SQL.append, _columns(entry))
        return entry

    async def note(
        self, action: str, object: str, details: Mapping[str, Detail] | None = None, *, payload: bytes | None = None  # noqa: A002 - as above
    ) -> None:  # fmt: skip
        """Write down what was done already and cannot be undone for want of an entry.

        Never raises for the database's sake: what could not be written is said in the log (`audit.lost`).
        """
        try:
            await self.record(action, object, details, payload=payload)
        except DatabaseUnavailable as error:
            emit("audit.lost", action=action, error=type(error).__name__)

    async def actor_in(self, connection: Connection) -> str:
        """Return who acts, as entries say it."""
        who = principal()
        actor = f"user:{who.user}" if who.user is not None else f"key:{who.key_id}" if who.key_id else self.nobody
        return await self._pseudonymous(connection, actor)

    async def sample(self, action: str, object: str, details: Mapping[str, Detail] | None = None) -> None:  # noqa: A002 - the word for it
        """Write down what somebody outside can cause as often as they like: failed logins, refusals.

        At most 10 entries a minute per tenant, action and process; the next one says in `left_out` how many there were
        besides. Never raises: what is refused stays refused, whether the database answers or not.
        """
        series = self._of(action)
        if series.written >= _SAMPLES:
            series.left_out += 1
            return
        series.written += 1
        left_out, series.left_out = series.left_out, 0
        more: dict[str, Detail] = {"left_out": left_out} if left_out else {}
        try:
            await self.record(action, object, {**(details or {}), **more})
        except DatabaseUnavailable as error:
            series.left_out += left_out + 1
            emit("audit.lost", action=action, error=type(error).__name__)

    def _of(self, action: str) -> _Series:
        now = time.monotonic()
        if len(self._series) >= _MOST_SERIES:
            self._series.clear()
        series = self._series.setdefault((principal().tenant, action), _Series(since=now))
        if now - series.since >= _SAMPLED_SECONDS:
            series.since, series.written = now, 0
        return series

    async def _pseudonymous(self, connection: Connection, text: str) -> str:
        kind, _, name = text.partition(":")
        if kind not in PERSONAL_KINDS or not name:
            return text.replace("\0", "")[:_LONGEST_NAME]
        return f"{kind}:{await pseudonym_in(connection, kind, name)}"


async def pseudonym_in(connection: Connection, kind: str, name: str) -> UUID:
    """Return under which pseudonym the log of the principal's tenant speaks of a user or a thread."""
    parameters = {"tenant": principal().tenant, "kind": kind, "name": name.replace("\0", "")[:_LONGEST_NAME]}
    row = await (await connection.execute(_SQL.pseudonym, parameters)).fetchone()
    assert row is not None  # noqa: S101 - there is always a row
    return row[0]


def _columns(entry: AuditEntry) -> dict[str, str | int | bytes | datetime | None]:
    return {
        "tenant": entry.tenant, "seq": entry.seq, "at": entry.at, "actor": entry.actor, "key_id": entry.key_id,
        "action": entry.action, "object": entry.object, "details": entry.details, "payload_hash": entry.payload_hash,
        "mac_key": entry.mac_key, "previous": entry.previous, "hash": entry.hash,
    }  # fmt: skip
