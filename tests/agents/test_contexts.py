"""What a declared class takes of a context in which other keys stand, too."""

from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from outlast.agents.contexts import fitting


@dataclass
class Defaults:
    model: str = "small"
    seen: int = field(default=0, init=False)


@dataclass
class Required:
    model: str


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str = "small"
    size: int = Field(default=1, validation_alias=AliasChoices("bytes", "length"))
    name: str = Field(default="", alias="title")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Keys(TypedDict):
    model: str


@pytest.mark.parametrize(
    ("declared", "context", "fits"),
    [
        (Defaults, {"model": "large", "user_id": "u", "seen": 3}, {"model": "large"}),
        (Defaults, None, {}),
        (Defaults, {"user_id": "u"}, {}),
        (Required, {"user_id": "u"}, None),
        (Required, None, None),
        (
            Model,
            {"model": "large", "length": 2, "title": "t", "user_id": "u"},
            {"model": "large", "length": 2, "title": "t"},
        ),
        (Open, {"user_id": "u"}, {"user_id": "u"}),
        (Keys, {"user_id": "u"}, {"user_id": "u"}),
        (None, {"user_id": "u"}, {"user_id": "u"}),
        (Defaults, Required("given"), Required("given")),
    ],
)
def test_a_class_gets_the_keys_that_it_knows(declared: object, context: Any, fits: Any) -> None:
    assert fitting(context, declared) == fits


def test_what_fits_can_be_built() -> None:
    given = {"model": "large", "bytes": 2, "title": "t", "user_id": "u"}

    assert Model(**fitting(given, Model)) == Model.model_validate({"model": "large", "bytes": 2, "title": "t"})
