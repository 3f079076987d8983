"""API keys as a process knows them: asked for in the database, and believed for a few seconds.

A key that is warm costs no query. One that is revoked is refused as soon as what was read of it is too old: within
`auth.key_cache` (at most 5 s) everywhere, without anybody telling the processes.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from outlast.domain.acting import Principal
from outlast.domain.api_key import Presented
from outlast.errors import DatabaseUnavailable
from outlast.server.auth.users import Caller, known_user
from outlast.storage.postgres.api_keys import ApiKeyStore, KeyRecord

T = TypeVar("T")
_MOST: Final = 10_000
# Of a key that nobody has: compared all the same.
_NO_DIGEST: Final = bytes(32)


@dataclass(slots=True)
class _Known:
    """What was read of a key, until when that is believed, and when the key itself ends."""

    record: KeyRecord | None
    caller: Caller | None
    until: float
    ends: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What a key opens, or why it does not; `tenant` is whose key it is, also then."""

    caller: Caller | None
    refusal: str = ""
    tenant: str | None = None


class KeyRing:
    """The keys of all tenants that are used in this process."""

    def __init__(self, store: ApiKeyStore, *, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._known: OrderedDict[str, _Known] = OrderedDict()
        # Those that have opened something here: they are looked up again, whatever else their address sends.
        self._proven: OrderedDict[str, None] = OrderedDict()
        self._loading: dict[str, asyncio.Task[_Known]] = {}

    async def check(self, presented: Presented, *, may_ask: Callable[[], None]) -> Checked:
        """Return what the key opens; `may_ask` is asked before the database is, for a key that has not proven itself.

        Raises what `may_ask` raises, and DatabaseUnavailable: a key that cannot be looked up is not a wrong one.
        """
        known = self._fresh(presented.key_id)
        if known is None:
            if presented.key_id not in self._proven:
                may_ask()
            known = await self._loaded(presented.key_id)
        record = known.record
        right = presented.matches(_NO_DIGEST if record is None else record.digest)
        if record is None or not right:
            return Checked(None, "there is no such API key", None if record is None else record.tenant)
        if record.revoked:
            return Checked(None, f"API key {presented.key_id} is revoked; use another one", record.tenant)
        if known.ends <= time.monotonic():
            return Checked(None, f"API key {presented.key_id} has expired; use another one", record.tenant)
        _remember(self._proven, presented.key_id, None)
        await self._use(presented.key_id, known)
        return Checked(known.caller, tenant=record.tenant)

    def _fresh(self, key_id: str) -> _Known | None:
        known = self._known.get(key_id)
        if known is None or known.until <= time.monotonic():
            return None
        self._known.move_to_end(key_id)
        return known

    async def _loaded(self, key_id: str) -> _Known:
        """Ask the database, once for all requests that wait for the same key."""
        task = self._loading.get(key_id)
        if task is None:
            task = self._loading[key_id] = asyncio.create_task(self._load(key_id), name=f"key {key_id}")
            task.add_done_callback(lambda done: self._forget(key_id, done))
        # A client that leaves takes nothing from the others.
        return await asyncio.shield(task)

    def _forget(self, key_id: str, done: "asyncio.Task[_Known]") -> None:
        del self._loading[key_id]
        if not done.cancelled():
            # Also where nobody waits any more.
            done.exception()

    async def _load(self, key_id: str) -> _Known:
        # Before it was asked: what it says may be as old as this.
        asked_at = time.monotonic()
        record = await self._store.opened_by(key_id)
        left = None if record is None else record.seconds_left
        known = _Known(
            record,
            None if record is None else _caller(key_id, record),
            until=asked_at + self._seconds,
            ends=float("inf") if left is None else asked_at + left,
        )
        _remember(self._known, key_id, known)
        return known

    async def _use(self, key_id: str, known: _Known) -> None:
        if known.record is None or not known.record.rested:
            return
        known.record = replace(known.record, rested=False)
        # That it was used is worth less than the request.
        with suppress(DatabaseUnavailable):
            await self._store.used(key_id)


def _remember(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)


def _caller(key_id: str, record: KeyRecord) -> Caller:
    who = Principal(tenant=record.tenant, user=record.user, key_id=key_id, scopes=record.scopes)
    return Caller(known_user(who, identity=record.user or f"key:{key_id}"), who)
