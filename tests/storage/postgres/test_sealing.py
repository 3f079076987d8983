"""What is sealed opens where it belongs, and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from outlast.domain.acting import across_tenants, acting_for
from outlast.errors import ConfigurationError, DatabaseUnavailable, Undecipherable
from outlast.secret import Secret
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.data_keys import DataKeys, opened_keys
from outlast.storage.postgres.item_matching import meets
from outlast.storage.postgres.items import Condition
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.master_keys import MasterKeys
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.sealed_columns import PLAIN, TABLES, TRANSIENT
from outlast.storage.postgres.sealing import OFF, Place, Sealed, key_of, of_text

NEW, OLD = (
    Secret("bmV3LW1hc3Rlci1rZXktb2YtMzItYnl0ZXMtMDEyMzQ="),
    Secret("6f6c642d6d61737465722d6b65792d6f662d33322d62797465732d3031323334"),
)
HERE, THERE = Place("here"), Place("there")
ROW, OTHER = uuid4(), uuid4()


class OpenKeys:
    """Opens keys that share nothing but the database, as those of several processes do."""

    def __init__(self, pool: Pool, stack: AsyncExitStack) -> None:
        self._pool = pool
        self._stack = stack

    async def __call__(self, master: Any = None, *, refresh: float = 0.0) -> DataKeys:
        opening = opened_keys(self._pool, master or MasterKeys(NEW), refresh=timedelta(seconds=refresh))
        keys = await self._stack.enter_async_context(opening)
        await keys.begin(with_content=None)
        return keys


@pytest.fixture
async def open_keys(pool: Pool) -> AsyncIterator[OpenKeys]:
    async with AsyncExitStack() as stack:
        yield OpenKeys(pool, stack)


@pytest.fixture
async def sealing(open_keys: OpenKeys) -> Sealed:
    return Sealed(await open_keys())


async def test_content_comes_back_and_is_not_to_be_seen(sealing: Sealed) -> None:
    sealed = await sealing.seal(HERE, b"the content", ROW, "ns", 3, None)
    text = await sealing.seal_text(HERE, "a \ud800 text", ROW)
    value = await sealing.seal_json(HERE, {"a": ["content", 1.5, None]}, ROW)

    assert b"content" not in (sealed or b"")
    assert await sealing.open(HERE, sealed, ROW, "ns", 3, None) == b"the content"
    assert await sealing.open_text(HERE, text, ROW) == "a \ud800 text"
    assert await sealing.open_json(HERE, value, ROW) == {"a": ["content", 1.5, None]}
    assert [await sealing.seal(HERE, None), await sealing.open(HERE, None), await sealing.open_text(HERE, None)] == [
        None
    ] * 3
    assert sealed != await sealing.seal(HERE, b"the content", ROW, "ns", 3, None)


async def test_a_question_keeps_its_id_and_hides_what_it_asks(sealing: Sealed) -> None:
    asked = [{"id": "q1", "value": "may I?", "ns": ["a"]}]
    sealed = await sealing.seal_questions(HERE, asked, ROW)

    assert [question["id"] for question in sealed or ()] == ["q1"]
    assert "may I" not in str(sealed)
    assert await sealing.open_questions(HERE, sealed, ROW) == asked
    assert await sealing.open_questions(HERE, [{"id": "q1"}], ROW) == [{"id": "q1"}]


@pytest.mark.parametrize("identity", [(OTHER,), (ROW, ""), (), (str(ROW),)])
async def test_content_that_is_moved_to_another_row_does_not_open(sealing: Sealed, identity: tuple[Any, ...]) -> None:
    sealed = await sealing.seal(HERE, b"x", ROW)

    with pytest.raises(Undecipherable, match="belongs to another row"):
        await sealing.open(HERE, sealed, *identity)


async def test_content_that_is_moved_to_another_column_or_changed_does_not_open(sealing: Sealed) -> None:
    sealed = await sealing.seal(HERE, b"x", ROW) or b""

    with pytest.raises(Undecipherable, match="there of"):
        await sealing.open(THERE, sealed, ROW)
    with pytest.raises(Undecipherable, match="was changed"):
        await sealing.open(HERE, sealed[:-1] + bytes([sealed[-1] ^ 1]), ROW)


async def test_a_key_that_is_given_to_another_tenant_opens_nothing(
    pool: Pool, open_keys: OpenKeys, sealing: Sealed
) -> None:
    with acting_for("acme"):
        sealed = await sealing.seal(HERE, b"x", ROW)
    with across_tenants():
        async with pool.transaction() as connection:
            await connection.execute("UPDATE data_keys SET tenant = 'evil' WHERE tenant = 'acme'")

    with pytest.raises(Undecipherable, match="belongs to another tenant"):
        await Sealed(await open_keys()).open(HERE, sealed, ROW)


async def test_tenants_have_keys_of_their_own(open_keys: OpenKeys, sealing: Sealed) -> None:
    with acting_for("acme"):
        one = await sealing.seal(HERE, b"x", ROW) or b""
    with acting_for("globex"):
        other = await sealing.seal(HERE, b"x", ROW) or b""
        assert await Sealed(await open_keys()).open(HERE, one, ROW) == b"x"

    assert key_of(one) != key_of(other)


@pytest.mark.parametrize("plain", [b"plain", b"", b"\xc1\x01", b"\xc1\x01 and too short"])
async def test_plain_content_is_refused(sealing: Sealed, plain: bytes) -> None:
    with pytest.raises(Undecipherable, match="is not encrypted"):
        await sealing.open(HERE, plain, ROW)


async def test_plain_texts_and_values_are_refused(sealing: Sealed) -> None:
    for opening in (
        sealing.open_text(HERE, "plain", ROW), sealing.open_text(HERE, "sealed:plain", ROW),
        sealing.open_json(HERE, {"a": 1}, ROW), sealing.open_json(HERE, "sealed:AAAA", ROW),
        sealing.open_questions(HERE, [{"id": "q", "value": 1}], ROW),
    ):  # fmt: skip
        with pytest.raises(Undecipherable, match="is not encrypted"):
            await opening


async def test_processes_that_begin_together_share_the_keys(open_keys: OpenKeys) -> None:
    keys = [await open_keys() for _ in range(3)]

    assert len({(await one.active("acme")).id for one in keys}) == 1


async def test_after_a_rotation_what_is_new_has_the_new_key_and_what_is_old_still_opens(open_keys: OpenKeys) -> None:
    first, second = await open_keys(), await open_keys()
    old = await Sealed(second).seal(HERE, b"x", ROW) or b""

    assert await first.rotate() == ["", "default"]
    new = await Sealed(second).seal(HERE, b"y", ROW) or b""

    assert key_of(new) == (await first.active("default")).id != key_of(old)
    assert await Sealed(await open_keys()).open(HERE, old, ROW) == b"x"


async def test_a_new_master_key_wraps_all_keys_anew_and_the_old_one_is_not_needed_any_more(open_keys: OpenKeys) -> None:
    sealed = await Sealed(await open_keys(MasterKeys(OLD))).seal(HERE, b"x", ROW)
    both = await open_keys(MasterKeys(NEW, [OLD]))
    with pytest.raises(Undecipherable, match="add it to encryption"):
        await Sealed(await open_keys(MasterKeys(NEW))).open(HERE, sealed, ROW)

    assert [row.foreign for row in await both.counts()] == [1, 1]
    assert await both.rewrap() == 2
    assert await both.rewrap() == 0

    assert await Sealed(await open_keys(MasterKeys(NEW))).open(HERE, sealed, ROW) == b"x"


async def test_what_a_destroyed_key_has_sealed_is_gone_and_new_content_gets_a_new_key(
    open_keys: OpenKeys, sealing: Sealed
) -> None:
    other = Sealed(await open_keys())
    with acting_for("acme"):
        sealed = await other.seal(HERE, b"x", ROW)

        assert await sealing.destroy("acme") == 1
        for knowing in (sealing, other):
            with pytest.raises(Undecipherable, match="which is gone"):
                await knowing.open(HERE, sealed, ROW)
        assert await other.open(HERE, await sealing.seal(HERE, b"y", ROW), ROW) == b"y"


async def test_a_key_service_that_is_away_is_an_outage_and_no_damage(open_keys: OpenKeys) -> None:
    class Away(MasterKeys):
        away = False

        async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
            if self.away:
                raise ConnectionError
            return await super().unwrap(wrapped, context=context)

    master = Away(NEW)
    sealed = await Sealed(await open_keys(master)).seal(HERE, b"x", ROW)
    later = Sealed(await open_keys(master))
    master.away = True
    with pytest.raises(DatabaseUnavailable, match="does not unwrap a key"):
        await later.open(HERE, sealed, ROW)
    master.away = False
    assert await later.open(HERE, sealed, ROW) == b"x"


async def test_what_cannot_wait_is_sealed_at_once(open_keys: OpenKeys, sealing: Sealed) -> None:
    with acting_for("acme"):
        theirs = await Sealed(await open_keys()).seal(HERE, b"", ROW) or b""
    await sealing.ready_like(theirs)
    with acting_for("acme"):
        assert key_of(sealing.seal_now(HERE, b"x", ROW)) == key_of(theirs)
    with acting_for("stranger"):
        assert await sealing.open(HERE, sealing.seal_now(HERE, b"y", ROW), ROW) == b"y"


@pytest.mark.parametrize("key", ["a-pass-word", "", "A" * 44, "00" * 32, "c2hvcnQ="])
def test_a_weak_master_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError, match="32 random bytes") as caught:
        MasterKeys(Secret(key))
    assert not key or key not in str(caught.value)


async def test_without_encryption_everything_stays_as_it_is() -> None:
    assert await OFF.seal(HERE, b"x", ROW) == b"x" == await OFF.open(HERE, b"x", ROW) == OFF.seal_now(HERE, b"x")
    assert await OFF.seal_json(HERE, {"a": 1}) == {"a": 1} == await OFF.open_json(HERE, {"a": 1})
    assert of_text("plain") is None


async def test_every_column_that_can_hold_content_is_sealed_or_stays_readable_for_a_reason(
    database_of_module: DatabaseSettings,
) -> None:
    pool = Pool(database_of_module, application_name="columns")
    await pool.open()
    async with pool.transaction() as connection:
        rows = await (
            await connection.execute(
                "SELECT table_name, column_name FROM information_schema.columns "
                "WHERE table_schema = current_schema() AND column_name <> 'tenant' "
                "AND data_type IN ('bytea', 'jsonb', 'json', 'text', 'character varying')"
            )
        ).fetchall()
    await pool.close()
    sealed = {(table.table, column) for table in TABLES for column in table.columns}
    sealed |= {(table, column) for table, columns in TRANSIENT.items() for column in columns}
    plain = {(table, column) for table, columns in PLAIN.items() for column in columns}
    unknown = {(table, column) for table, column in rows if not {(table, column), (table, "*")} & (sealed | plain)}

    assert unknown == set(), "add them to storage/postgres/sealed_columns.py"
    assert sealed <= set(rows)
    assert not sealed & plain


class _Dice:
    """Makes values and filters, by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def value(self, depth: int = 2) -> Any:
        kind = self._random.randrange(8 if depth else 6)
        if kind == 6:
            return [self.value(depth - 1) for _ in range(self._random.randrange(3))]
        if kind == 7:
            return self.mapping(depth - 1)
        return self._random.choice([None, True, False, 0, 1, -2, 0.5, 1.0, "", "a", "b", "\u00e4"])

    def mapping(self, depth: int = 2) -> dict[str, Any]:
        return {key: self.value(depth) for key in "abc" if self._random.random() < 0.5}

    def condition(self) -> Condition:
        path = tuple(self._random.choice(["a", "b", "0", "-1"]) for _ in range(self._random.choice([1, 1, 2])))
        operator = self._random.choice(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
        return Condition(path, operator, self.value(1))


async def test_a_filter_means_the_same_where_the_database_cannot_look_into_items(
    database_of_module: DatabaseSettings,
) -> None:
    dice = _Dice(7)
    cases = [(dice.mapping(), dice.mapping(1), dice.condition()) for _ in range(4000)]
    parameters = [
        jsonb([[value, contains, [condition._asdict()]] for value, contains, condition in cases])
    ]  # fmt: skip
    pool = Pool(database_of_module, application_name="filters", size=1)
    await pool.open()
    async with pool.transaction() as connection:
        rows = await (
            await connection.execute(
                "SELECT c -> 0 @> (c -> 1), store_item_matches(c -> 0, c -> 2) "
                "FROM jsonb_array_elements(%s) WITH ORDINALITY AS t (c, n) ORDER BY n", parameters,
            )
        ).fetchall()  # fmt: skip
    await pool.close()

    found = [
        (meets(value, contains, []), meets(value, None, [condition])) for value, contains, condition in cases
    ]  # fmt: skip
    assert found == rows


def test_keys_of_rows_are_what_identifies_their_content() -> None:
    assert all({*table.identity} <= table.key.keys() for table in TABLES)
