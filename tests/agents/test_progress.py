import asyncio

import pytest

from outlast.agents.progress import Progress, current, progress
from outlast.errors import InvalidInput


class Store:
    """Where reports go; a save ends when the test says so."""

    def __init__(self) -> None:
        self.saved: list[tuple[int, int]] = []
        self.beginning = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def save(self, done: int, total: int) -> None:
        self.beginning.set()
        await self.open.wait()
        self.saved.append((done, total))


@pytest.mark.parametrize(("done", "total"), [(-1, 3), (4, 3), (1, 0)])
async def test_progress_that_cannot_be_is_refused(done: int, total: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        progress(done, total)

    assert refused.value.field == "done"


async def test_outside_a_run_it_does_nothing() -> None:
    await progress(1, 2)


async def test_a_report_is_saved_when_it_was_awaited() -> None:
    store = Store()
    current.set(Progress(store.save))

    await progress(0, 0)
    await progress(1, 2)

    assert store.saved == [(0, 0), (1, 2)]


async def test_reports_that_come_while_one_is_saved_replace_each_other() -> None:
    store = Store()
    store.open.clear()
    reporter = Progress(store.save)
    current.set(reporter)

    first = progress(1, 9)
    await asyncio.sleep(0)
    later = [progress(number, 9) for number in range(2, 9)]
    store.open.set()
    await asyncio.gather(*(_wait(report) for report in (first, *later)))

    assert store.saved == [(1, 9), (8, 9)]


async def _wait(report) -> None:
    await report


async def test_the_end_of_a_run_waits_for_a_report_that_nobody_awaited() -> None:
    store = Store()
    reporter = Progress(store.save)
    current.set(reporter)

    progress(3, 3)
    await reporter.flush()

    assert store.saved == [(3, 3)]


async def test_who_is_cancelled_while_waiting_cancels_no_save() -> None:
    store = Store()
    store.open.clear()
    reporter = Progress(store.save)
    current.set(reporter)

    waiting = asyncio.create_task(_wait(progress(1, 2)))
    await store.beginning.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    store.open.set()
    await reporter.flush()

    assert store.saved == [(1, 2)]


async def test_a_save_that_failed_is_told_to_who_awaits_and_the_next_report_is_saved() -> None:
    attempts: list[int] = []

    async def save(done: int, total: int) -> None:
        attempts.append(done)
        if done == 1:
            raise ConnectionError

    current.set(Progress(save))
    with pytest.raises(ConnectionError):
        await progress(1, 2)
    await progress(2, 2)

    assert attempts == [1, 2]


async def test_a_thread_waits_until_its_report_is_durable() -> None:
    store = Store()
    current.set(Progress(store.save))

    def in_thread() -> list[tuple[int, int]]:
        progress(1, 2)
        return list(store.saved)

    assert await asyncio.to_thread(in_thread) == [(1, 2)]


async def test_a_thread_with_an_event_loop_of_its_own_may_await_its_report() -> None:
    store = Store()
    current.set(Progress(store.save))

    async def inside() -> list[tuple[int, int]]:
        await progress(1, 2)
        return list(store.saved)

    assert await asyncio.to_thread(lambda: asyncio.run(inside())) == [(1, 2)]


async def test_reports_of_other_runs_do_not_mix() -> None:
    stores = [Store(), Store()]

    async def run(store: Store, done: int) -> None:
        current.set(Progress(store.save))
        await progress(done, 9)

    await asyncio.gather(*(asyncio.create_task(run(store, number)) for number, store in enumerate(stores)))

    assert [store.saved for store in stores] == [[(0, 9)], [(1, 9)]]
