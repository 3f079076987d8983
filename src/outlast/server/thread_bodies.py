"""Threads in the words of the Agent Server API: what clients send, and what they get."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, Field

from outlast.domain.thread import ThreadStatus, ThreadView, Ttl, TtlStrategy
from outlast.errors import InvalidInput
from outlast.runtime import Runtime
from outlast.server import agent_inbox
from outlast.server.paging import Limit, Offset, SortOrder, partial_model
from outlast.server.run_bodies import Body, CheckpointBody, CommandBody, Name, SendBody

_A_CENTURY: Final = 52_596_000
_MOST_IDS: Final = 1000
Minutes = Annotated[float, Field(gt=0, le=_A_CENTURY, allow_inf_nan=False)]
ThreadField = Literal[
    "thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "context", "status", "values",
    "interrupts", "error",
]  # fmt: skip
#: Of a state: `values`, or one of them as `values.messages`.
StateFields = Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=100)]
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(-?\d{1,9})\]")


class TtlBody(Body):
    """How long a thread lives untouched, in minutes, and what is deleted then."""

    ttl: Minutes
    strategy: TtlStrategy = "delete"


class StateUpdateBody(Body):
    """What one node is said to have returned."""

    values: dict[str, Any] | list[Any] | None = None
    command: CommandBody | None = None
    as_node: Name | None = None


class SuperstepBody(Body):
    """Updates that count as one step of the graph."""

    updates: Annotated[list[StateUpdateBody], Field(min_length=1, max_length=1000)]


class NewThreadBody(Body):
    """A thread that is wanted."""

    thread_id: Annotated[str | None, Field(json_schema_extra={"format": "uuid"})] = None
    metadata: dict[str, Any] | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None
    ttl: Minutes | TtlBody | None = None
    supersteps: Annotated[list[SuperstepBody], Field(max_length=1000)] | None = None


class ThreadChangeBody(Body):
    """What changes: metadata is merged, a TTL starts anew."""

    metadata: dict[str, Any] | None = None
    ttl: Minutes | TtlBody | None = None


class MetadataBody(Body):
    """What is merged into a thread's metadata."""

    metadata: dict[str, Any]


class ThreadFilterBody(Body):
    """Which threads are meant; metadata and values have to hold what is given here."""

    metadata: dict[str, Any] | None = None
    values: dict[str, Any] | None = None
    status: ThreadStatus | None = Field(default=None, strict=False)


class ThreadSearchBody(ThreadFilterBody):
    """Which threads are wanted, in which order, and what of them."""

    ids: Annotated[list[Name], Field(max_length=_MOST_IDS)] | None = None
    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] | None = None
    sort_order: SortOrder | None = None
    select: Annotated[list[ThreadField], Field(max_length=100)] | None = None
    extract: Annotated[dict[Name, Name], Field(max_length=10)] | None = None

    def check(self) -> None:
        """Raise InvalidInput for a path of `extract` that leads nowhere."""
        for alias, path in (self.extract or {}).items():
            _steps(path, alias)

    @property
    def fields(self) -> set[str]:
        """The fields of a thread that are needed."""
        roots = {re.split(r"[.\[]", path, maxsplit=1)[0] for path in (self.extract or {}).values()}
        return {*(self.select or THREAD_FIELDS), *roots}


class PruneBody(Body):
    """Threads to delete, or whose history is to be deleted."""

    thread_ids: Annotated[list[Name], Field(max_length=_MOST_IDS)]
    strategy: Literal["delete", "keep_latest"] = "delete"


class StateBody(Body):
    """A change of the state, as if a node had returned `values`."""

    values: dict[str, Any] | list[Any] | None = None
    as_node: Name | None = None
    checkpoint: CheckpointBody | None = None
    checkpoint_id: Name | None = None


class StateQueryBody(Body):
    """Which state is wanted."""

    checkpoint: CheckpointBody
    subgraphs: bool | None = None
    select: StateFields | None = None


class HistoryBody(Body):
    """Which states are wanted, newest first."""

    limit: Limit = 1
    before: Name | CheckpointBody | None = None
    metadata: dict[str, Any] | None = None
    checkpoint: CheckpointBody | None = None
    select: StateFields | None = None


class ThreadShown(BaseModel):
    """A thread. `values` is null before its first run, `interrupts` are its open questions by task."""

    thread_id: str
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime
    metadata: dict[str, Any]
    status: ThreadStatus
    config: dict[str, Any]
    values: Any
    interrupts: dict[str, list[dict[str, Any]]]
    error: dict[str, Any] | None
    ttl: dict[str, Any] | None = None
    extracted: dict[str, Any] | None = None


class StateShown(BaseModel):
    """A state of a thread; `select` leaves out what was not asked for."""

    values: Any = None
    next: list[str] = []
    tasks: list[dict[str, Any]] = []
    metadata: dict[str, Any] | None = None
    created_at: str | None = None
    checkpoint: dict[str, Any] | None = None
    parent_checkpoint: dict[str, Any] | None = None
    interrupts: list[dict[str, Any]] = []
    checkpoint_id: str | None = None
    parent_checkpoint_id: str | None = None


PartOfThread = partial_model(ThreadShown)
THREAD_FIELDS: Final = tuple(name for name in ThreadShown.model_fields if name not in ("ttl", "extracted"))


def thread_body(thread: ThreadView, *, ttl: bool = False) -> dict[str, Any]:
    """Return a thread as clients get it."""
    body: dict[str, Any] = {
        "thread_id": thread.id,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "state_updated_at": thread.state_updated_at,
        "metadata": thread.metadata,
        "status": thread.status,
        "config": thread.config,
        "values": thread.values,
        "interrupts": agent_inbox.shown(thread.interrupts),
        "error": thread.error,
    }
    if ttl:
        body["ttl"] = None if thread.ttl is None else {
            "strategy": thread.ttl.strategy, "ttl_minutes": thread.ttl.minutes, "expires_at": thread.expires_at
        }  # fmt: skip
    return body


def found_body(thread: ThreadView, search: ThreadSearchBody) -> dict[str, Any]:
    """Return a thread as a search asked for it."""
    whole: dict[str, Any] = {**thread_body(thread), "context": thread.config.get("configurable") or {}}
    body = {name: whole[name] for name in search.select or THREAD_FIELDS}
    if search.extract:
        body["extracted"] = {alias: _at(whole, _steps(path, alias)) for alias, path in search.extract.items()}
    return body


def ttl_of(given: float | TtlBody | None) -> Ttl | None:
    """Return the TTL that a client sent: minutes, or with a strategy."""
    if given is None:
        return None
    return Ttl(minutes=given.ttl, strategy=given.strategy) if isinstance(given, TtlBody) else Ttl(minutes=given)


def default_ttl(runtime: Runtime) -> Ttl | None:
    """Return how long threads live that say nothing of their own."""
    rules = runtime.project.sections.checkpointer.ttl
    if rules is None or rules.default_ttl is None:
        return None
    return Ttl(minutes=rules.default_ttl, strategy=rules.strategy)


def command_of(body: CommandBody | None) -> Mapping[str, Any] | None:
    """Return a command as the graph's side reads it."""
    if body is None:
        return None
    command = body.model_dump(exclude_unset=True)
    if isinstance(body.goto, SendBody | list):
        targets = [body.goto] if isinstance(body.goto, SendBody) else body.goto
        command["goto"] = [target if isinstance(target, str) else target.model_dump() for target in targets]
    return command


def _steps(path: str, alias: str) -> list[str | int]:
    root = re.split(r"[.\[]", path, maxsplit=1)[0]
    rest = path[len(root) :]
    steps = list(_STEP.finditer(rest))
    whole = "".join(step[0] for step in steps) == rest
    if not whole or root not in (*THREAD_FIELDS, "context"):
        msg = f"extract.{alias}: {path[:100]!r} is no path into a thread; write for example values.messages[-1].content"
        raise InvalidInput(msg, field=f"extract.{alias}")
    return [root, *(int(step[2]) if step[1] is None else step[1] for step in steps)]


def _at(value: Any, steps: Sequence[str | int]) -> Any:
    """Return what is at the end of a path; None where it does not lead on."""
    for step in steps:
        if isinstance(step, str):
            value = cast("Mapping[str, Any]", value).get(step) if isinstance(value, Mapping) else None
        else:
            items = cast("Sequence[Any]", value if isinstance(value, list) else ())
            value = items[step] if -len(items) <= step < len(items) else None
    return value
