"""A thread whose output waits for a person, as the Agent Server API shows it; and what is stored of a review."""

from uuid import UUID

import pytest
from reviewed_runs import Opens, opening

from outlast.domain.question import Decision, subject_hash
from outlast.domain.review import Review
from outlast.domain.thread import ThreadStatus
from outlast.errors import LeaseLost, NothingToResume
from outlast.secret import Secret
from outlast.server.thread_values import current
from outlast.settings_encryption import EncryptionSettings
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.reviews import ReviewStore


@pytest.fixture
def reviewed(database_url: str) -> Opens:
    return opening(database_url)


async def test_a_reader_who_takes_the_state_from_the_checkpoint_leaves_the_question_open(reviewed: Opens) -> None:
    async with reviewed("v1", on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers", thread="t"))
        [question] = asked.interrupts or []
        # As if the state were too large to be kept beside the thread.
        await runs.rows("UPDATE thread_details SET values = NULL, stands_at = gen_random_uuid() RETURNING 1")
        thread = await current(runs.runtime, await runs.runtime.threads.get("t"))
        kept = await runs.runtime.threads.get("t")

        for view in (thread, kept):
            assert view.status is ThreadStatus.INTERRUPTED
            assert [item["id"] for items in view.interrupts.values() for item in items] == [question["id"]]
        assert kept.values is not None
        await runs.succeeds(await runs.answer(asked, {"decision": "approve"}))
        assert (await runs.runtime.threads.get("t")).status is ThreadStatus.IDLE


async def test_a_thread_that_has_moved_on_asks_no_more_about_the_old_output(reviewed: Opens) -> None:
    async with reviewed("v1", on_invalid="escalate") as runs:
        first = await runs.asks(await runs.start("offers", thread="t"))
        second = await runs.asks(await runs.start("offers", thread="t"))

        with pytest.raises(NothingToResume):
            await runs.answer(first, True)
        await runs.succeeds(await runs.answer(second, True))


async def test_the_question_is_in_the_inbox_with_the_hash_that_the_review_was_stored_with(reviewed: Opens) -> None:
    async with reviewed(on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))
        [question] = asked.interrupts or []

        assert await runs.rows("SELECT kind, hash, interrupt_id FROM questions") == [
            ("review", subject_hash(question["value"]), question["id"])
        ]
        assert await runs.rows("SELECT hash, question_id FROM reviews") == [
            (subject_hash(question["value"]), question["id"])
        ]


async def test_a_decision_is_stored_by_the_owner_of_the_run_alone(reviewed: Opens) -> None:
    async with reviewed(on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers", thread="t"))
        runtime, nobody = runs.runtime, UUID(int=1)
        store = ReviewStore(runtime.pool)
        review = Review(
            thread_key=thread_key("t"), lineage=asked.id, position=2, run_id=asked.id, checkpoint_id=nobody,
            action="repair",
        )  # fmt: skip
        await runs.rows("UPDATE runs SET status = 'queued', available_at = now() + '1 h' RETURNING 1")
        await runs.rows("UPDATE runs SET status = 'running', epoch = 7, worker_id = %s RETURNING 1", nobody)
        owner = await runtime.queue.store.claimed(asked.id, 7)
        assert owner is not None
        await store.add(owner, review)
        await store.add(owner, review)
        await runs.rows(
            "INSERT INTO input_prints (tenant, agent, print, lineage, seen_at) SELECT 'default', 'offers', n,"
            " gen_random_uuid(), now() - n * interval '1 s' FROM generate_series(1, 10050) n RETURNING 1"
        )
        assert await store.nearest(owner, 3) == (0, 10_000)
        assert await runs.rows("SELECT count(*), max(print) FROM input_prints") == [(10_001, 10_001)]
        await runs.rows("UPDATE runs SET epoch = 8 RETURNING 1")
        with pytest.raises(LeaseLost):
            await store.add(owner, review)
        with pytest.raises(LeaseLost):
            await store.decide(owner, review, "approve")
        with pytest.raises(LeaseLost):
            await store.nearest(owner, 7)

        assert await runs.decisions() == [(1, "escalate", None), (2, "repair", None)]
        assert (await store.standing(owner)).repairs == 1
        await runs.rows("UPDATE runs SET status = 'failed', worker_id = NULL, ended_at = now() RETURNING 1")


async def test_with_a_master_key_a_review_is_sealed_and_its_answer_is_found(reviewed: Opens) -> None:
    key = Secret("bmV3LW1hc3Rlci1rZXktb2YtMzItYnl0ZXMtMDEyMzQ=")
    async with reviewed("v1", on_invalid="escalate", encryption=EncryptionSettings(master_key=key)) as runs:
        asked = await runs.asks(await runs.start("offers", {"price": 3}))
        [(body,)] = await runs.rows("SELECT body FROM reviews")
        assert b"not_positive" not in body
        edited = await runs.succeeds(await runs.answer(asked, {"decision": "edit", "value": {"price": 9}}))

        assert edited.output["price"] == 9


@pytest.mark.parametrize("protocol", ["plain", "v1"])
async def test_an_output_is_edited_through_the_inbox(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers", thread="t"))
        inbox = runs.runtime.inbox()
        [question], _ = await inbox.find(status="open")
        assert (question.kind, question.reasons[0].code) == ("review", "not_positive")
        await inbox.answer(question.id, Decision(decision="edit", value={"price": 9}, hash=question.hash))
        [(run_id,)] = await runs.rows("SELECT id FROM runs ORDER BY created_at DESC, id LIMIT 1")
        view = await runs.succeeds(run_id)

        assert view.output["price"] == 9
        assert (run_id == asked.id) is (protocol == "plain")
        assert (await runs.state("offers", "t")).values["price"] == 9
