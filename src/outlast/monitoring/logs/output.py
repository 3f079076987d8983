"""Writes lines from a thread of its own, so that whoever logs never waits for whoever reads.

A pipe that nobody reads, a terminal that was stopped, a disk that is full: lines are kept up to a number, and what is
beyond is lost and counted (`logs.lost`). Lines are written some milliseconds after they were logged, many at once, and
what is left is written when the process ends in order. One that is killed loses the last ones.
"""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from outlast.monitoring.logs.line import Line
from outlast.telemetry import emit

Render = Callable[[Line], bytes]


class Sink(Protocol):
    """Where lines go: a binary stream."""

    def write(self, data: bytes, /) -> Any:
        """Write all of it; may block as long as it likes, or raise."""
        ...

    def flush(self) -> Any:
        """Have it gone."""
        ...


MOST_LINES: Final = 20_000
#: How long lines are gathered before they are written.
GATHER_SECONDS: Final = 0.02
_END_SECONDS: Final = 2.0
_LOST: Final = "lines were lost: nobody took them"


class Output:
    """A queue of lines, and the thread that writes them. `put` may be called from any thread."""

    def __init__(self, sink: Sink, render: Render, *, most: int = MOST_LINES) -> None:
        self._sink = sink
        self._render = render
        self._most = most
        self._lines: deque[Line] = deque()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._closed = False
        self._lost = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write; ends with the process, or with `close`."""
        self._thread = threading.Thread(target=self._run, name="outlast-logs", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def put(self, line: Line) -> None:
        """Have the line written soon. Waits for nothing and raises nothing; loses the line when there are too many."""
        if len(self._lines) >= self._most or self._closed:
            self._lost += 1
            emit("logs.lost", count=1)
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._idle.clear()
            self._wake.set()

    def flush(self, seconds: float = _END_SECONDS) -> bool:
        """Wait until all lines are written, not longer than `seconds`; return whether they are."""
        return self._idle.wait(seconds)

    def close(self) -> None:
        """Write what is left, and stop; waits two seconds at most."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._closed:
                time.sleep(GATHER_SECONDS)
            # Before the lines are looked at: what comes meanwhile sets it again.
            self._wake.clear()
            self._write()
            if not self._wake.is_set() and not self._lines:
                self._idle.set()
                if self._closed:
                    return

    def _write(self) -> None:
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), 500))]
            rendered = [text for line in batch if (text := self._rendered(line))]
            try:
                self._sink.write(b"".join(rendered))
                self._sink.flush()
            # Whatever the stream is: nobody can be told that it is broken, and the agents go on.
            except Exception:  # noqa: BLE001
                self._lost += len(batch)
                emit("logs.lost", count=len(batch))
            else:
                self._tell_lost()

    def _rendered(self, line: Line) -> bytes:
        try:
            return self._render(line)
        # A field of a user's own type may raise whatever it likes when it is shown.
        except Exception as error:  # noqa: BLE001
            shown = Line(line.level, line.event, {"problem": f"{type(error).__name__} in a field of this line"}, {})
            return self._render(shown)

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            # Room was made for it just now.
            self._lines.append(Line(_WARNING, _LOST, {"count": lost}, {}))


_WARNING: Final = 30
