"""Any sequence of operations leaves the values that LangGraph's in-memory saver has (the oracle for values only)."""

import asyncio
import copy
from typing import Any
from uuid import uuid4

from checkpoint_helpers import CHECKPOINT_TABLES, at, broken_or_left_over, id_of, metadata, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.settings import DatabaseSettings
from outlast.testing.postgres import Databases

LONG = "long enough to be kept as a blob of its own and not within the row that refers to it "
ITEMS = st.one_of(
    st.integers(0, 3),
    st.sampled_from(["a", "b"]),
    st.builds(lambda n: {"content": f"{LONG}{n}"}, st.integers(0, 5)),
    st.builds(lambda n: {"n": n}, st.integers(0, 3)),
)
INDEX = st.integers(0, 6)
OPERATIONS = st.one_of(
    st.tuples(st.just("append"), st.lists(ITEMS, min_size=1, max_size=3)),
    st.tuples(st.just("insert"), INDEX, ITEMS),
    st.tuples(st.just("replace"), INDEX, ITEMS),
    st.tuples(st.just("mutate"), INDEX, st.integers(0, 3)),
    st.tuples(st.just("remove"), INDEX),
    st.tuples(st.just("move"), INDEX),
    st.tuples(st.just("assign"), st.one_of(ITEMS, st.lists(ITEMS, max_size=4))),
    st.tuples(st.just("keep")),
    st.tuples(st.just("fork"), st.integers(0, 20)),
    st.tuples(st.just("reload")),
    st.tuples(st.just("prune")),
    st.tuples(st.just("delete run"), st.integers(0, 3)),
    st.tuples(st.just("copy")),
)


class Subject:
    """The saver and the oracle, taken through the same operations."""

    def __init__(self, database: DatabaseSettings) -> None:
        self.database = database
        self.oracle = InMemorySaver()
        self.thread = f"t{uuid4()}"
        self.state: dict[str, Any] = {"items": []}
        self.head: Any = None
        # Checkpoints that must still be there, oldest first, and the run of each.
        self.line: dict[str, int] = {}
        self.run = 0
        self.step = 0

    async def open(self) -> None:
        self._opening = Checkpointer.on(self.database, codec=Codec(), cache_bytes=1000)
        self.saver = await self._opening.__aenter__()

    async def close(self) -> None:
        await self._opening.__aexit__(None, None, None)

    async def put(self) -> None:
        self.step += 1
        self.run = self.step // 3
        versions: dict[str, Any] = {"items": self.step, "other": self.step}
        values = {**self.state, "other": f"{LONG}{self.step % 2}"}
        checkpoint: Checkpoint = {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}
        self.oracle.put(
            self.head or at(self.thread), copy.deepcopy(checkpoint), metadata(run_id=f"{self.run}"), versions
        )
        self.head = await self.saver.aput(
            self.head or at(self.thread), checkpoint, metadata(run_id=f"{self.thread} {self.run}"), versions
        )
        self.line[id_of(self.head)] = self.run

    async def apply(self, name: str, *arguments: Any) -> None:
        if (change := getattr(self, f"_{name.replace(' ', '_')}", None)) is not None:
            await change(*arguments)
        else:
            self._change_items(name, *arguments)
        if name not in {"prune", "delete run", "copy", "reload"}:
            await self.put()

    def _change_items(self, name: str, *arguments: Any) -> None:
        items = self.state["items"]
        if name == "assign":
            self.state["items"] = arguments[0]
        elif type(items) is list and name == "append":
            items.extend(copy.deepcopy(arguments[0]))
        elif type(items) is list and items and name not in {"keep", "append"}:
            index, *more = arguments
            index %= len(items)
            if name == "insert":
                items.insert(index, *more)
            elif name == "replace":
                items[index] = more[0]
            elif name in {"remove", "move"}:
                items += [items.pop(index)][: name == "move"]
            elif isinstance(items[index], dict):
                items[index]["n"] = more[0]

    async def _fork(self, index: int) -> None:
        checkpoint_id = list(self.line)[index % len(self.line)]
        found = await self.saver.aget_tuple(at(self.thread, checkpoint_id))
        assert found is not None
        self.head = found.config
        self.state = {"items": found.checkpoint["channel_values"]["items"]}

    async def _reload(self) -> None:
        await self.close()
        await self.open()
        await self._read_head()

    async def _prune(self) -> None:
        await self.saver.aprune([self.thread])
        self.line = {id_of(self.head): self.line[id_of(self.head)]}

    async def _delete_run(self, run: int) -> None:
        run = self.run - run
        remaining = {checkpoint_id: its for checkpoint_id, its in self.line.items() if its != run}
        if remaining:
            await self.saver.adelete_for_runs([f"{self.thread} {run}"])
            if id_of(self.head) not in remaining:
                self.head = at(self.thread, list(remaining)[-1])
            self.line = remaining
            await self._read_head()

    async def _copy(self) -> None:
        target = f"t{uuid4()}"
        await self.saver.acopy_thread(self.thread, target)
        self._copy_oracle(target)
        await self.saver.adelete_thread(self.thread)
        self.thread = target
        self.head = at(target, id_of(self.head))

    def _copy_oracle(self, target: str) -> None:
        for checkpoint_id in self.line:
            found = self.oracle.get_tuple(at(self.thread, checkpoint_id))
            assert found is not None
            versions = found.checkpoint["channel_versions"]
            self.oracle.put(at(target), copy.deepcopy(found.checkpoint), found.metadata, versions)

    async def _read_head(self) -> None:
        found = await self.saver.aget_tuple(at(self.thread))
        assert found is not None
        assert id_of(found) == id_of(self.head)
        self.head = found.config
        self.state = {"items": found.checkpoint["channel_values"]["items"]}

    async def check(self) -> None:
        async with Checkpointer.on(self.database, codec=Codec(), cache_bytes=0) as fresh:
            head = await fresh.aget_tuple(at(self.thread))
            assert head is not None
            assert id_of(head) == id_of(self.head)
            listed = {id_of(found): found async for found in fresh.alist(at(self.thread))}
            assert listed.keys() == self.line.keys()
            for checkpoint_id, found in listed.items():
                expected = self.oracle.get_tuple(at(self.thread, checkpoint_id))
                assert expected is not None
                assert repr(found.checkpoint["channel_values"]) == repr(expected.checkpoint["channel_values"])
        assert [problem for problem in await broken_or_left_over(self.database.url) if "left over" not in problem] == []


def test_any_sequence_of_operations_keeps_the_values(databases: Databases, database: DatabaseSettings) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(operations=st.lists(OPERATIONS, min_size=3, max_size=20))
    def check(operations: list[tuple[Any, ...]]) -> None:
        asyncio.run(run(operations))

    async def run(operations: list[tuple[Any, ...]]) -> None:
        subject = Subject(database)
        await subject.open()
        try:
            await subject.put()
            for operation in operations:
                await subject.apply(*operation)
            await subject.check()
        finally:
            await subject.close()
        await rows(
            database.url,
            f"TRUNCATE threads, runs, run_details, idempotency_keys, {', '.join(CHECKPOINT_TABLES)} CASCADE",
        )

    check()
