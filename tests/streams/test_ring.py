"""The ring against a plain list."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.run import RunStatus
from outlast.streams.records import Record, RunEnd
from outlast.streams.ring import Ring, size_of

THREAD = bytes(16)


def record(pos: int, size: int = 0) -> Record:
    return Record(THREAD, pos, UUID(int=1), "custom", "", b"x" * size)


def end(pos: int) -> RunEnd:
    return RunEnd(THREAD, pos, uuid4(), RunStatus.SUCCEEDED)


@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 500)), max_size=60),
    st.integers(300, 5000),
    st.integers(0, 60),
)
def test_a_cursor_finds_exactly_what_follows_or_that_it_is_gone(
    floor: int, pushes: list[tuple[int, int]], limit: int, cursor: int
) -> None:
    ring, kept = Ring(floor), []
    for pos, size in pushes:
        item = record(pos, size)
        if ring.push(item):
            kept.append(item)
        ring.trim(limit, stored=None)

    assert [item.pos for item in kept] == sorted({item.pos for item in kept})
    start = ring.start(cursor)
    if cursor < ring.floor:
        assert start is None
    else:
        assert start is not None
        assert ring.since(start, limit=1000) == [item for item in kept if item.pos > cursor]
    assert ring.bytes <= limit
    assert ring.bytes == sum(size_of(item) for item in kept if item.pos > ring.floor)


def test_ordinals_survive_what_is_dropped() -> None:
    ring = Ring(0)
    for pos in range(1, 2001):
        ring.push(record(pos, 100))
        ring.trim(10_000, stored=None)

    start = ring.start(1990)
    assert start is not None
    assert ring.end == 2000
    assert [item.pos for item in ring.since(start, limit=4) or ()] == [1991, 1992, 1993, 1994]
    assert ring.since(0, limit=1) is None


def test_what_is_stored_nowhere_else_stays() -> None:
    ring = Ring(0)
    for pos in range(1, 101):
        ring.push(record(pos, 1000))
    ring.trim(10_000, stored=50)
    assert ring.floor == 50

    ring.trim(10_000, stored=100)
    assert ring.bytes <= 10_000


def test_an_end_without_a_place_goes_to_the_head_and_is_found_by_who_is_there() -> None:
    ring = Ring(0)
    ring.push(record(7))
    waiting = ring.end
    assert ring.push(end(0))

    (item,) = ring.since(waiting, limit=10) or ()
    assert (type(item), item.pos) == (RunEnd, 7)
    assert not ring.push(record(7)), "a record that is known"
