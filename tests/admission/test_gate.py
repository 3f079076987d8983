"""The gate in front of the queue, with a real queue behind it."""

from uuid import uuid4

import pytest

from outlast.admission.gate import Gate
from outlast.admission.idempotency import Idempotency
from outlast.admission.payload import PayloadLimits
from outlast.admission.request import RunRequest, ThreadRules
from outlast.domain.options import RunOptions
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, InvalidInput
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore


@pytest.fixture
async def gate(database):
    pool = Pool(database, application_name="test-gate")
    await pool.open()
    queue = RunQueue(RunStore(pool), Wakeup(database))
    yield Gate(queue, agents=("only",), limits=PayloadLimits(max_bytes=1000, max_depth=8), max_attempts=5)
    await pool.close()


async def test_what_was_left_open_is_decided(gate):
    admitted = await gate.admit(RunRequest(input={"a": 1}))
    run = await gate._queue.store.get(admitted.run_id)
    assert (run.agent, run.max_attempts, run.thread_id) == ("only", 5, admitted.thread_id)
    assert run.status is admitted.status is RunStatus.QUEUED


async def test_a_refused_request_stores_nothing(gate):
    with pytest.raises(InvalidInput):
        await gate.admit(RunRequest(input=1, agent="other", thread_id="t"))
    assert await gate._queue.store.find() == []


async def test_nul_is_kept_in_the_input_and_taken_out_of_metadata(gate):
    nul = {"\0a": ["\0", "\\u0000"]}
    admitted = await gate.admit(RunRequest(input=nul, metadata=nul, config={"configurable": nul}))
    run = await gate._queue.store.get(admitted.run_id)
    assert run.metadata == {"a": ["", "\\u0000"]}


async def test_a_known_key_gives_its_run_as_it_is_now(gate):
    known = Idempotency.of("/r", "k", b"1")
    first = await gate.admit(RunRequest(input=1, idempotency=known))
    await gate._queue.cancel(first.run_id)
    again = await gate.admit(RunRequest(input=1, idempotency=known))
    assert (again.run_id, again.thread_id) == (first.run_id, first.thread_id)
    assert again.status is RunStatus.CANCELLED
    with pytest.raises(Conflict):
        await gate.admit(RunRequest(input=2, idempotency=Idempotency.of("/r", "k", b"2")))


def stateless(**given):
    options = RunOptions(protocol="v1", **{"on_completion": "delete", **given})
    return RunRequest(input=1, options=options, temporary=True, thread=ThreadRules(if_not_exists="create"))


async def test_a_stateless_run_takes_its_thread_with_it_unless_it_is_to_be_kept(gate):
    goes, stays = await gate.admit(stateless()), await gate.admit(stateless(on_completion="keep"))

    assert (goes.temporary, stays.temporary) == (True, False)


async def test_the_true_status_is_told(gate):
    wanted = RunRequest(input=1, thread_id="t", thread=ThreadRules(if_not_exists="create"))

    assert (await gate.admit(wanted)).status is RunStatus.QUEUED
    assert (await gate.admit(wanted)).status is RunStatus.BLOCKED


async def test_a_batch_with_one_wrong_run_stores_none(gate):
    with pytest.raises(InvalidInput):
        await gate.admit_all([stateless(), RunRequest(input=1, agent="other", thread=ThreadRules())])
    with pytest.raises(InvalidInput):
        await gate.admit_all([])
    assert await gate._queue.store.find() == []

    admitted = await gate.admit_all([stateless(), stateless()])
    assert len({run.thread_id for run in admitted}) == 2
    assert len(await gate._queue.store.find()) == 2


async def test_what_is_prepared_is_not_stored(gate):
    run_id = uuid4()
    run, intake = gate.prepare(stateless(command={"update": {"x": 1}}), run_id=run_id)

    assert (run.id, run.agent, run.temporary, intake.resume) == (run_id, "only", True, None)
    assert await gate._queue.store.find() == []
