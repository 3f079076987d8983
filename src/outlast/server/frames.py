"""From the line of a thread to the events of LangGraph's first protocol: of one run, or of all runs of a thread.

metadata   which run it is, and again with the number of the attempt when another one begins
<mode>     what the run says, with the namespace of a subgraph behind `|`
error, end how it ended
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast
from uuid import UUID

import orjson

from outlast.agents.messages_v1 import MessageAccumulator
from outlast.domain.records import RUN, STATE_UPDATE, Item, Record, RunEnd
from outlast.domain.run import RunStatus
from outlast.domain.wire import error_body, wire_status
from outlast.server.sse import frame


class RunFrames:
    """The events of one run. Records up to `silent_until` are read to know where messages stand, and make no event."""

    def __init__(
        self,
        run_id: UUID,
        modes: Iterable[str],
        *,
        silent_until: int = 0,
        namespaces: frozenset[str] | None = None,
    ) -> None:
        self._run_id = run_id
        self._modes = frozenset(modes)
        self._silent_until = silent_until
        self._namespaces = namespaces
        self._messages = MessageAccumulator()

    def begin(self, *, attempt: int = 1, pos: int | None = None) -> bytes:
        """Return the event that says which run it is."""
        return frame("metadata", orjson.dumps({"run_id": str(self._run_id), "attempt": attempt}), pos)

    def of(self, items: Iterable[Item]) -> bytes:
        """Return the events of these items, in one piece."""
        return b"".join(self._end(item) if isinstance(item, RunEnd) else self._record(item) for item in items)

    def _record(self, record: Record) -> bytes:
        if record.mode == RUN:
            return self._attempt(record)
        if self._namespaces is not None and record.ns not in self._namespaces:
            return b""
        if record.mode == "messages":
            return self._message(record)
        if record.mode not in self._modes or record.pos <= self._silent_until:
            return b""
        return frame(_named(record.mode, record.ns), record.data, record.pos)

    def _attempt(self, record: Record) -> bytes:
        self._messages = MessageAccumulator()
        attempt = attempt_of(record)
        # The first one was told when the stream began.
        silent = attempt == 1 or record.pos <= self._silent_until
        return b"" if silent else self.begin(attempt=attempt, pos=record.pos)

    def _message(self, record: Record) -> bytes:
        events: list[tuple[str, bytes]] = []
        if "messages-tuple" in self._modes:
            events.append(("messages", record.data))
        if "messages" in self._modes:
            events += self._messages.feed(record.data)
        if not events or record.pos <= self._silent_until:
            return b""
        # The position goes with the last one: who is cut off before it gets all of them again.
        *before, last = events
        return b"".join(
            [*(frame(_named(name, record.ns), data) for name, data in before),
             frame(_named(last[0], record.ns), last[1], record.pos)]
        )  # fmt: skip

    def _end(self, end: RunEnd) -> bytes:
        told = {"run_id": str(end.run_id), "status": wire_status(end.status, end.error_code)}
        return error_of(end) + frame("end", orjson.dumps(told), end.pos)


class ThreadFrames:
    """The events of all runs of a thread; `modes` are those of the thread's stream."""

    def __init__(self, modes: Iterable[str]) -> None:
        self._modes = frozenset(modes)
        self._runs: dict[UUID, RunFrames] = {}

    def unknown(self, items: Iterable[Item]) -> set[UUID]:
        """Return the runs whose stream modes have to be given to `know` before these items can be shown."""
        if "run_modes" not in self._modes:
            return set()
        begun = {item.run_id for item in items if isinstance(item, Record) and item.mode == RUN}
        spoken = {item.run_id for item in items if isinstance(item, Record) and item.run_id is not None}
        return spoken - begun - self._runs.keys()

    def know(self, run_id: UUID, modes: Iterable[str]) -> None:
        """Take the stream modes of a run."""
        self._runs[run_id] = RunFrames(run_id, modes)

    def of(self, items: Iterable[Item]) -> bytes:
        """Return the events of these items, in one piece."""
        return b"".join(self._end(item) if isinstance(item, RunEnd) else self._record(item) for item in items)

    def _record(self, record: Record) -> bytes:
        if record.run_id is None:
            wanted = record.mode == STATE_UPDATE and STATE_UPDATE in self._modes
            return frame(STATE_UPDATE, record.data, record.pos) if wanted else b""
        if record.mode == RUN:
            return self._begun(record, record.run_id)
        known = self._runs.get(record.run_id)
        return known.of([record]) if known is not None and "run_modes" in self._modes else b""

    def _begun(self, record: Record, run_id: UUID) -> bytes:
        self.know(run_id, cast("list[str]", _about(record).get("modes", ())))
        if self._modes.isdisjoint({"run_modes", "lifecycle"}):
            return b""
        return self._runs[run_id].begin(attempt=attempt_of(record), pos=record.pos)

    def _end(self, end: RunEnd) -> bytes:
        self._runs.pop(end.run_id, None)
        if self._modes.isdisjoint({"run_modes", "lifecycle"}):
            return b""
        error = error_of(end) if "run_modes" in self._modes else b""
        return error + frame("metadata", orjson.dumps({"status": "run_done", "run_id": str(end.run_id)}), end.pos)


def error_of(end: RunEnd) -> bytes:
    """Return the event of a failure; nothing for a run that did not fail."""
    if end.status is not RunStatus.FAILED:
        return b""
    return frame("error", orjson.dumps(error_body(end.error_code or "error", end.error_message)))


def attempt_of(record: Record) -> int:
    """Return the number of the attempt that a record of mode `run` begins."""
    return int(_about(record).get("attempt", 1))


def _about(record: Record) -> Mapping[str, Any]:
    return cast("dict[str, Any]", orjson.loads(record.data))


def _named(name: str, ns: str) -> str:
    return f"{name}|{ns}" if ns else name
