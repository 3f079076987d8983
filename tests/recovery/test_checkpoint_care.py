"""How many checkpoints there are, and which histories a cleanup ends."""

from datetime import UTC, datetime, timedelta

import pytest

from outlast.domain.acting import acting_for
from outlast.domain.dead_letter import DeadLetterQuery
from outlast.errors import InvalidInput

OLD = timedelta(days=30)


@pytest.fixture
def care(shop):
    return shop.runtime.recovery_desk().checkpoints


async def succeeded(shop, thread_id: str) -> None:
    run_id = await shop.start("book", thread_id=thread_id)
    assert (await shop.end(run_id)).status == "succeeded"


async def age(shop, *threads: str, days: int = 31) -> None:
    await shop.rows(
        "UPDATE thread_details d SET updated_at = clock_timestamp() - make_interval(days => %s)"
        " FROM threads t WHERE t.key = d.thread_key AND t.thread_id = ANY(%s) RETURNING d.thread_key",
        days, list(threads),
    )  # fmt: skip


async def counts(shop) -> dict[str, int]:
    return dict(await shop.rows(
        "SELECT t.thread_id, count(c.*)::int FROM threads t LEFT JOIN checkpoints c ON c.thread_key = t.key GROUP BY 1"
    ))  # fmt: skip


async def test_checkpoints_are_counted_weighed_and_dated_by_agent(shop, care):
    assert (await care.stats()).count == 0
    before = datetime.now(UTC)
    await succeeded(shop, "one")
    await succeeded(shop, "two")
    stats = await care.stats()

    [shop_s] = stats.agents
    assert (shop_s.agent, shop_s.count, shop_s.threads) == ("shop", 8, 2)
    assert before - timedelta(seconds=1) < shop_s.oldest_at < shop_s.newest_at < datetime.now(UTC)
    stored = await shop.rows("SELECT sum(octet_length(body) + octet_length(metadata::text))::int FROM checkpoints")
    assert [(shop_s.size_bytes,)] == stored
    assert stats.size_bytes == shop_s.size_bytes + stats.shared_bytes + stats.writes_bytes
    with acting_for("acme"):
        assert (await care.stats()).count == 0


async def test_a_cleanup_keeps_what_threads_hold_now_and_leaves_alone_what_may_go_on(shop, care):
    await succeeded(shop, "old")
    await succeeded(shop, "young")
    await shop.dead("book", thread_id="dead")
    await age(shop, "old", "dead")

    assert await care.cleanup(age=OLD, dry_run=True) == ["old"]
    assert (await counts(shop))["old"] == 4
    assert await care.cleanup(age=OLD) == ["old"]
    assert await counts(shop) == {"old": 1, "young": 4, "dead": 3}
    assert (await shop.runtime.threads.get("old")).values["done"] == ["sent book", "packed"]
    await age(shop, "old")
    assert await care.cleanup(age=OLD) == [], "there is no history left"
    assert await shop.rows("SELECT count(*)::int FROM audit_log WHERE action = 'checkpoints.cleaned'") == [(1,)]

    [letter] = (await shop.letters.find(DeadLetterQuery(thread_id="dead")))[0]
    shop.repair()
    await shop.letters.replay(letter.run_id)
    assert (await shop.end(letter.run_id)).output["done"] == ["sent book", "packed"]


async def test_a_cleanup_may_delete_threads_and_is_limited(shop, care):
    for name in ("a", "b", "c"):
        await succeeded(shop, name)
        await age(shop, name, days={"a": 40, "b": 60, "c": 50}[name])
    assert await care.cleanup(age=OLD, strategy="delete", limit=2) == ["b", "c"], "oldest first"
    assert await shop.rows("SELECT thread_id FROM threads WHERE deleted_at IS NULL") == [("a",)]


async def test_an_age_that_is_none_is_refused(care):
    with pytest.raises(InvalidInput, match="more than 0"):
        await care.cleanup(age=timedelta(0))
