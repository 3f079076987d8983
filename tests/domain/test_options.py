from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.options import PLAIN, RunOptions

NAMES = st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
OPTIONS = st.builds(
    RunOptions,
    protocol=st.sampled_from(["plain", "v1", "v3"]),
    command=st.none() | st.dictionaries(st.sampled_from(["resume", "update", "goto"]), JSON),
    context=JSON.filter(lambda value: not isinstance(value, list)),
    stream_modes=NAMES,
    live=st.booleans(),
    interrupt_before=st.none() | st.just("*") | NAMES,
    durability=st.sampled_from(["sync", "async", "exit"]),
    on_completion=st.sampled_from(["keep", "delete"]),
    feedback_keys=NAMES,
    user=st.none() | st.dictionaries(st.text(max_size=3), JSON, max_size=2),
)


@given(OPTIONS)
def test_what_is_stored_is_read_again(options: RunOptions) -> None:
    assert RunOptions.of_json(options.to_json()) == options


def test_a_run_that_chooses_nothing_stores_nothing() -> None:
    assert PLAIN.to_json() is None
    assert RunOptions.of_json(None) == PLAIN


def test_what_is_missing_has_its_default_and_what_is_unknown_is_kept() -> None:
    newer = orjson.dumps({"protocol": "v1", "of_tomorrow": {"x": 1}})

    read = RunOptions.of_json(newer)

    assert (read.protocol, read.stream_modes, read.durability) == ("v1", ("values",), "sync")
    stored: Any = orjson.loads(read.to_json() or b"")
    assert stored == {"protocol": "v1", "of_tomorrow": {"x": 1}}


def test_a_resume_value_may_hold_nul() -> None:
    options = RunOptions(command={"resume": "a\0b"})

    assert RunOptions.of_json(options.to_json()).command == {"resume": "a\0b"}
