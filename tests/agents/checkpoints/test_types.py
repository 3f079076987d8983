"""Types come back exactly, in a new process too; what cannot come back is an error and never a stand-in."""

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from checkpoint_helpers import at, put, rows, values
from pydantic import BaseModel

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.errors import StateNotSerializable, StateTooLarge, StateUnreadable
from outlast.settings import DatabaseSettings
from savers import OpenSaver

STATE_TYPES = """
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import NamedTuple
from uuid import UUID
from pydantic import BaseModel

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: int
    colour: Colour

class Order(BaseModel):
    id: UUID
    at: datetime
    lines: list[Point]

class Pair(NamedTuple):
    left: str
    right: int

STATE = {
    "model": Order(id=UUID(int=7), at=datetime(2026, 1, 2, 3, tzinfo=UTC), lines=[Point(1, Colour.RED)]),
    "dataclass": Point(2, Colour.RED), "enum": Colour.RED, "datetime": datetime(2026, 1, 1), "uuid": UUID(int=1),
    "pair": Pair("a", 1), "tuple": (1, (2,)), "set": {1, 2}, "bytes": b"\\x00\\xff", "decimal": Decimal("1.10"),
    "delta": timedelta(seconds=1.5), "list": [Point(3, Colour.RED), Pair("b", 2)], "big": 2**70, "none": None,
}
"""
SCRIPT = """
import asyncio, sys
sys.path[:0] = [sys.argv[2], sys.argv[4]]
import state_types
from checkpoint_helpers import at, put, values
from outlast.agents.checkpoints.saver import Checkpointer

async def main():
    async with Checkpointer.open(sys.argv[1]) as saver:
        if sys.argv[3] == "write":
            await put(saver, at("t"), state_types.STATE)
        else:
            found = await values(saver, at("t"))
            assert found == state_types.STATE, found
            assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in state_types.STATE.items()}

asyncio.run(main())
"""


def test_every_type_comes_back_exactly_in_a_new_process(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "state_types.py").write_text(STATE_TYPES)
    helpers = str(Path(__file__).parent)

    for what in ("write", "read"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, database_url, str(tmp_path), what, helpers],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


class Kind(Enum):
    ONE = 1


@dataclass
class Gone:
    kind: Kind


class Ticket(BaseModel):
    gone: Gone


@pytest.mark.parametrize("state", [Gone(Kind.ONE), {"deep": [Ticket(gone=Gone(Kind.ONE))]}], ids=["value", "nested"])
async def test_a_type_that_no_longer_exists_is_an_error_that_names_the_place_and_quarantines_the_thread(
    open_saver: OpenSaver, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, state: Any
) -> None:
    await put(await open_saver(), at("t"), {"fine": 1, "ticket": state})
    monkeypatch.delattr(sys.modules[__name__], "Gone")
    monkeypatch.delattr(sys.modules[__name__], "Ticket")

    saver = await open_saver()
    with pytest.raises(StateUnreadable) as raised:
        await saver.aget_tuple(at("t"))

    assert raised.value.path.startswith("ticket")
    assert "ticket" in str(raised.value)
    (reason,) = await rows(database.url, "SELECT quarantine_reason FROM threads")
    assert reason == (str(raised.value),)


async def test_a_damaged_or_missing_row_is_an_error_and_never_an_incomplete_state(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    state = {"items": [{"content": "x" * 100}, {"content": "y" * 100}], "text": "z" * 100}
    for damage in (
        "DELETE FROM checkpoint_lists",
        "DELETE FROM checkpoint_blobs",
        r"UPDATE checkpoint_blobs SET data = '\xc1'",
        r"UPDATE checkpoints SET body = '\x00'",
        r"UPDATE checkpoint_lists SET items = '\x90'",
    ):
        saver = await open_saver()
        await put(saver, at(damage), state)
        await rows(database.url, damage)
        with pytest.raises(StateUnreadable):
            await (await open_saver()).aget_tuple(at(damage))
        with pytest.raises(StateUnreadable):
            _ = [found async for found in (await open_saver()).alist(at(damage))]
        await saver.adelete_thread(damage)


async def test_only_allowed_types_are_restored(database: DatabaseSettings, open_saver: OpenSaver) -> None:
    await put(await open_saver(), at("t"), {"kind": Kind.ONE})

    async with Checkpointer.open(database.url, allowed_types=[Ticket]) as narrow:
        with pytest.raises(StateUnreadable, match="kind"):
            await narrow.aget_tuple(at("t"))


# --- poison ----------------------------------------------------------------------------------------------------------


async def test_values_that_break_json_are_stored_exactly(open_saver: OpenSaver) -> None:
    state = {
        "nul": "a\0b", "list": ["\0", {"\0": "\0"}], "infinite": float("-inf"), "big": [2**70, -(2**70)],
        "keys": {1: "a", (1, 2): "b", None: "c"}, "empty": "", "deep": [[[[["x"]]]]],
    }  # fmt: skip
    await put(await open_saver(), at("t"), {**state, "nan": float("nan")})

    found = await values(await open_saver(), at("t"))

    assert str(found.pop("nan")) == "nan"
    assert found == state


async def test_a_lone_surrogate_is_replaced_and_breaks_nothing(open_saver: OpenSaver) -> None:
    await put(await open_saver(), at("t"), {"text": "a\ud800b", "list": ["\udfff"]})

    assert await values(await open_saver(), at("t")) == {"text": "a?b", "list": ["?"]}


async def test_metadata_that_json_cannot_hold_is_cleaned(open_saver: OpenSaver) -> None:
    dirty = {
        "nul": "a\0b", "surrogate": "a\ud800", "nan": float("nan"), "big": 2**70, "nested": [{"\0": "\ud800\0"}],
        "object": Kind.ONE, "literal": r"\u0000",
    }  # fmt: skip
    await put(await open_saver(), at("t"), {"x": 1}, **dirty)

    found = await (await open_saver()).aget_tuple(at("t"))

    assert found is not None
    assert found.metadata["nul"] == "ab"
    assert found.metadata["nan"] is None
    assert found.metadata["literal"] == r"\u0000"


async def test_a_value_over_the_cap_is_named_and_nothing_is_stored(database: DatabaseSettings) -> None:
    async with Checkpointer.on(database, codec=Codec(max_value_bytes=10_000), cache_bytes=0) as saver:
        head = await put(saver, at("t"), {"x": 1})
        for state, path in (
            ({"x": "y" * 20_000}, "x"),
            ({"items": [{"a": 1}, {"a": "y" * 20_000}]}, "items[1]"),
            ({"doc": {"pages": [{"n": 1}, "y" * 20_000]}}, "doc.pages[1]"),
        ):
            with pytest.raises(StateTooLarge) as raised:
                await put(saver, head, state, step=1)
            assert raised.value.path == path
        with pytest.raises(StateTooLarge, match="write to out"):
            await saver.aput_writes(head, [("out", "y" * 20_000)], "task")
        assert await values(saver, at("t")) == {"x": 1}
        await put(saver, head, {"x": 2}, step=1)


def cyclic() -> list[Any]:
    items: list[Any] = [{}]
    items.append(items)
    return items


def deep(levels: int) -> list[Any]:
    items: list[Any] = []
    for _ in range(levels):
        items = [items]
    return items


@pytest.mark.parametrize(
    "value", [object(), lambda: None, cyclic(), deep(5000), [{"f": open}], {"a": [{"b": object()}]}],
    ids=["object", "function", "cycle", "deep", "in a list", "nested"],
)  # fmt: skip
async def test_what_cannot_be_stored_is_named_and_nothing_is_stored(saver: Checkpointer, value: Any) -> None:
    head = await put(saver, at("t"), {"x": 1})

    with pytest.raises(StateNotSerializable) as raised:
        await put(saver, head, {"x": 2, "bad": value}, step=1)
    with pytest.raises(StateNotSerializable):
        await saver.aput_writes(head, [("bad", value)], "task")

    assert raised.value.path.startswith("bad")
    assert await values(saver, at("t")) == {"x": 1}


async def test_an_item_that_was_spoilt_in_place_is_named(saver: Checkpointer) -> None:
    items: list[Any] = [{"a": 1}, {"a": 2}]
    head = await put(saver, at("t"), {"items": items})
    items[1]["a"] = object()

    with pytest.raises(StateNotSerializable) as raised:
        await put(saver, head, {"items": items}, step=1)

    assert raised.value.path == "items[1].a"


async def test_instants_keep_their_zone(open_saver: OpenSaver) -> None:
    state = {"aware": datetime(2026, 1, 1, tzinfo=UTC), "id": UUID(int=3)}
    await put(await open_saver(), at("t"), state)

    restored = await values(await open_saver(), at("t"))
    assert restored == state
    assert restored["aware"].tzinfo is UTC
