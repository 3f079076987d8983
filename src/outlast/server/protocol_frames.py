"""From the line of a thread to the events of the thread-centred protocol, and which of them a subscription is about.

A record holds one event already; its position is the event's `seq`. What a run's row knows is made into events here:
that it runs, what it asks, how it ended. Each event has a position of its own, since a client that was cut off asks for
what comes after the highest one it has seen.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import orjson

from outlast.agents.protocol_v3 import V3_PREFIX
from outlast.domain.positions import moment_of
from outlast.domain.records import RUN, Item, Record, RunEnd
from outlast.domain.run import RunStatus
from outlast.domain.wire import error_body

CHANNELS: Final = (
    "values", "updates", "messages", "tools", "custom", "lifecycle", "input", "checkpoints", "tasks",
)  # fmt: skip
_NAMED: Final = "custom:"
_INPUT: Final = frozenset({"input.requested", "input.answered"})
#: Channels that say how a run goes, and nothing of what it makes.
_WATCHING: Final = frozenset({"lifecycle", "input"})
_ROOT_ENDS: Final[Mapping[RunStatus, str]] = {
    RunStatus.SUCCEEDED: "completed",
    RunStatus.FAILED: "failed",
    # Neither SDK knows a word for it that would end a run.
    RunStatus.CANCELLED: "failed",
    RunStatus.INTERRUPTED: "interrupted",
    RunStatus.WAITING: "interrupted",
}
_CANCELLED: Final = "cancelled"

Segments = tuple[str, ...]


class Event(NamedTuple):
    """An event to be sent. `channel` is what a subscription names.

    The event as JSON is `opening` with what follows the first byte of `said`: the two are put together only for those
    who want it, since a record may hold a whole state.
    """

    seq: int
    channel: str
    method: str
    ns: Segments
    opening: bytes
    said: bytes

    @property
    def data(self) -> bytes:
        """The whole event as JSON."""
        return b"%b%b" % (self.opening, memoryview(self.said)[1:])

    @property
    def frame(self) -> bytes:
        """The event as a frame of a text/event-stream."""
        head = b"event: %b\r\nid: %d\r\ndata: " % (self.method.encode(), self.seq)
        return b"%b%b%b\r\n\r\n" % (head, self.opening, memoryview(self.said)[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a client wants to see: channels, and namespaces with what is at most `depth` below."""

    channels: frozenset[str]
    namespaces: tuple[Segments, ...] = ()
    depth: int | None = None

    @property
    def only_watches(self) -> bool:
        """Whether it is about how a run goes, not about what it makes."""
        return self.channels <= _WATCHING

    def wants(self, event: Event) -> bool:
        """Whether an event is part of it."""
        if event.channel not in self.channels and not (event.method == "custom" and "custom" in self.channels):
            return False
        return not self.namespaces or any(self._covers(prefix, event.ns) for prefix in self.namespaces)

    def _covers(self, prefix: Segments, ns: Segments) -> bool:
        if len(prefix) > len(ns) or not all(map(_same, prefix, ns)):
            return False
        return self.depth is None or len(ns) - len(prefix) <= self.depth


def known_channel(channel: str) -> bool:
    """Whether there is such a channel: one of `CHANNELS`, or `custom:` with a name."""
    return channel in CHANNELS or (channel.startswith(_NAMED) and len(channel) > len(_NAMED))


def events_of(item: Item) -> Iterator[Event]:
    """Yield the events of an item; a record that is not of this protocol has none."""
    if isinstance(item, RunEnd):
        yield from _end(item)
    elif item.mode.startswith(V3_PREFIX):
        yield _recorded(item)
    elif item.mode == RUN:
        yield from _running(item)


def _same(wanted: str, segment: str) -> bool:
    """Whether a segment is meant: a name without `:` means every task of that name."""
    return segment == wanted or (":" not in wanted and segment.partition(":")[0] == wanted)


def _recorded(record: Record) -> Event:
    name = record.mode[len(V3_PREFIX) :]
    method = "custom" if name.startswith(_NAMED) else name
    opening = b'{"type":"event","event_id":"%b","seq":%d,' % (_id(method, record.run_id, record.pos), record.pos)
    ns = tuple(record.ns.split("|")) if record.ns else ()
    return Event(record.pos, "input" if method in _INPUT else name, method, ns, opening, record.data)


def _running(record: Record) -> Iterator[Event]:
    said = cast("Mapping[str, Any]", orjson.loads(record.data))
    # Once: a run that is taken up again goes on with what clients have seen.
    if said.get("attempt", 1) == 1:
        at = int(moment_of(record.pos).timestamp() * 1000)
        data = {"event": "running", "graph_name": said.get("graph_id", "")}
        yield derived("lifecycle", record.run_id, record.pos, data, at=at)


def _end(end: RunEnd) -> Iterator[Event]:
    now = int(time.time() * 1000)
    status = _ROOT_ENDS[end.status]
    if status == "interrupted":
        for number, question in enumerate(end.interrupts):
            # Python's SDK reads `value`, JavaScript's reads `payload`.
            asked = {"interrupt_id": question["id"], "payload": question["value"], "value": question["value"]}
            pos = end.pos - len(end.interrupts) + number
            ns = tuple(question.get("ns") or ())
            yield derived("input.requested", end.run_id, pos, asked, at=now, ns=ns)
    data = {"event": status, "graph_name": end.graph_id}
    if status == "failed":
        data["error"] = _CANCELLED if end.status is RunStatus.CANCELLED else _error_text(end)
    yield derived("lifecycle", end.run_id, end.pos, data, at=now)


def _error_text(end: RunEnd) -> str:
    told = error_body(end.error_code or "error", end.error_message)
    return told["message"] if told["message"] == told["error"] else f"{told['error']}: {told['message']}"


def derived(
    method: str,
    run_id: UUID | None,
    pos: int,
    data: Mapping[str, Any],
    *,
    at: int,
    ns: Segments = (),
    node: str | None = None,
) -> Event:
    """Return an event that no record holds."""
    event = {
        "type": "event",
        "event_id": _id(method, run_id, pos).decode(),
        "seq": pos,
        "method": method,
        "params": {"namespace": ns, "timestamp": at, "data": data, **({} if node is None else {"node": node})},
    }
    return Event(pos, "input" if method in _INPUT else method, method, ns, b"{", orjson.dumps(event))


def _id(method: str, run_id: UUID | None, pos: int) -> bytes:
    """Return an id that is the event's alone; JavaScript's SDK tells by its form whose end it reads."""
    synth = "synth:" if method == "lifecycle" or method in _INPUT else ""
    return f"{synth}{run_id}:{pos}".encode()
