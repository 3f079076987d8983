"""The audit log: written once, chained, and whatever is done to it afterwards shows."""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from outlast import telemetry
from outlast.domain.acting import Principal, across_tenants, acting_for
from outlast.domain.audit import Head, encoded_details, key_name, keyring
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.audit_reading import AuditQuery, AuditReader, AuditUpkeep
from outlast.storage.postgres.pool import Pool

KEY = b"the key of the audit log, 32 bytes"
KEYS = keyring(KEY, ())
ANN = Principal(tenant="default", user="ann@example.org", key_id="7f3a")


@pytest.fixture
def log(pool: Pool) -> AuditLog:
    return AuditLog(pool, KEY)


@pytest.fixture
def reader(pool: Pool) -> AuditReader:
    return AuditReader(pool)


async def forge(pool: Pool, statement: str, *parameters: object) -> None:
    """Do what somebody does who may do everything in the database, and does not have the key."""
    async with await psycopg.AsyncConnection.connect(pool.settings.url) as connection:
        await connection.execute("SET search_path = outlast; ALTER TABLE audit_log DISABLE TRIGGER USER")
        await connection.execute(statement.encode(), parameters)


async def problems(reader: AuditReader, *, kept: tuple[Head, ...] = ()) -> list[tuple[int, str]]:
    [verified] = await reader.verify(KEYS, kept=kept)
    return [(problem.seq, problem.kind) for problem in verified.problems]


async def three(log: AuditLog) -> None:
    for number in range(3):
        await log.record("key.created", f"key:{number}", {"scopes": number})


async def test_an_entry_says_who_did_what_to_which_thing(log, reader):
    with acting_for(ANN):
        await log.record("budget.raised", "budget:support", {"limit_micros": 5_000_000}, payload=b"arguments")
        [entry] = await reader.search(AuditQuery())
    assert (entry.actor, entry.key_id, entry.action, entry.object) == (
        "user:ann@example.org", "7f3a", "budget.raised", "budget:support"
    )  # fmt: skip
    assert entry.details == '{"limit_micros":5000000}'
    assert entry.payload_hash is not None


async def test_names_of_people_and_threads_are_stored_beside_the_log_and_can_be_forgotten(pool, log, reader):
    with acting_for(ANN):
        await log.record("data.exported", "thread:ann's own")
        first = await anext(reader.entries("default"))
    assert "ann" not in first.actor + first.object
    found = await reader.search(AuditQuery(actor="user:ann@example.org"))
    assert [entry.object for entry in found] == ["thread:ann's own"]

    await forge(pool, "DELETE FROM audit_names")
    [nameless] = await reader.search(AuditQuery())
    assert nameless.actor == first.actor
    assert await problems(reader) == []


async def test_addresses_and_names_in_details_are_pseudonyms_too(pool, log, reader):
    await log.record("key.refused", "address:192.0.2.1", {"user": "ann", "why": "expired"})
    stored = await anext(reader.entries("default"))
    assert "192.0.2.1" not in stored.object
    assert "ann" not in stored.details
    [shown] = await reader.search(AuditQuery(object="address:192.0.2.1"))
    assert (shown.object, shown.details) == ("address:192.0.2.1", '{"user":"ann","why":"expired"}')
    await forge(pool, "DELETE FROM audit_names")
    [nameless] = await reader.search(AuditQuery())
    assert nameless.details == stored.details


async def test_an_untouched_log_is_found_whole(log, reader):
    await three(log)
    [verified] = await reader.verify(KEYS)
    assert (verified.entries, verified.unsigned, verified.problems) == (3, 0, [])


async def test_the_database_refuses_to_change_or_delete_entries(pool, log):
    await three(log)
    for statement in ("UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        # By the table's owner; the roles that the program works as may not even try all of them.
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            async with pool.unscoped() as connection:
                await connection.execute(statement)


async def test_a_changed_entry_is_found_whatever_was_changed(pool, log, reader):
    await three(log)
    values = {
        "actor": "user:eve", "action": "key.kept", "object": "key:9", "details": "{}", "at": "2020-01-01",
        "key_id": "stolen", "payload_hash": "x",
    }  # fmt: skip
    for column, value in values.items():
        await forge(pool, f"CREATE TABLE kept AS SELECT {column} AS was FROM audit_log WHERE seq = 2")
        await forge(pool, f"UPDATE audit_log SET {column} = %s WHERE seq = 2", value)
        assert await problems(reader) == [(2, "changed")], column
        await forge(pool, f"UPDATE audit_log SET {column} = was FROM kept WHERE seq = 2")
        await forge(pool, "DROP TABLE kept")
    assert await problems(reader) == []


async def test_an_entry_that_is_left_out_is_found(pool, log, reader):
    await three(log)
    await forge(pool, "DELETE FROM audit_log WHERE seq = 2")
    assert await problems(reader) == [(3, "gap")]


async def test_entries_that_change_places_are_found(pool, log, reader):
    await three(log)
    await forge(
        pool,
        "UPDATE audit_log a SET action = 'moved', details = b.details, hash = b.hash FROM audit_log b"
        " WHERE a.seq = 2 AND b.seq = 3",
    )
    assert (2, "changed") in await problems(reader)


async def test_a_chain_written_anew_without_the_key_is_found(pool, log, reader):
    await three(log)
    forged = AuditLog(pool, b"another key that was made up by eve")
    await forge(pool, "DELETE FROM audit_log")
    await forge(pool, "DELETE FROM audit_heads")
    await three(forged)
    assert await problems(reader) == [(1, "unknown_key"), (2, "unknown_key"), (3, "unknown_key")]

    await forge(pool, "DELETE FROM audit_log")
    await forge(pool, "DELETE FROM audit_heads")
    await three(AuditLog(pool))
    assert await problems(reader) == [(3, "unsigned")]


async def test_an_unsigned_entry_after_signed_ones_is_found(pool, log, reader):
    await three(log)
    await AuditLog(pool).record("key.revoked", "key:1")
    assert await problems(reader) == [(4, "unsigned")]


async def test_entries_from_before_there_was_a_key_are_counted_and_no_problem(pool, log, reader):
    await three(AuditLog(pool))
    await log.record("key.revoked", "key:1")
    [verified] = await reader.verify(KEYS)
    assert (verified.unsigned, verified.problems) == (3, [])


async def test_entries_signed_with_a_former_key_are_verified_with_it(pool, log, reader):
    await three(log)
    new = b"the key that came after the first one"
    await AuditLog(pool, new).record("key.revoked", "key:1")
    [verified] = await reader.verify(keyring(new, [KEY]))
    assert verified.problems == []
    [without] = await reader.verify(keyring(new, ()))
    first = without.problems[0]
    assert (first.seq, first.kind) == (1, "unknown_key")


async def test_entries_that_are_cut_off_show_against_the_head(pool, log, reader):
    await three(log)
    await forge(pool, "DELETE FROM audit_log WHERE seq = 3")
    assert await problems(reader) == [(3, "cut_off")]


async def test_entries_cut_off_together_with_their_head_show_against_a_head_kept_elsewhere(pool, log, reader):
    await three(log)
    [kept] = await reader.heads()
    await forge(pool, "DELETE FROM audit_log WHERE seq = 3")
    await forge(pool, "UPDATE audit_heads h SET seq = 2, hash = l.hash FROM audit_log l WHERE l.seq = 2")
    assert await problems(reader) == []
    assert await problems(reader, kept=(kept,)) == [(3, "cut_off")]
    # Even once the log has grown over the place.
    await log.record("key.created", "key:new")
    assert await problems(reader, kept=(kept,)) == [(3, "changed")]


async def test_a_log_that_is_gone_altogether_shows_against_a_head_kept_elsewhere(pool, log, reader):
    await three(log)
    [kept] = await reader.heads()
    await forge(pool, "DELETE FROM audit_log")
    await forge(pool, "DELETE FROM audit_heads")
    assert await problems(reader, kept=(kept,)) == [(3, "cut_off")]


async def test_entries_written_at_the_same_time_stand_one_behind_the_other(pool, log, reader):
    other = AuditLog(pool, KEY)
    await asyncio.gather(*[each.record("key.created", f"key:{n}") for n in range(20) for each in (log, other)])
    [verified] = await reader.verify(KEYS)
    assert (verified.entries, verified.problems) == (40, [])


async def test_an_entry_of_a_transaction_that_fails_was_never_there(pool, log, reader):
    async def fail() -> None:
        async with pool.transaction() as connection:
            await log.record_in(connection, "key.created", "key:1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    await log.record("key.created", "key:2")
    [verified] = await reader.verify(KEYS)
    assert (verified.entries, verified.problems) == (1, [])


async def test_each_tenant_has_a_chain_of_its_own(log, reader):
    for tenant in ("acme", "umbrella"):
        with acting_for(tenant):
            await three(log)
    with across_tenants():
        found = await reader.verify(KEYS)
    assert [(each.tenant, each.entries, each.problems) for each in found] == [("acme", 3, []), ("umbrella", 3, [])]


async def test_what_outsiders_cause_is_sampled_and_the_rest_is_counted(log, reader):
    for _ in range(25):
        await log.sample("auth.failed", "address:192.0.2.1")
    assert len(await reader.search(AuditQuery(action="auth"))) == 10
    log._series["default", "auth.failed"].since -= 61
    await log.sample("auth.failed", "address:192.0.2.1")
    [newest, *_] = await reader.search(AuditQuery(action="auth.failed"))
    assert newest.details == '{"left_out":15}'


async def test_a_sample_that_cannot_be_written_fails_nobody(pool, log):
    await pool.close()
    await log.sample("auth.failed", "address:192.0.2.1")
    assert log._series["default", "auth.failed"].left_out == 1


async def test_old_entries_are_cut_off_at_the_beginning_and_the_rest_stays_whole(pool, log, reader):
    await three(log)
    upkeep = AuditUpkeep(pool, log)
    assert await upkeep.prune(age=timedelta(days=1), limit=100) == 0
    # The newest entry stays, or nothing would say where the chain was.
    assert await upkeep.prune(age=timedelta(0), limit=100) == 2
    [verified] = await reader.verify(KEYS)
    assert (verified.entries, verified.problems) == (2, [])
    assert [entry.action for entry in await reader.search(AuditQuery())] == ["audit.pruned", "key.created"]


async def test_a_beginning_that_was_cut_off_by_hand_is_found(pool, log, reader):
    await three(log)
    await forge(pool, "UPDATE audit_heads h SET base_seq = 1, base_hash = l.hash FROM audit_log l WHERE l.seq = 1")
    await forge(pool, "DELETE FROM audit_log WHERE seq = 1")
    assert await problems(reader) == [(2, "beginning")]


def test_an_entry_is_no_place_for_data():
    with pytest.raises(ValueError, match="characters"):
        encoded_details({"text": "x" * 5000})
    with pytest.raises(ValueError, match="bytes"):
        encoded_details({"body": b"x"})  # pyright: ignore[reportArgumentType]


def test_the_name_of_a_key_says_nothing_about_it():
    assert key_name(KEY) != key_name(KEY + b"x")
    assert len(key_name(KEY)) == 8
    assert key_name(b"") == ""


async def test_what_was_done_already_stays_done_without_an_entry(pool, log):
    lost: list[str] = []
    stop = telemetry.subscribe(lambda point, fields: lost.append(fields["action"]) if point == "audit.lost" else None)
    await pool.close()
    await log.note("run.answered", "run:1", payload=b"yes")
    stop()
    assert lost == ["run.answered"]
