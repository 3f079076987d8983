"""What an attempt knows of the effects of a task, and which of them a call that comes now is.

A task that is executed again asks for its effects again, and finds them by name, number and arguments. Calls of
parallel branches may come in another order than before, so the arguments count more than the number. A call with other
arguments than any that is left is not made: the one that was begun in its place may have been applied.
"""

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from outlast.calls.scope import Place, Scope
from outlast.domain.effect import Asked, EffectRow

if TYPE_CHECKING:
    from outlast.storage.postgres.effects import EffectStore


@dataclass(slots=True)
class TaskEffects:
    """The effects of one task, over all executions of it."""

    #: By key, in the order in which they were begun.
    rows: dict[str, EffectRow] = field(default_factory=dict[str, EffectRow])
    asked: list[Asked] = field(default_factory=list[Asked])
    loaded: bool = False
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Questions:
    """The questions of one execution about its effects: LangGraph knows the answers by their order alone."""

    #: How many of the task's questions this execution has asked again; what was answered to each.
    answers: list[Any] = field(default_factory=list[Any])
    #: How many of its own questions an effect has had the answers of.
    heard: Counter[str] = field(default_factory=Counter[str])
    #: The execution ends here: it waits for an answer.
    ended: BaseException | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: What people are shown of calls of tools that they have to approve, by key.
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    #: Calls of tools of which it is not yet known whether they may be made.
    undecided: int = 0
    #: Set, and replaced, whenever one is decided.
    decided: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Execution:
    """One execution of a task: which of its effects have been asked for so far."""

    place: Place
    task: TaskEffects
    questions: Questions = field(default_factory=Questions)
    counts: Counter[str] = field(default_factory=Counter[str])
    #: Keys of the effects that calls of this execution have been found to be.
    taken: set[str] = field(default_factory=set[str])
    #: Keys that this execution has called the receiver with.
    called: set[str] = field(default_factory=set[str])
    #: Set, and replaced, whenever a key is taken.
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def next_ordinal(self, name: str) -> int:
        """Count a call, in the order in which calls come."""
        self.counts[name] += 1
        return self.counts[name] - 1

    def find(self, name: str, ordinal: int, args_hash: UUID) -> EffectRow | None:
        """Return the effect that the call is: the one in its place, else one with the same arguments."""
        same = [row for row in self.left(name) if row.args_hash == args_hash]
        return next((row for row in same if row.ordinal == ordinal), same[0] if same else None)

    def left(self, name: str) -> list[EffectRow]:
        """Return the effects of that name which no call of this execution was found to be."""
        rows = self.task.rows.values()
        return [row for row in rows if row.name == name and row.ordinal is not None and row.key not in self.taken]

    def in_the_way(self, name: str) -> EffectRow | None:
        """Return one of them that may have been applied."""
        return next((row for row in self.left(name) if row.state != "failed"), None)

    def free_ordinal(self, name: str, ordinal: int, new: "dict[str, set[int]]") -> int:
        """Return the number of an effect that was never begun, and reserve it."""
        used = new.setdefault(name, set())
        used |= {row.ordinal for row in self.task.rows.values() if row.name == name and row.ordinal is not None}
        free = ordinal if ordinal not in used else max(used) + 1
        used.add(free)
        return free

    def take(self, key: str) -> None:
        """Mark the effect as found."""
        self.taken.add(key)
        self.moved.set()
        self.moved = asyncio.Event()


@dataclass(slots=True)
class EffectMemory:
    """The tasks of an attempt."""

    scope: Scope
    store: "EffectStore"
    _tasks: dict[str, TaskEffects] = field(default_factory=dict[str, TaskEffects])
    _executions: dict[Place, Execution] = field(default_factory=dict[Place, Execution])
    #: Numbers that were given to effects that may not be stored yet, by task and name.
    _new: dict[str, dict[str, set[int]]] = field(default_factory=dict[str, dict[str, set[int]]])

    def execution(self) -> Execution:
        """Return the execution that the caller is part of."""
        place = self.scope.locate() or Place("")
        found = self._executions.get(place)
        if found is None:
            task = self._tasks.setdefault(place.task, TaskEffects())
            found = self._executions[place] = Execution(place, task)
        return found

    async def load(self, execution: Execution) -> None:
        """Read what earlier attempts have left of the task."""
        task = execution.task
        async with task.loading:
            if task.loaded:
                return
            if not (self.scope.fresh or execution.place.new):
                rows, asked = await self.store.of_task(self.scope.lineage, task_id(execution.place))
                task.rows = {row.key: row for row in rows} | task.rows
                task.asked = asked
            task.loaded = True

    def reserve(self, execution: Execution, name: str, ordinal: int) -> int:
        """Return the number of an effect that was never begun."""
        return execution.free_ordinal(name, ordinal, self._new.setdefault(execution.place.task, {}))


def task_id(place: Place) -> UUID:
    """Return what stands for the task in the database."""
    return UUID(bytes=place.key)


def key_in_task(scope: Scope, place: Place, name: str, ordinal: int) -> str:
    """Return the key of the n-th effect of a name in its task: the same at each execution, on whatever worker."""
    return _key(["v1", scope.tenant, str(scope.lineage), place.task, ordinal, name])


def key_of_business(scope: Scope, name: str, business_key: str) -> str:
    """Return the key of an effect that the project itself has named: the same in every run of the tenant."""
    return _key(["v1", scope.tenant, "key", name, business_key])


def _key(parts: list[Any]) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()
