"""API keys as a process knows them."""

import asyncio
from datetime import timedelta

import pytest

from outlast.domain.acting import Principal, acting_for
from outlast.domain.api_key import parse
from outlast.errors import DatabaseUnavailable
from outlast.refusals import RateLimited
from outlast.server.auth.keyring import KeyRing
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.api_keys import ApiKeyStore
from outlast.storage.postgres.pool import Pool
from waiting import until

SCOPES = frozenset({"runs:read"})


class Counting(ApiKeyStore):
    """Counts what costs a query."""

    asked = 0

    async def opened_by(self, key_id):
        self.asked += 1
        return await super().opened_by(key_id)


@pytest.fixture
def store(pool):
    return Counting(pool)


def never():
    raise RateLimited("too often", rule="1/minute", retry_after=1, limit=1, window=60)


async def made(store, **more):
    with acting_for("acme"):
        key, minted = await store.create(scopes=SCOPES, user="ann", **more)
    presented = parse(minted.text)
    assert presented is not None
    return key.key_id, presented


async def opens(ring, presented, may_ask=lambda: None):
    return (await ring.check(presented, may_ask=may_ask)).caller


async def test_a_key_is_its_tenant_its_user_and_its_scopes(store):
    key_id, presented = await made(store)
    caller = await opens(KeyRing(store, seconds=3), presented)
    assert caller is not None
    assert caller.principal == Principal(tenant="acme", user="ann", key_id=key_id, scopes=SCOPES)
    assert caller.user.to_json()["identity"] == "ann"
    assert caller.user.given["key_id"] == key_id


async def test_a_key_that_is_warm_costs_no_query(store):
    _, presented = await made(store)
    ring = KeyRing(store, seconds=3)
    callers = await asyncio.gather(*(opens(ring, presented) for _ in range(50)))
    assert all(callers)
    assert store.asked == 1
    for _ in range(50):
        assert await opens(ring, presented)
    assert store.asked == 1


async def test_a_revoked_key_opens_nothing_within_the_time_of_the_cache(store):
    key_id, presented = await made(store)
    rings = [KeyRing(store, seconds=0.2) for _ in range(2)]
    for ring in rings:
        assert await opens(ring, presented)
    with acting_for("acme"):
        await store.revoke(key_id)

    async def shut() -> bool:
        return not any([await opens(ring, presented) for ring in rings])

    await until(shut, 5.0, "a revoked key opens something for longer than five seconds")
    assert "revoked" in (await rings[0].check(presented, may_ask=never)).refusal


async def test_a_key_ends_when_it_says_and_not_when_the_cache_does(store):
    _, presented = await made(store, lifetime=timedelta(milliseconds=150))
    ring = KeyRing(store, seconds=3600)
    checked = await ring.check(presented, may_ask=lambda: None)

    async def over() -> bool:
        return await opens(ring, presented) is None

    await until(over, 5.0, "an expired key opens something")
    assert checked.tenant == "acme"
    assert store.asked == 1


async def test_another_secret_for_a_known_key_opens_nothing(store):
    _, right = await made(store)
    _, other = await made(store)
    ring = KeyRing(store, seconds=3)
    assert await opens(ring, right)
    mixed = type(right)(right.key_id, other.digest)
    checked = await ring.check(mixed, may_ask=lambda: None)
    assert checked.caller is None
    assert checked.tenant == "acme", "its owner may be told"
    assert "no such" in checked.refusal


async def test_a_key_that_has_proven_itself_is_looked_up_whatever_its_address_does(store):
    _, presented = await made(store)
    ring = KeyRing(store, seconds=0)
    assert await opens(ring, presented)
    assert await opens(ring, presented, may_ask=never)
    _, cold = await made(store)
    before = store.asked
    with pytest.raises(RateLimited):
        await opens(ring, cold, may_ask=never)
    assert store.asked == before


async def test_while_the_database_is_away_a_key_is_not_wrong(store):
    _, presented = await made(store)
    nowhere = Pool(
        DatabaseSettings(url="postgresql://127.0.0.1:1/none", pool_timeout_seconds=0.1), application_name="test"
    )
    with pytest.raises(DatabaseUnavailable):
        await opens(KeyRing(ApiKeyStore(nowhere), seconds=3), presented)


async def test_who_leaves_while_a_key_is_looked_up_takes_nothing_from_the_others(store):
    _, presented = await made(store)
    ring = KeyRing(store, seconds=3)
    first = asyncio.create_task(opens(ring, presented))
    second = asyncio.create_task(opens(ring, presented))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert store.asked == 1


async def test_the_last_use_is_written_once(store):
    key_id, presented = await made(store)
    ring = KeyRing(store, seconds=3)
    await opens(ring, presented)
    with acting_for("acme"):
        first = (await store.one(key_id)).last_used_at
        await opens(ring, presented)
        assert first is not None
        assert (await store.one(key_id)).last_used_at == first
