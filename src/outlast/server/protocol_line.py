"""One stream's reading of a thread: its items in order, and of a run that is taken up again what its clients need.

A worker that stops ends what it began. One that was killed does not: when the run's next attempt begins, what the last
one left open (messages, calls of tools, graphs inside) is ended here, at the positions behind its last record, which no
attempt uses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import orjson

from outlast.agents.protocol_v3 import V3_PREFIX
from outlast.domain.positions import moment_of
from outlast.domain.records import RUN, Item, Record, RunEnd
from outlast.server.protocol_frames import Event, Segments, derived, events_of

_WHY: Final = "the worker was lost; the run goes on elsewhere"
# What of the many records of a run begins or ends something; the others are not looked into.
_MARKS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "messages": (b'"event":"message-start"', b'"event":"message-finish"', b'"event":"error"'),
    "tools": (b'"event":"tool-started"', b'"event":"tool-finished"', b'"event":"tool-error"'),
    "lifecycle": (b'"event":',),
}
_BEGINS: Final = frozenset({"message-start", "tool-started", "started"})
_ENDS: Final = frozenset(
    {"message-finish", "error", "tool-finished", "tool-error", "completed", "failed", "interrupted"}
)


class _Begun(NamedTuple):
    """Something that has begun: what it is, where, and what the event of its end says."""

    method: str
    ns: Segments
    node: str | None
    end: Mapping[str, Any]


@dataclass(slots=True)
class _Attempt:
    """What a run has said on its present attempt."""

    run_id: UUID | None
    last_pos: int
    open: dict[tuple[str, str], _Begun] = field(default_factory=dict[tuple[str, str], _Begun])


class Line:
    """Makes events of a thread's items; one for each stream."""

    def __init__(self) -> None:
        self._attempt: _Attempt | None = None

    def events(self, item: Item) -> Iterator[Event]:
        """Yield the events of the next item."""
        if isinstance(item, RunEnd):
            yield from events_of(item)
        elif item.mode == RUN:
            yield from self._begun(item)
        else:
            if self._attempt is not None and self._attempt.run_id == item.run_id:
                self._follow(self._attempt, item)
            yield from events_of(item)

    def _begun(self, record: Record) -> Iterator[Event]:
        before, self._attempt = self._attempt, _Attempt(record.run_id, record.pos)
        if before is None or before.run_id != record.run_id:
            yield from events_of(record)
            return
        # It runs still, for its clients.
        at = int(moment_of(record.pos).timestamp() * 1000)
        closing = sorted(before.open.values(), key=lambda begun: (begun.method == "lifecycle", -len(begun.ns)))
        for number, begun in enumerate(closing[: record.pos - before.last_pos - 1]):
            pos = before.last_pos + 1 + number
            yield derived(begun.method, record.run_id, pos, begun.end, at=at, ns=begun.ns, node=begun.node)

    def _follow(self, attempt: _Attempt, record: Record) -> None:
        attempt.last_pos = record.pos
        method = record.mode.removeprefix(V3_PREFIX)
        if not any(mark in record.data for mark in _MARKS.get(method, ())):
            return
        params = cast("Mapping[str, Any]", orjson.loads(record.data)["params"])
        data: Mapping[str, Any] = params["data"]
        name, end = _end_of(method, record, data)
        if data["event"] in _BEGINS:
            attempt.open[method, name] = _Begun(method, tuple(params["namespace"]), params.get("node"), end)
        elif data["event"] in _ENDS:
            attempt.open.pop((method, name), None)


def _end_of(method: str, record: Record, data: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return what names the thing that begins or ends, and what its end says."""
    if method == "messages":
        return str(data["id"]), {"event": "error", "message": _WHY, "id": data["id"]}
    if method == "tools":
        return str(data["tool_call_id"]), {
            "event": "tool-error", "tool_call_id": data["tool_call_id"], "message": _WHY,
        }  # fmt: skip
    return record.ns, {"event": "failed", "graph_name": data.get("graph_name", ""), "error": _WHY}
