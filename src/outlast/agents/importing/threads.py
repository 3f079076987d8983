"""One thread of LangGraph's PostgresSaver, copied checkpoint by checkpoint.

Checkpoints are put in the order of their ids, as LangGraph sorts them: so the newest of a namespace is its head here
too. Each is followed by what tasks wrote next to it. What is there already is not put again, so an import that was
stopped at any point goes on there; the writes of the last checkpoint that is there are put once more, which changes
nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, TASKS

from outlast.agents.checkpoints import seen
from outlast.agents.checkpoints.address import config_of, thread_key
from outlast.agents.importing.values import read_value
from outlast.agents.jsonable import jsonable
from outlast.domain.thread import ThreadMark, ThreadState
from outlast.errors import Conflict, InvalidInput, StateError
from outlast.storage.postgres.imports import Imports
from outlast.storage.postgres.langgraph_source import BlobKey, LangGraphTables, Place, SourceCheckpoint, SourceWrite

# A page is in memory, and a chat's checkpoints each hold the whole chat.
_PAGE: Final = 16
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# A count, and a random number that keeps the blobs of two forks apart.
_VERSION: Final = re.compile(r"(\d+)(?:\..*)?")
_NOTHING: Final[Mapping[str, Any]] = {}
# Before this version of a checkpoint, LangGraph kept the sends of a step with the step before it.
_SENDS_INSIDE: Final = 4


class Result(StrEnum):
    """What became of a thread."""

    IMPORTED = "imported"
    CONTINUED = "continued"  # a part of it was there
    UNCHANGED = "unchanged"  # all of it was there
    MOVED_ON = "moved_on"  # it was imported before and has been used here since


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """One thread's part of the report."""

    result: Result
    checkpoints: int = 0
    writes: int = 0


class Saver(Protocol):
    """What checkpoints are put into: a checkpointer, or something that only tries."""

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Put a checkpoint."""
        ...

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Put what a task wrote."""
        ...


def target_id(thread_id: str) -> str:
    """Return the id that a thread has here: as it is, but a UUID in lower case, as the API reads it."""
    return thread_id.lower() if _UUID.fullmatch(thread_id) else thread_id


class ThreadImport:
    """Copies one thread. `trial`: nothing is written, but everything is read, and encoded as it would be."""

    def __init__(
        self,
        source: LangGraphTables,
        target: Imports,
        saver: Saver,
        thread_id: str,
        *,
        agent: str | None = None,
        trial: bool = False,
    ) -> None:
        self._source = source
        self._target = target
        self._saver = saver
        self._source_id = thread_id
        self._thread_id = target_id(thread_id)
        self._agent = agent
        self._trial = trial
        # The last value of each channel: most do not change from one checkpoint to the next.
        self._values: dict[tuple[str, str], tuple[str, Any]] = {}
        self._versions: dict[str, Mapping[str, Any]] = {}
        self._heads: dict[str, str] = {}
        self._writes = 0

    async def copy(self) -> Copied:
        """Copy what is not there yet.

        Raises Conflict when the thread has a state of its own here, StateError naming the value that cannot be read or
        stored, InvalidInput when something is no checkpoint of LangGraph's, DatabaseUnavailable.
        """
        places = await self._source.places(self._source_id)
        present = await self._target.present(self._thread_id)
        missing = [place for place in places if place not in present]
        if present - set(places):
            return _moved_on(self._thread_id, missing)
        if self._trial or not missing:
            await self._copy(places, missing, present)
        else:
            await self._copy_safely(places, missing, present)
        result = Result.UNCHANGED if not missing else Result.CONTINUED if present else Result.IMPORTED
        return Copied(result=result, checkpoints=len(missing), writes=self._writes)

    async def _copy_safely(self, places: Sequence[Place], missing: Sequence[Place], present: set[Place]) -> None:
        """Copy so that nobody takes half of a thread for all of it."""
        await self._target.begin(self._thread_id, metadata=self._metadata())
        try:
            await self._copy(places, missing, present)
        except (StateError, InvalidInput):
            if not present:
                await self._target.discard(self._thread_id)
            raise
        mark, created_at = await self._standing(places)
        await self._target.finish(self._thread_id, mark, created_at=created_at)

    async def _copy(self, places: Sequence[Place], missing: Sequence[Place], present: set[Place]) -> None:
        first = places.index(missing[0]) if missing else len(places)
        start = max(first - 1, 0)
        self._take_heads(places[:start], present)
        for offset in range(start, len(places), _PAGE):
            for checkpoint, writes in await self._read(places[offset : offset + _PAGE]):
                await self._put(checkpoint, writes, new=checkpoint.place not in present)

    def _metadata(self) -> dict[str, Any]:
        return {} if self._agent is None else {"graph_id": self._agent}

    def _take_heads(self, before: Iterable[Place], present: set[Place]) -> None:
        for place in before:
            if place in present:
                self._heads[place.ns] = place.checkpoint_id

    async def _read(self, page: Sequence[Place]) -> list[tuple[SourceCheckpoint, list[SourceWrite]]]:
        """Return a page with its values in place, and with each checkpoint's writes."""
        found = await self._source.checkpoints(self._source_id, page)
        writes: dict[Place, list[SourceWrite]] = defaultdict(list)
        for write in await self._source.writes(self._source_id, page):
            writes[write.place].append(write)
        rows = [found[place] for place in page if place in found]
        blobs = await self._source.blobs(self._source_id, self._wanted(rows))
        for row in rows:
            _check(row)
            row.checkpoint["channel_values"] = {
                **(row.checkpoint.get("channel_values") or {}),
                **self._channel_values(row, blobs),
            }
            await self._take_sends(row)
        return [(row, writes[row.place]) for row in rows]

    def _wanted(self, rows: Iterable[SourceCheckpoint]) -> list[BlobKey]:
        wanted: dict[BlobKey, None] = {}
        for row in rows:
            for channel, version in row.checkpoint.get("channel_versions", {}).items():
                wanted[BlobKey(row.place.ns, channel, _text(version))] = None
        return [key for key in wanted if self._values.get((key.ns, key.channel), ("",))[0] != key.version]

    def _channel_values(self, row: SourceCheckpoint, blobs: Mapping[BlobKey, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for channel, version in row.checkpoint.get("channel_versions", {}).items():
            key = BlobKey(row.place.ns, channel, _text(version))
            known = self._values.get((key.ns, channel))
            if known is None or known[0] != key.version:
                blob = blobs.get(key)
                if blob is None or blob.kind == "empty":
                    continue
                known = (key.version, read_value(blob, path=f"checkpoint {row.place.checkpoint_id}, {channel}"))
                self._values[key.ns, channel] = known
            values[channel] = known[1]
        return values

    async def _take_sends(self, row: SourceCheckpoint) -> None:
        """Bring an old checkpoint into the form that LangGraph reads: the sends of its step are a channel of it."""
        if row.checkpoint.get("v", 1) >= _SENDS_INSIDE or not row.parent_id:
            return
        parent = Place(row.parent_id, row.place.ns)
        written = [w for w in await self._source.writes(self._source_id, [parent]) if w.channel == TASKS]
        if written:
            versions = row.checkpoint["channel_versions"]
            row.checkpoint["channel_values"][TASKS] = [self._written(write) for write in written]
            versions[TASKS] = max(versions.values(), default=1)

    async def _put(self, row: SourceCheckpoint, writes: Iterable[SourceWrite], *, new: bool) -> None:
        ns, checkpoint_id = row.place.ns, row.place.checkpoint_id
        _number_versions(row.checkpoint)
        versions = row.checkpoint["channel_versions"]
        if new:
            self._say_what_is_known(row)
            configurable = {"thread_id": self._thread_id, "checkpoint_ns": ns}
            if row.parent_id:
                configurable["checkpoint_id"] = row.parent_id
            before = self._versions.get(ns) if row.parent_id == self._heads.get(ns) else None
            before = before or _NOTHING
            moved = {channel: version for channel, version in versions.items() if before.get(channel) != version}
            await self._saver.aput(
                {"configurable": configurable},
                cast("Checkpoint", row.checkpoint),
                cast("CheckpointMetadata", row.metadata),
                moved,
            )
        self._heads[ns], self._versions[ns] = checkpoint_id, versions
        address = config_of(self._thread_id, ns, UUID(checkpoint_id))
        for (task_id, task_path), written in _by_task(writes).items():
            values = [(write.channel, self._written(write)) for write in written]
            await self._saver.aput_writes(address, values, task_id, task_path)
            self._writes += len(values)

    def _say_what_is_known(self, row: SourceCheckpoint) -> None:
        """Tell the checkpointer what a reader would have seen, which decides whether this leaves the line."""
        key, ns = thread_key(self._thread_id), row.place.ns
        if row.parent_id is None:
            if ns not in self._heads:
                seen.saw_empty(key, ns)
        elif row.parent_id != self._heads.get(ns):
            seen.addressed(key, ns, UUID(row.parent_id))

    def _written(self, write: SourceWrite) -> Any:
        return read_value(write.value, path=f"checkpoint {write.place.checkpoint_id}, write to {write.channel}")

    async def _standing(self, places: Sequence[Place]) -> tuple[ThreadMark | None, datetime | None]:
        """Return how the thread stands, at its newest checkpoint, and the time of its oldest."""
        first = await self._source.checkpoints(self._source_id, places[:1])
        created_at = _moment(first[places[0]].checkpoint.get("ts")) if first else None
        head = next((place for place in reversed(places) if not place.ns), None)
        if head is None:
            return None, created_at
        writes = await self._source.writes(self._source_id, [head])
        at = UUID(head.checkpoint_id)
        mark = ThreadMark(state=_state(writes), interrupts=self._questions(writes), waiting_at=at, stands_at=at)
        return mark, created_at

    def _questions(self, writes: Iterable[SourceWrite]) -> dict[str, list[dict[str, Any]]]:
        asked: dict[str, list[dict[str, Any]]] = {}
        for write in writes:
            if write.channel == INTERRUPT:
                values: Any = self._written(write)
                several = cast("Sequence[Any]", values) if isinstance(values, list | tuple) else [values]
                asked.setdefault(write.task_id, []).extend(
                    {"id": question.id, "value": jsonable(question.value)} for question in several
                )
        return asked


def _moved_on(thread_id: str, missing: Sequence[Place]) -> Copied:
    if missing:
        raise Conflict(
            f"thread {thread_id!r} has a state of its own here; delete the thread here, then import it again"
        )
    return Copied(result=Result.MOVED_ON)


def _check(row: SourceCheckpoint) -> None:
    try:
        UUID(row.place.checkpoint_id)
    except ValueError:
        raise InvalidInput(f"the checkpoint id {row.place.checkpoint_id!r} is not one of LangGraph's") from None
    missing = {"id", "ts", "channel_versions", "versions_seen"} - row.checkpoint.keys()
    if missing:
        raise InvalidInput(f"checkpoint {row.place.checkpoint_id} has no {', '.join(sorted(missing))}")


def _number_versions(checkpoint: dict[str, Any]) -> None:
    """Write the versions of channels as numbers, as our checkpointer counts on."""
    checkpoint["channel_versions"] = _numbered(checkpoint["channel_versions"])
    seen_by = checkpoint["versions_seen"].items()
    checkpoint["versions_seen"] = {node: _numbered(versions) for node, versions in seen_by}


def _numbered(versions: Mapping[str, Any]) -> dict[str, Any]:
    return {channel: _number(version) for channel, version in versions.items()}


def _number(version: object) -> object:
    if not isinstance(version, str):
        return version
    found = _VERSION.fullmatch(version)
    if found is None:
        raise InvalidInput(f"the channel version {version[:100]!r} is not one of LangGraph's")
    return int(found[1])


def _by_task(writes: Iterable[SourceWrite]) -> dict[tuple[str, str], list[SourceWrite]]:
    tasks: dict[tuple[str, str], list[SourceWrite]] = {}
    for write in writes:
        tasks.setdefault((write.task_id, write.task_path), []).append(write)
    return tasks


def _state(writes: Iterable[SourceWrite]) -> ThreadState:
    channels = {write.channel for write in writes}
    if INTERRUPT in channels:
        return ThreadState.INTERRUPTED
    return ThreadState.ERROR if ERROR in channels else ThreadState.IDLE


def _text(version: object) -> str:
    """Return a version as PostgreSQL writes the JSON it is in."""
    return version if isinstance(version, str) else str(version)


def _moment(ts: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(ts))
    except ValueError:
        return None
