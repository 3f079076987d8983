"""API keys in the database."""

import asyncio
from datetime import timedelta

import pytest

from outlast.domain.acting import acting_for
from outlast.domain.api_key import parse
from outlast.errors import Conflict, NotFound
from outlast.storage.postgres.api_keys import ApiKeyStore

DAY = timedelta(days=1)
SCOPES = frozenset({"runs:read"})


@pytest.fixture
def store(pool):
    return ApiKeyStore(pool)


async def test_a_key_opens_what_it_was_made_for(store):
    with acting_for("acme"):
        key, minted = await store.create(scopes=SCOPES, user="ann", name="ci", lifetime=DAY)
    assert (key.state, key.user, key.name, key.scopes) == ("live", "ann", "ci", SCOPES)
    record = await store.opened_by(key.key_id)
    assert record is not None
    presented = parse(minted.text)
    assert presented is not None
    assert presented.matches(record.digest)
    assert (record.user, record.scopes, record.revoked) == ("ann", SCOPES, False)
    assert DAY.total_seconds() - 60 < (record.seconds_left or 0) <= DAY.total_seconds()


async def test_no_column_holds_the_secret(store, pool):
    _, minted = await store.create(scopes=SCOPES)
    secret = minted.text.split("_", 2)[2]
    async with pool.connection() as connection:
        rows = await (await connection.execute(b"SELECT k::text FROM api_keys k", {})).fetchall()
    assert rows
    assert not any(secret in row[0] or secret.encode().hex() in row[0] for row in rows)


async def test_a_revoked_key_is_revoked_once_and_for_ever(store):
    key, _ = await store.create(scopes=SCOPES)
    first = await store.revoke(key.key_id)
    again = await store.revoke(key.key_id)
    assert first.state == again.state == "revoked"
    assert first.revoked_at == again.revoked_at
    record = await store.opened_by(key.key_id)
    assert record is not None
    assert record.revoked
    assert key.key_id not in {known.key_id for known in await store.listed()}
    assert key.key_id in {known.key_id for known in await store.listed(everything=True)}


async def test_an_expired_key_says_so(store):
    key, _ = await store.create(scopes=SCOPES, lifetime=timedelta(seconds=-1))
    assert (await store.one(key.key_id)).state == "expired"
    record = await store.opened_by(key.key_id)
    assert record is not None
    assert record.seconds_left is not None
    assert record.seconds_left < 0


async def test_two_live_keys_while_one_takes_the_place_of_the_other(store):
    old, _ = await store.create(scopes=SCOPES, user="ann", name="ci", lifetime=DAY * 30)
    new, _ = await store.rotate(old.key_id, grace=DAY)
    assert (new.user, new.name, new.scopes, new.state) == ("ann", "ci", SCOPES, "live")
    assert new.expires_at is not None
    assert new.expires_at - new.created_at > DAY * 29
    left = await store.one(old.key_id)
    assert (left.state, left.replaced_by) == ("live", new.key_id)
    assert left.expires_at is not None
    assert left.expires_at - new.created_at < DAY * 1.01


async def test_replacing_never_makes_a_key_live_longer(store):
    old, _ = await store.create(scopes=SCOPES, lifetime=timedelta(hours=1))
    await store.rotate(old.key_id, grace=DAY)
    assert (await store.one(old.key_id)).expires_at == old.expires_at


async def test_a_key_has_one_successor_however_many_ask(store):
    old, _ = await store.create(scopes=SCOPES)
    found = await asyncio.gather(*(store.rotate(old.key_id, grace=DAY) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in found) == 3
    assert len(await store.listed()) == 2


async def test_a_key_that_is_not_live_is_not_replaced(store):
    revoked, _ = await store.create(scopes=SCOPES)
    await store.revoke(revoked.key_id)
    with pytest.raises(Conflict, match="revoked"):
        await store.rotate(revoked.key_id, grace=DAY)
    with pytest.raises(NotFound):
        await store.rotate("nosuchkey", grace=DAY)


async def test_an_unknown_key_opens_nothing_and_its_text_is_not_repeated(store):
    assert await store.opened_by("a" * 16) is None
    whole = f"ok_{'a' * 16}_{'S' * 43}"
    with pytest.raises(NotFound) as refused:
        await store.revoke(whole)
    assert "SSSS" not in str(refused.value)


async def test_a_key_may_be_named_by_its_whole_text(store):
    key, minted = await store.create(scopes=SCOPES)
    assert (await store.revoke(minted.text)).key_id == key.key_id


@pytest.mark.parametrize("text", ["", "\0", "a" * 15, "A" * 16, "a" * 16 + "\n"])
async def test_what_cannot_be_a_key_is_none(store, text):
    with pytest.raises(NotFound):
        await store.one(text)


async def test_the_last_use_is_written_now_and_then(store):
    key, _ = await store.create(scopes=SCOPES)
    assert (await store.one(key.key_id)).last_used_at is None
    await store.used(key.key_id)
    first = (await store.one(key.key_id)).last_used_at
    await store.used(key.key_id)
    assert first is not None
    assert (await store.one(key.key_id)).last_used_at == first
