"""How a run is called, streamed and ended: what the Agent Server API lets a client choose for one run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, Self, cast

import orjson

#: What happens to the unfinished runs of a thread when another one comes.
Multitask = Literal["reject", "enqueue", "interrupt", "rollback"]
#: What a cancellation leaves behind: what the run wrote, or nothing.
CancelAction = Literal["interrupt", "rollback"]
#: Who asked for the run, which decides what becomes of it when the graph asks a person: a plain run waits and goes on,
#: a run of the Agent Server API (v1, or the thread-centred v3) has ended, and the answer is another run.
Protocol = Literal["plain", "v1", "v3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Choices of one run. Stored with it: whoever executes it, on whatever attempt, reads the same."""

    protocol: Protocol = "plain"
    #: `resume`, `update`, `goto`, as sent.
    command: Mapping[str, Any] | None = None
    #: `checkpoint_id`, `checkpoint_ns`, `checkpoint_map`.
    checkpoint: Mapping[str, Any] | None = None
    context: Any = None
    stream_modes: tuple[str, ...] = ("values",)
    stream_subgraphs: bool = False
    #: Somebody streams it from its beginning.
    live: bool = False
    #: Its records are kept longer, for clients that come back.
    resumable: bool = False
    interrupt_before: Literal["*"] | tuple[str, ...] | None = None
    interrupt_after: Literal["*"] | tuple[str, ...] | None = None
    durability: Literal["sync", "async", "exit"] = "sync"
    on_completion: Literal["delete", "keep"] = "keep"
    feedback_keys: tuple[str, ...] = ()
    tracer: Mapping[str, str] | None = None
    strict_resume: bool = False
    #: Who asked, for `langgraph_auth_user`.
    user: Mapping[str, Any] | None = None
    cron_id: str | None = None
    #: Where in a trace the run was asked for, as a W3C `traceparent`.
    traceparent: str | None = None
    #: What a newer version stored and this one does not know.
    unknown: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of_json(cls, encoded: bytes | None) -> Self:
        """Read what `to_json` wrote; what is missing has its default, what this version does not know is kept."""
        if encoded is None:
            return cls()
        stored = cast("dict[str, Any]", orjson.loads(encoded))
        known = {name: _restored(stored.pop(name)) for name in _NAMES if name in stored}
        return cls(**known, unknown=stored)

    def to_json(self) -> bytes | None:
        """Return what differs from the defaults; None when nothing does, as for nearly every plain run."""
        chosen = {name: value for name in _NAMES if (value := getattr(self, name)) != _DEFAULTS[name]}
        return orjson.dumps({**self.unknown, **chosen}) if chosen or self.unknown else None

    @property
    def plain(self) -> bool:
        """Whether the run was asked for outside of the Agent Server API."""
        return self.protocol == "plain"


#: What a run has that was asked for outside of the Agent Server API.
PLAIN: Final = RunOptions()
_NAMES: Final = tuple(item.name for item in fields(RunOptions) if item.name != "unknown")
_DEFAULTS: Final = {name: getattr(PLAIN, name) for name in _NAMES}


def _restored(value: Any) -> Any:
    # Every sequence among the options is one of names.
    return tuple(cast("list[str]", value)) if isinstance(value, list) else value
