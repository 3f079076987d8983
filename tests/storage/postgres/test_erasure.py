"""What is erased is gone from every table, and stays gone."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from outlast.agents.checkpoints import erasing
from outlast.domain.acting import Principal, acting_for
from outlast.domain.audit import keyring
from outlast.domain.erasure import Scope, Subject
from outlast.errors import Conflict, InvalidInput, LeaseLost
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.audit_reading import AuditQuery, AuditReader
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.erasure import Erasure
from outlast.storage.postgres.erasure_rules import RULES
from outlast.storage.postgres.items import ItemStore, ItemWrite, Place, path_of
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.threads import ThreadStore
from planted_rows import holding, insert, plant, tables

KEY = b"the key of the audit log, 32 bytes"
ANN, CANARY = "ann-7d1f", "canary-5e8b"
USER = Subject(scope=Scope.USER, name=ANN)
THREAD = Subject(scope=Scope.THREAD, name="ann-7d1f's thread")
TENANT = Subject(scope=Scope.TENANT, name="default")
#: Nothing of one person's can be in these; what keeps rows says why in its rule.
NOT_PLANTED = {rule.table for rule in RULES if rule.how == "keep"} | {"data_keys", "audit_names"}


@pytest.fixture
def audit(pool: Pool) -> AuditLog:
    return AuditLog(pool, KEY)


@pytest.fixture
def erasure(pool: Pool, audit: AuditLog) -> Erasure:
    return Erasure(pool, ThreadStore(pool, erasing), audit)


async def plant_ann(pool: Pool, **more: str) -> UUID:
    return await plant(pool, user=ANN, thread_id=THREAD.name, canary=CANARY, **more)


async def count(pool: Pool, statement: str) -> int:
    async with pool.transaction() as connection:
        row = await (await connection.execute(statement.encode())).fetchone()
    assert row is not None
    return row[0]


async def test_every_table_has_a_rule(pool):
    assert sorted({rule.table for rule in RULES}) == await tables(pool)
    assert len({rule.table for rule in RULES}) == len(RULES)


async def test_every_table_that_can_hold_something_personal_is_planted(pool):
    await plant_ann(pool)
    empty = [table for table in await tables(pool) if not await count(pool, f"SELECT count(*) FROM {table}")]
    assert set(empty) - {"schema_migrations"} <= NOT_PLANTED


async def test_nothing_of_a_user_is_found_in_any_table_afterwards(pool, erasure):
    await plant_ann(pool)
    await plant(pool, user="eve", thread_id="eve's", canary="another")
    before = await holding(pool, "another")

    receipt = await erasure.erase(USER)

    # Names of tools and agents are the project's, whoever has used them.
    assert await holding(pool, CANARY) == {"switches": 1, "usage_days": 1}
    assert await holding(pool, ANN) == {}
    assert receipt.ended_at is not None
    assert receipt.removed["run_details"] == receipt.removed["usage_days"] == 1
    after = await holding(pool, "another")
    # A cache knows no users.
    assert {**after, "call_cache": 1} == before


async def test_what_a_user_has_spent_stays_in_the_sums_without_the_name(pool, erasure):
    await plant_ann(pool)
    await erasure.erase(USER)
    assert await count(pool, "SELECT sum(cost_micros)::int FROM call_usage") == 350
    assert await count(pool, "SELECT cost_micros::int FROM usage_days") == 14
    assert await count(pool, "SELECT count(*) FROM usage_days WHERE user_id IS NOT NULL") == 0


async def test_an_effect_that_may_be_applied_once_is_remembered_without_its_content(pool, erasure):
    await plant_ann(pool)
    await erasure.erase(USER)
    assert await count(pool, "SELECT count(*) FROM effects WHERE state = 'done' AND body IS NULL") == 1


async def test_a_thread_is_erased_and_other_threads_of_the_same_user_stay(pool, erasure):
    await plant_ann(pool)
    await plant(pool, user=ANN, thread_id="second", canary="other-canary")

    await erasure.erase(THREAD)

    # What is not in a thread belongs to the user.
    elsewhere = {
        "api_keys", "assistant_versions", "assistants", "budgets", "budget_counters", "crons", "store_items",
        "store_vectors", "switches", "usage_days",
    }  # fmt: skip
    assert set(await holding(pool, CANARY)) == elsewhere
    assert await holding(pool, THREAD.name) == {}
    assert "checkpoints" in await holding(pool, "other-canary")


async def test_everything_of_a_tenant_goes(pool, erasure):
    await plant_ann(pool)
    await plant(pool, user="eve", thread_id="eve's", canary=f"eve's {CANARY}")

    receipt = await erasure.erase(TENANT)

    assert await holding(pool, CANARY) == {}
    assert await holding(pool, ANN) == {}
    assert receipt.subject == "default"
    kept = {rule.table for rule in RULES if rule.outlives_tenant}
    for table in set(await tables(pool)) - kept:
        assert await count(pool, f"SELECT count(*) FROM {table} WHERE tenant = 'default'") == 0, table


async def test_namespaces_that_were_named_are_erased_with_everything_below_them(pool, erasure):
    async with pool.transaction() as connection:
        for namespace in (("notes", "a", "b"), ("notes", "ab"), ("notes",)):
            await insert(connection, "store_items", {"path": path_of(namespace), "key": "k", "value": "{}"})
    await erasure.erase(Subject(scope=Scope.USER, name=ANN, namespaces=(("notes", "a"),)))
    assert await count(pool, "SELECT count(*) FROM store_items") == 2


async def test_a_plan_counts_and_changes_nothing(pool, erasure):
    await plant_ann(pool)
    before = await holding(pool, CANARY)
    plan = await erasure.plan(USER)
    assert plan["run_details"] == plan["checkpoints"] == plan["store_items"] == plan["usage_days"] == 1
    assert await holding(pool, CANARY) == before
    assert await erasure.receipts() == []


async def test_a_receipt_is_kept_and_names_nobody(pool, erasure, audit):
    await plant_ann(pool)
    with acting_for(Principal(user="operator")):
        receipt = await erasure.erase(USER)
    assert await erasure.receipts() == [receipt]
    assert ANN not in str(receipt.as_json())
    assert receipt.asked_by.startswith("user:")
    with acting_for("default"):
        [entry] = await AuditReader(pool).search(AuditQuery(action="data.erased"))
    # Nobody can say any more who that was.
    assert entry.object == f"user:{receipt.subject}"
    assert entry.actor == "user:operator"
    [verified] = await AuditReader(pool).verify(keyring(KEY, ()))
    assert verified.problems == []


async def test_a_run_that_is_being_executed_is_refused_everything_afterwards(pool, erasure):
    run = await plant_ann(pool, status="running")
    await erasure.erase(USER)
    assert await count(pool, f"SELECT count(*) FROM runs WHERE id = '{run}'") == 0
    assert await count(pool, "SELECT count(*) FROM threads WHERE deleted_at IS NOT NULL AND thread_id = ''") == 1


async def test_somebody_who_writes_faster_than_it_is_erased_is_reported(pool, audit):
    async def write() -> int:
        async with pool.transaction() as connection:
            await insert(connection, "store_items", {"path": path_of((ANN,)), "key": "k", "value": "{}"})
        return 0

    await plant_ann(pool)
    erasure = Erasure(pool, ThreadStore(pool, erasing), audit, forget_cache=write)
    with pytest.raises(Conflict, match=r"store_items \(1\)"):
        await erasure.erase(USER)
    [receipt] = await erasure.receipts()
    assert receipt.ended_at is None


async def test_an_erasure_that_was_interrupted_is_finished(pool, erasure, audit):
    await plant_ann(pool)

    async def fail() -> int:
        raise ConnectionError

    interrupted = Erasure(pool, ThreadStore(pool, erasing), audit, forget_cache=fail)
    with pytest.raises(ConnectionError):
        await interrupted.erase(Subject(scope=Scope.USER, name=ANN, namespaces=(("notes", "a"),)))
    assert await holding(pool, ANN) != {}

    assert await erasure.resume(age=timedelta(hours=1)) == 0
    assert await erasure.resume(age=timedelta(0)) == 1
    assert await holding(pool, ANN) == {}
    [receipt] = await erasure.receipts()
    assert receipt.ended_at is not None
    assert await erasure.resume(age=timedelta(0)) == 0


async def test_a_tenant_cannot_erase_another_one(erasure):
    with pytest.raises(InvalidInput, match="acts for tenant"):
        await erasure.erase(Subject(scope=Scope.TENANT, name="acme"))


async def test_what_a_node_of_an_erased_run_writes_into_the_store_is_refused(pool, erasure):
    run = await plant_ann(pool, status="running")
    items = ItemStore(pool)
    write, fence = ItemWrite(place=Place(("users", ANN), "late"), value=b"{}"), Fence(run_id=run, epoch=1)
    await items.write([write], fence=fence)
    await erasure.erase(USER)

    with pytest.raises(LeaseLost):
        await items.write([write], fence=fence)

    assert await holding(pool, ANN) == {}


async def test_a_write_into_the_store_and_an_erasure_at_the_same_time_leave_nothing(pool, erasure):
    run = await plant_ann(pool, status="running")
    items = ItemStore(pool)
    write = ItemWrite(place=Place(("users", ANN), "late"), value=b"{}")

    async def write_on() -> None:
        while True:
            await items.write([write], fence=Fence(run_id=run, epoch=1))

    writing = asyncio.create_task(write_on())
    await erasure.erase(USER)
    with pytest.raises(LeaseLost):
        await writing
    assert await holding(pool, ANN) == {}
