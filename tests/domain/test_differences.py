"""What differs between two values is told by place, and applying it to the first one gives the second."""

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.differences import Difference, differences

_KEYS = st.text("abc", min_size=1, max_size=2)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.text("xy", max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=3)),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "changed", 1, 2)]),
        ({"a": 1}, {"a": True}, [("a", "changed", 1, True)]),
        ({}, {"b": {"c": 1}}, [("b", "added", None, {"c": 1})]),
        ({"m": [1, 2]}, {"m": [1, 2, 3]}, [("m[2]", "added", None, 3)]),
        ({"m": [1, 2, 3]}, {"m": [2, 3]}, [("m[0]", "removed", 1, None)]),
        ({"m": [{"t": "a"}, 9]}, {"m": [{"t": "b"}, 9]}, [("m[0].t", "changed", "a", "b")]),
        (1, [], [("", "changed", 1, [])]),
        ([1], [True], [("[0]", "changed", 1, True)]),
    ],
)
def test_each_difference_is_told_at_its_place(before, after, found):
    assert differences(before, after) == [
        Difference(path=path, kind=kind, before=old, after=new) for path, kind, old, new in found
    ]


@given(_VALUES, _VALUES)
def test_what_is_told_makes_the_second_value_of_the_first(before, after):
    assert same(applied(before, differences(before, after)), after)


@given(_VALUES)
def test_equal_values_have_no_difference(value):
    assert differences(value, copy.deepcopy(value)) == []


def same(one: Any, other: Any) -> bool:
    """Equal with types, as JSON tells them apart."""
    return repr(sorted_keys(one)) == repr(sorted_keys(other))


def sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


def applied(value: Any, found: list[Difference]) -> Any:
    """Change it at the places: what comes or goes in the middle of a list does so from the back."""
    whole = {"": copy.deepcopy(value)}
    removed = [each for each in found if each.kind == "removed"]
    for each in [*(each for each in found if each.kind != "removed"), *reversed(removed)]:
        target: Any = whole
        steps: list[str | int] = [
            "",
            *(int(i) if i else key for i, key in re.findall(r"\[(\d+)\]|([a-c]+)", each.path)),
        ]
        for step in steps[:-1]:
            target = target[step]
        last = steps[-1]
        if each.kind == "removed":
            del target[last]
        elif each.kind == "added" and isinstance(last, int):
            target.insert(last, each.after)
        else:
            target[last] = each.after
    return whole[""]
