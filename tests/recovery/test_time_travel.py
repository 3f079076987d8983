"""Time travel: the checkpoints of a thread are listed and compared, and it goes on from an old one."""

from uuid import uuid4

import pytest

from outlast.cli import time_travel
from outlast.domain.differences import Difference
from outlast.errors import InvalidInput, NotFound, ThreadBusy


@pytest.fixture
async def desk(shop):
    """A thread on which one run has succeeded, with its checkpoints, newest first."""
    run_id = await shop.start("book", thread_id="desk")
    assert (await shop.end(run_id)).status == "succeeded"
    return await time_travel.history(shop.runtime, "desk", limit=10)


async def test_the_history_tells_where_the_thread_stands_and_what_runs_next(shop, desk):
    assert [(moment.step, moment.next, moment.head) for moment in desk] == [
        (2, [], True), (1, ["second"], False), (0, ["first"], False), (-1, ["__start__"], False)
    ]  # fmt: skip
    assert [moment.parent_id for moment in desk] == [*(moment.checkpoint_id for moment in desk[1:]), None]
    with pytest.raises(NotFound):
        await time_travel.history(shop.runtime, "nobody's", limit=1)


async def test_two_checkpoints_are_compared_by_their_values(shop, desk):
    first, last = desk[2].checkpoint_id, desk[0].checkpoint_id
    added = [
        Difference(path="done[0]", kind="added", after="sent book"),
        Difference(path="done[1]", kind="added", after="packed"),
    ]
    assert await time_travel.compare(shop.runtime, "desk", first, last) == added
    assert await time_travel.compare(shop.runtime, "desk", first, None) == added
    assert await time_travel.compare(shop.runtime, "desk", last, last) == []
    with pytest.raises(InvalidInput, match="is no checkpoint id"):
        await time_travel.compare(shop.runtime, "desk", "x", None)
    with pytest.raises(NotFound, match="checkpoint"):
        await time_travel.compare(shop.runtime, "desk", str(uuid4()), None)


async def test_a_thread_is_forked_at_an_old_checkpoint_and_goes_on_from_there(shop, desk):
    thread_id, at = await time_travel.fork(
        shop.runtime, "desk", desk[1].checkpoint_id, values=None, as_node=None, to=None
    )  # fmt: skip
    [head, *_] = await time_travel.history(shop.runtime, "desk", limit=10)
    assert (thread_id, head.checkpoint_id, head.next, head.source) == ("desk", at, ["second"], "fork")

    view = await time_travel.rerun(shop.runtime, "desk", None, given=None)
    assert (await shop.end(view.id)).output["done"] == ["sent book", "packed"]
    assert shop.sent() == ["book"], "what comes before the checkpoint is not done again"


async def test_a_fork_with_values_on_a_copy_leaves_the_thread_alone(shop, desk):
    thread_id, _ = await time_travel.fork(
        shop.runtime, "desk", desk[2].checkpoint_id, values={"done": ["by hand"]}, as_node="first", to="copy"
    )
    view = await time_travel.rerun(shop.runtime, thread_id, None, given=None)
    assert (await shop.end(view.id)).output["done"] == ["by hand", "packed"]
    assert [moment.head for moment in await time_travel.history(shop.runtime, "desk", limit=1)] == [True]
    assert await time_travel.compare(shop.runtime, "desk", desk[0].checkpoint_id, None) == []


async def test_a_run_goes_on_from_an_old_checkpoint(shop, desk):
    view = await time_travel.rerun(shop.runtime, "desk", desk[2].checkpoint_id, given=None)
    assert (await shop.end(view.id)).output["done"] == ["sent book", "packed"]
    assert shop.sent() == ["book", "book"], "steps behind the checkpoint are those of a new run"


async def test_what_is_not_there_or_busy_is_refused(idle_shop):
    await idle_shop.start(thread_id="desk")
    for act in (
        time_travel.fork(idle_shop.runtime, "nobody's", str(uuid4()), values=None, as_node=None, to=None),
        time_travel.rerun(idle_shop.runtime, "nobody's", None, given=None),
        time_travel.rerun(idle_shop.runtime, "desk", str(uuid4()), given=None),
    ):
        with pytest.raises(NotFound):
            await act
    with pytest.raises(ThreadBusy):
        await time_travel.fork(idle_shop.runtime, "desk", str(uuid4()), values=None, as_node=None, to=None)
