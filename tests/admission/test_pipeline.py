"""The stages in front of the queue, with a real queue behind them and decisions that are kept."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from psycopg.errors import InvalidSqlStatementName

from outlast import telemetry
from outlast.admission.gate import Gate
from outlast.admission.idempotency import Idempotency
from outlast.admission.limits import Limits
from outlast.admission.payload import PayloadLimits
from outlast.admission.pipeline import Pipeline
from outlast.admission.queue_limits import QueueLimits
from outlast.admission.recording import Recorder
from outlast.admission.request import RunRequest, ThreadRules
from outlast.domain.acting import Principal, acting_for
from outlast.domain.admission import Allow, AskHuman, Later, Refuse, Stage
from outlast.domain.options import RunOptions
from outlast.domain.run import NewRun, RunStatus
from outlast.errors import NotFound
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.refusals import Overloaded, PolicyRefused, QueueFull, RateLimited
from outlast.settings_admission import LimitRule, LimitSettings, TenantLimitSettings
from outlast.storage.postgres.admission import AdmissionStore
from outlast.storage.postgres.runs import RunStore
from waiting import until

ANN = Principal(user="ann", key_id="k1")


@pytest.fixture
def store(pool):
    return AdmissionStore(pool)


@pytest.fixture
async def open_gate(pool, store, database):
    recorders = []

    def open_one(*stages, record="all"):
        recorders.append(Recorder(store, record=record))
        queue = RunQueue(RunStore(pool), Wakeup(database))
        limits = PayloadLimits(max_bytes=1000, max_depth=8)
        pipeline = Pipeline(stages, recorders[-1])
        return Gate(queue, agents=("only",), limits=limits, max_attempts=5, pipeline=pipeline)

    open_one.close = lambda: asyncio.gather(*(recorder.aclose() for recorder in recorders))
    yield open_one
    await open_one.close()


@pytest.fixture(params=[False, True], ids=["direct", "pooler"])
def pooler(pool, request):
    pool.settings = pool.settings.model_copy(update={"pooler": request.param})


def says(name, verdict, seen=None):
    async def decide(run, who):
        if seen is not None:
            seen.append((name, run, who))
        return verdict

    return Stage(name, decide)


def limits(store, *rules):
    stage = Limits(store, LimitSettings(rules=rules))
    return Stage("limits", stage.decide, stage.decide_all, stage.decide_stored)


def queue(store, **settings):
    return Stage("queue", QueueLimits(store, LimitSettings(**settings)).decide)


def wanted(**given):
    return RunRequest(**{"input": 1, **given})


async def test_what_nothing_objects_to_is_kept_as_allowed_with_its_run(open_gate, store):
    with acting_for(ANN):
        admitted = await open_gate(says("limits", Allow())).admit(wanted())
        kept = await store.of_run(admitted.run_id)

    assert kept is not None
    assert (kept.decision.verdict, kept.decision.stage, kept.agent) == ("allow", None, "only")
    assert (kept.user, kept.key_id, kept.thread_id) == ("ann", "k1", None)


async def test_the_first_refusal_counts_and_later_stages_are_not_asked(open_gate, store):
    seen, told = [], []
    gate = open_gate(says("a", Allow(), seen), says("b", Refuse("no money", by="thrift")), says("c", Allow(), seen))
    stop = telemetry.subscribe(lambda point, fields: told.append((point, dict(fields))))

    with acting_for(ANN), pytest.raises(PolicyRefused, match="'thrift' refused it: no money"):
        await gate.admit(wanted(thread_id="mine"))
    stop()

    assert told == [("admission.refused", {"agent": "only", "stage": "b", "code": "policy_refused"})]
    assert [name for name, *_ in seen] == ["a"]
    assert await gate._queue.store.find() == []
    (kept,) = await store.find()
    assert (kept.decision.verdict, kept.decision.stage, kept.decision.code) == ("refuse", "b", "policy_refused")
    assert (kept.decision.reason, kept.user, kept.thread_id) == ("no money", "ann", "mine")


async def test_a_stage_sees_who_asks_and_what_the_ones_before_made_of_the_run(open_gate):
    seen = []

    async def mask(run, _who):
        return Allow(instead=replace(run, input="masked"), note="2 numbers masked")

    with acting_for(ANN):
        gate = open_gate(Stage("mask", mask), says("last", Allow(), seen))
        admitted = await gate.admit(wanted(input="4111"))

    assert [(run.input, who) for _, run, who in seen] == [("masked", ANN)]
    assert (await gate._queue.store.get(admitted.run_id)).input == "masked"


async def test_the_longest_delay_counts_and_is_kept_with_its_reason(open_gate, store):
    gate = open_gate(says("a", Later(60, "soon")), says("b", Later(3600, "full")), says("c", Later(5, "nearly")))

    admitted = await gate.admit(wanted())

    run = await gate._queue.store.get(admitted.run_id)
    assert timedelta(minutes=59) < run.available_at - run.created_at < timedelta(minutes=61)
    decision = (await store.of_run(admitted.run_id)).decision
    assert (decision.verdict, decision.stage, decision.reason, decision.delay_seconds) == ("later", "b", "full", 3600)


async def test_a_question_goes_on_with_the_run_and_a_later_refusal_still_refuses(open_gate, store):
    ask = says("policies", AskHuman("may it?", by="four eyes"))
    gate = open_gate(ask, says("budgets", Later(60, "soon")))

    run, _ = gate.prepare(wanted())
    decision = (await gate.decide(run)).decision

    assert (decision.verdict, decision.question, decision.asked_by) == ("ask", "may it?", "four eyes")
    with pytest.raises(PolicyRefused):
        await open_gate(ask, says("queue", Refuse("no"))).admit(wanted())


async def test_a_run_that_could_not_be_stored_has_no_decision(open_gate, store):
    gate = open_gate(says("limits", Allow()))

    with pytest.raises(NotFound):
        await gate.admit(wanted(thread_id="nowhere", thread=ThreadRules(if_not_exists="reject")))

    assert await store.find() == []


async def test_a_request_that_is_sent_again_gets_its_run_whatever_was_used_up_since(open_gate, store):
    gate = open_gate(limits(store, "1/hour per user"))
    known = Idempotency.of("/r", "k", b"1")
    first = await gate.admit(wanted(idempotency=known))

    again = await gate.admit(wanted(idempotency=known))

    assert again.run_id == first.run_id
    with pytest.raises(RateLimited):
        await gate.admit(wanted(idempotency=Idempotency.of("/r", "new", b"1")))


async def test_equal_refusals_within_a_second_are_one_row_that_counts_them(open_gate, store):
    gate = open_gate(says("policies", Refuse("no", by="p")))

    for _ in range(4):
        with suppress(PolicyRefused):
            await gate.admit(wanted())
    with acting_for(ANN), suppress(PolicyRefused):
        await gate.admit(wanted())
    await open_gate.close()

    assert sorted((kept.user, kept.times) for kept in await store.find() if kept.user is None) == [(None, 4)]
    assert [kept.times for kept in await store.find(user="ann")] == [1]


@pytest.mark.parametrize(
    ("record", "kept"), [("all", {"allow", "refuse"}), ("refusals", {"refuse"}), ("nothing", set())]
)
async def test_what_is_kept_is_a_setting(open_gate, store, record, kept):
    gate = open_gate(limits(store, "1/hour per user"), record=record)

    await gate.admit(wanted())
    with pytest.raises(RateLimited):
        await gate.admit(wanted())

    assert {row.decision.verdict for row in await store.find()} == kept


async def test_a_batch_is_let_in_as_a_whole_or_not_at_all(open_gate, store):
    gate = open_gate(limits(store, "5/hour per user"))
    one = RunRequest(
        input=1, options=RunOptions(protocol="v1"), thread=ThreadRules(if_not_exists="create"), temporary=True
    )

    assert len(await gate.admit_all([one] * 4)) == 4
    with pytest.raises(RateLimited):
        await gate.admit_all([one] * 2)

    assert len(await gate._queue.store.find()) == 4
    assert len(await store.find(verdict="allow")) == 4


async def test_the_queue_of_a_tenant_ends_where_it_should(open_gate, store):
    own = {"big": TenantLimitSettings(queued=3)}
    gate = open_gate(queue(store, queued_per_tenant=2, tenants=own))

    async def fill(tenant):
        stored = 0
        with acting_for(tenant), suppress(QueueFull):
            while stored < 10:
                # Behind each other on one thread: what is blocked is in the queue, too.
                await gate.admit(wanted(thread_id=f"of {tenant}"))
                stored += 1
        return stored

    assert (await fill("small"), await fill("big")) == (2, 3)


async def test_the_queue_as_a_whole_ends_where_it_should_and_opens_again(open_gate, store):
    gate = open_gate(queue(store, queued=3, queue_look=timedelta(microseconds=1)))

    for number in range(3):
        with acting_for(f"tenant {number}"):
            last = await gate.admit(wanted())
    with pytest.raises(Overloaded) as caught:
        await gate.admit(wanted())
    assert caught.value.setting == "limits.queued"
    with acting_for("tenant 2"):
        await gate._queue.cancel(last.run_id)

    async def is_let_in():
        with suppress(Overloaded):
            return (await gate.admit(wanted())).status is RunStatus.QUEUED
        return False

    # A look takes time, and only a part of the time is spent on looks.
    await until(is_let_in)


async def test_a_queue_whose_oldest_run_waits_for_too_long_takes_no_more(open_gate, store, pool):
    first = await open_gate().admit(wanted())
    async with pool.connection() as connection:
        statement = "UPDATE runs SET available_at = available_at - interval '1 hour' WHERE id = %(id)s"
        await connection.execute(statement, {"id": first.run_id})

    with pytest.raises(QueueFull, match=r"waited for 3600 s of 600 s \(limits\.queue_age_per_tenant\)"):
        await open_gate(queue(store, queue_age_per_tenant=timedelta(minutes=10))).admit(wanted())
    with pytest.raises(Overloaded):
        await open_gate(queue(store, queue_age=timedelta(minutes=10))).admit(wanted())
    assert await open_gate(queue(store, queue_age=timedelta(hours=2))).admit(wanted())


async def left(store, *, rules=("3/hour per tenant",)):
    """Return how many more runs the limits would let in."""
    gate = Limits(store, LimitSettings(rules=rules))
    run = NewRun(id=uuid4(), thread_id="", agent="only", input=None, config={}, metadata={})
    verdicts = [await gate.decide(run, ANN) for _ in range(10)]
    return sum(isinstance(verdict, Allow) for verdict in verdicts)


async def test_a_run_is_stored_with_what_it_takes_of_the_limits(open_gate, store, pooler):
    gate = open_gate(limits(store, "3/hour per tenant"))

    with acting_for(ANN):
        for _ in range(2):
            await gate.admit(wanted())

        assert await left(store) == 1
        assert len(await gate._queue.store.find()) == 2


async def test_a_run_beyond_a_limit_is_not_stored_and_takes_nothing(open_gate, store, pooler):
    gates = [open_gate(limits(store, "3/hour per tenant", "5/hour per user")) for _ in range(10)]

    with acting_for(ANN):
        # Each gate is one that has heard of no refusal yet.
        admitted = await asyncio.gather(*(gate.admit(wanted()) for gate in gates), return_exceptions=True)

        assert sum(not isinstance(one, BaseException) for one in admitted) == 3
        assert {type(one) for one in admitted if isinstance(one, BaseException)} == {RateLimited}
        assert len(await gates[0]._queue.store.find()) == 3
        assert await left(store, rules=("5/hour per user",)) == 2
        refused = await store.find(verdict="refuse")
    assert {(kept.decision.stage, kept.decision.code) for kept in refused} == {("limits", "rate_limited")}


async def test_a_run_that_has_to_wait_for_a_limit_is_stored_with_its_delay_and_counts_once(open_gate, store, pooler):
    rule = LimitRule(rule="3/hour per tenant burst 1", on_limit="queue")
    gate = open_gate(limits(store, rule))

    with acting_for(ANN):
        for _ in range(2):
            await gate.admit(wanted())
        later, first = await gate._queue.store.find()

        assert first.available_at - first.created_at < timedelta(seconds=10)
        assert later.available_at - later.created_at > timedelta(minutes=15)
        kept = await store.of_run(later.id)
        assert (kept.decision.verdict, kept.decision.stage) == ("later", "limits")
        assert await left(store, rules=("3/hour per tenant",)) == 1


async def test_what_a_later_stage_refuses_counts_and_the_limit_is_named_first(open_gate, store):
    gate = open_gate(limits(store, "3/hour per tenant"), says("policies", Refuse("no")))

    with acting_for(ANN):
        for _ in range(3):
            with pytest.raises(PolicyRefused):
                await gate.admit(wanted())
        with pytest.raises(RateLimited):
            await gate.admit(wanted())
        assert await gate._queue.store.find() == []


async def test_a_run_is_stored_with_what_it_takes_also_after_statements_were_forgotten(open_gate, store, pool):
    gate = open_gate(limits(store, "5/hour per tenant"))

    with acting_for(ANN):
        await gate.admit(wanted())
        for forgotten in ("%", "%INSERT INTO runs%"):
            async with pool.connection() as connection:
                for name in await prepared(connection, forgotten):
                    with suppress(InvalidSqlStatementName):
                        await connection.execute(f"DEALLOCATE {name}")
            await gate.admit(wanted())

        assert len(await gate._queue.store.find()) == 3
        assert await left(store, rules=("5/hour per tenant",)) == 2


async def prepared(connection, like):
    cursor = await connection.execute(
        "SELECT name FROM pg_prepared_statements WHERE statement LIKE %(like)s", {"like": like}
    )
    return [name for (name,) in await cursor.fetchall()]
