"""What a graph says while it runs, as records of a stream.

`Part` is one chunk of the graph, `Chunk` its JSON. A part holds the live objects of the graph's state, so it has to be
encoded before the graph goes on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, cast

from langgraph.types import Interrupt, StateSnapshot

from outlast.agents.jsonable import encoded
from outlast.domain.outcome import Outcome

#: Separates the segments of a namespace.
NS_SEPARATOR: Final = "|"
_INTERRUPTS: Final = "__interrupt__"
# What of `configurable` says where a checkpoint is; the rest is the server's or the caller's own business.
_ADDRESS: Final = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
_OURS: Final = frozenset(
    {"langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions", "langgraph_request_id"}
)


class Chunk(NamedTuple):
    """One record: a stream mode of LangGraph (or `v3`), the namespace of the graph that said it, and its JSON."""

    mode: str
    ns: str
    data: bytes


@dataclass(slots=True)
class Part:
    """One chunk of a graph; `ns` is empty for the root graph."""

    mode: str
    ns: tuple[str, ...]
    data: Any
    #: The questions that a `values` chunk came with.
    interrupts: tuple[Interrupt, ...] = ()
    _json: bytes | None = field(default=None, init=False)

    def json(self) -> bytes:
        """Return `data` as JSON, without the questions; encoded once, however many ask."""
        if self._json is None:
            self._json = encoded(self.data)
        return self._json


class Encoder(Protocol):
    """Turns the parts of one attempt into records."""

    #: What the graph is asked for, beside the root's values.
    modes: Sequence[str]
    #: Whether the graphs inside of the graph speak, too.
    subgraphs: bool

    def begin(self) -> Iterable[Chunk]:
        """Return what comes before the first part."""
        ...

    def encode(self, part: Part) -> Iterable[Chunk]:
        """Return the records of one part, which may also be none, or such that were held back before."""
        ...

    def finish(self, outcome: Outcome) -> Iterable[Chunk]:
        """Return what comes after the last part, however the attempt ended."""
        ...


class ChunkEncoder:
    """Records of the stream modes as LangGraph names them: one for each part."""

    def __init__(self, modes: Iterable[str], *, subgraphs: bool) -> None:
        self._wanted = frozenset("messages" if mode == "messages-tuple" else mode for mode in modes)
        self.modes: Sequence[str] = sorted(self._wanted)
        self.subgraphs = subgraphs

    def begin(self) -> Iterable[Chunk]:
        """Return nothing: the stream itself says that an attempt begins."""
        return ()

    def encode(self, part: Part) -> Iterable[Chunk]:
        """Return the record of a part of a mode that was asked for."""
        if part.mode not in self._wanted:
            return ()
        return (Chunk(part.mode, NS_SEPARATOR.join(part.ns), _data_of(part)),)

    def finish(self, outcome: Outcome) -> Iterable[Chunk]:  # noqa: ARG002 - the protocol's
        """Return nothing: nothing is held back, and the run's row says how it ended."""
        return ()


def clean_checkpoint(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload of a checkpoint without what `configurable` and metadata hold for the server alone."""
    return {
        **payload,
        "config": _address_of(payload.get("config")),
        "parent_config": _address_of(payload.get("parent_config")),
        "metadata": _public(payload.get("metadata")),
        "tasks": [clean_task({**task, "state": _state_of(task.get("state"))}) for task in payload.get("tasks") or ()],
    }


def clean_task(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload of a task with its error, if it has one, as its type and text."""
    error = payload.get("error")
    told = {"error": {"error": type(error).__name__, "message": _text(error)}}
    return {**payload, **told} if isinstance(error, BaseException) else dict(payload)


def _data_of(part: Part) -> bytes:
    if part.mode == "values":
        return _with_interrupts(part)
    clean = _CLEAN.get(part.mode)
    return part.json() if clean is None else encoded(clean(part.data))


def _with_interrupts(part: Part) -> bytes:
    if not part.interrupts or not isinstance(part.data, Mapping):
        return part.json()
    # The state is the dearest thing to encode, so the questions are put into the JSON that is there.
    state, questions = part.json(), encoded({_INTERRUPTS: part.interrupts})
    return questions if state == b"{}" else state[:-1] + b"," + questions[1:]


def _clean_debug(data: Mapping[str, Any]) -> dict[str, Any]:
    clean = clean_checkpoint if data.get("type") == "checkpoint" else clean_task
    return {**data, "payload": clean(data["payload"])}


def _clean_message(data: tuple[Any, Mapping[str, Any]]) -> list[Any]:
    message, metadata = data
    return [message, _public(metadata)]


def _clean_event(event: Mapping[str, Any]) -> dict[str, Any]:
    data = cast("Mapping[str, Any]", event.get("data") or {})
    told = {**event, "metadata": _public(event.get("metadata"))}
    return {**told, "data": {**data, "chunk": _clean_chunk(data["chunk"])}} if "chunk" in data else told


def _clean_chunk(chunk: Any) -> Any:
    """Return what a graph streamed, which goes through its events as (mode, data) or (namespace, mode, data)."""
    if not isinstance(chunk, tuple):
        return chunk
    *where, data = cast("tuple[Any, ...]", chunk) or (None,)
    clean = _CLEAN.get(where[-1]) if where and isinstance(where[-1], str) else None
    return [*where, clean(data)] if clean is not None else cast("Any", chunk)


_CLEAN: Final[Mapping[str, Callable[[Any], object]]] = {
    "checkpoints": clean_checkpoint,
    "tasks": clean_task,
    "debug": _clean_debug,
    "messages": _clean_message,
    "events": _clean_event,
}


def _address_of(config: Any) -> Any:
    if not config:
        return config
    configurable = cast("Mapping[str, Any]", config.get("configurable") or {})
    return {"configurable": {key: configurable[key] for key in _ADDRESS if key in configurable}}


def _public(metadata: Any) -> dict[str, Any]:
    given = cast("Mapping[str, Any]", metadata or {})
    return {key: value for key, value in given.items() if key not in _OURS and not key.startswith("__")}


def _state_of(state: Any) -> Any:
    """Return the state of the graph inside of a task: a snapshot, or where it is."""
    if not isinstance(state, StateSnapshot):
        return _address_of(state)
    snapshot: Any = state
    return clean_checkpoint({**snapshot._asdict(), "tasks": [task._asdict() for task in snapshot.tasks]})


def _text(error: object) -> str:
    try:
        return str(error)
    # An error that cannot even be told must not take the stream with it.
    except Exception:  # noqa: BLE001
        return ""
