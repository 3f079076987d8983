"""What the codec does with values of classes that have changed since they were stored."""

import enum
import re
import sys
import types
from dataclasses import make_dataclass
from typing import NamedTuple

import pytest
from codec_samples import codec
from pydantic import ConfigDict, Field, create_model

from outlast.errors import StateUnreadable


@pytest.fixture
def module(monkeypatch):
    """A module whose classes a test defines, and defines again as a later release would."""
    made = types.ModuleType("changing_module")
    monkeypatch.setitem(sys.modules, "changing_module", made)

    def define(cls):
        cls.__module__, cls.__qualname__ = "changing_module", cls.__name__
        setattr(made, cls.__name__, cls)
        return cls

    return define


class TestChangedClasses:
    def stored(self, value):
        return codec.encode(value, path="state")

    def read(self, data):
        return codec.decode(data, path="state")

    def test_a_new_model_field_gets_its_default_and_the_rest_is_kept(self, module):
        data = self.stored(module(create_model("Plan", a=(int, 1), b=(int, 2)))(a=5))
        later = module(create_model("Plan", a=(int, 1), c=(str, "new"), b=(int, 2)))
        plan = self.read(data)
        assert type(plan) is later
        assert (plan.a, plan.b, plan.c) == (5, 2, "new")
        assert plan.model_fields_set == {"a"}

    def test_a_new_required_model_field_is_unreadable(self, module):
        data = self.stored(module(create_model("Plan", a=(int, 1)))())
        module(create_model("Plan", a=(int, 1), b=(int, ...)))
        with pytest.raises(StateUnreadable, match=r"changing_module\.Plan has changed"):
            self.read(data)

    def test_a_removed_model_field_follows_the_policy_of_the_class(self, module):
        data = self.stored(module(create_model("Plan", a=(int, 1), b=(int, 2)))())
        module(create_model("Plan", a=(int, 1)))
        assert self.read(data).model_dump() == {"a": 1}
        module(create_model("Plan", __config__=ConfigDict(extra="forbid"), a=(int, 1)))
        with pytest.raises(StateUnreadable):
            self.read(data)

    def test_a_changed_model_with_aliases_is_read_by_field_name(self, module):
        data = self.stored(module(create_model("Plan", a=(int, Field(alias="theA"))))(theA=5))
        module(create_model("Plan", a=(int, Field(alias="theA")), b=(int, 2)))
        assert self.read(data).a == 5

    def test_a_new_dataclass_field_gets_its_default(self, module):
        data = self.stored(module(make_dataclass("Plan", [("a", int)]))(5))
        later = module(make_dataclass("Plan", [("a", int), ("b", int, 2)]))
        assert self.read(data) == later(5, 2)

    def test_a_removed_dataclass_field_is_unreadable(self, module):
        data = self.stored(module(make_dataclass("Plan", ["a", "b"]))(1, 2))
        module(make_dataclass("Plan", ["a"]))
        with pytest.raises(StateUnreadable, match=r"changing_module\.Plan has changed"):
            self.read(data)

    def test_a_namedtuple_may_gain_fields_but_not_lose_them(self, module):
        data = self.stored(module(NamedTuple("Plan", [("a", int), ("b", int)]))(1, 2))
        later = module(NamedTuple("Plan", [("a", int), ("b", int), ("c", int)]))
        with pytest.raises(StateUnreadable, match=r"changing_module\.Plan has changed"):
            self.read(data)
        later._field_defaults["c"] = 3
        assert self.read(data) == (1, 2, 3)
        module(NamedTuple("Plan", [("a", int)]))
        with pytest.raises(StateUnreadable, match=r"changing_module\.Plan has changed"):
            self.read(data)

    def test_a_removed_enum_member_is_unreadable(self, module):
        data = self.stored(module(enum.Enum("Mode", {"ON": 1, "OFF": 2})).OFF)
        module(enum.Enum("Mode", {"ON": 1}))
        with pytest.raises(StateUnreadable, match="no member"):
            self.read(data)

    def test_a_renamed_class_is_unreadable_and_says_which(self, module):
        data = self.stored(module(make_dataclass("Plan", ["a"]))(1))
        del sys.modules["changing_module"].Plan
        with pytest.raises(StateUnreadable, match=re.escape("changing_module.Plan")) as caught:
            self.read(data)
        assert "import the module" in str(caught.value)

    def test_a_reloaded_class_is_the_one_restored(self, module):
        data = self.stored(module(make_dataclass("Plan", ["a"]))(1))
        assert self.read(data).a == 1
        later = module(make_dataclass("Plan", ["a"]))
        assert type(self.read(data)) is later
