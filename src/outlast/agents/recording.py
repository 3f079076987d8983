"""What an attempt says, given to the stream in the form that the run's clients read."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import orjson

from outlast.agents.chunks import Chunk, ChunkEncoder, Encoder, Part
from outlast.agents.protocol_v3 import V3_MODES, ProtocolEncoder
from outlast.domain.outcome import Cancelled, Drained, Failed, Outcome, Succeeded, Waiting
from outlast.domain.run import ClaimedRun
from outlast.streams.records import Emitter

# Modes that tell what the graph is about to do, and the event of a token.
_ABOUT: Final = frozenset({"checkpoints", "tasks", "debug"})
_SAID: Final = "on_chat_model_stream"
_HANDED_BACK = "the worker is stopping; the run goes on elsewhere"


class Recorder:
    """Encodes the parts of one attempt, as long as anybody wants them. On the event loop only."""

    def __init__(self, run: ClaimedRun, emitter: Emitter) -> None:
        self._emitter = emitter
        #: When the graph first said something that it was not called with, on the clock of `time.monotonic`.
        self.first_at: float | None = None
        self._echoed = False
        self._encoder: Encoder = (
            _ThreadEncoder(run)
            if run.options.protocol == "v3"
            else ChunkEncoder(run.options.stream_modes, subgraphs=run.options.stream_subgraphs)
        )

    @property
    def modes(self) -> Sequence[str]:
        """The stream modes that the graph is asked for."""
        return self._encoder.modes

    @property
    def subgraphs(self) -> bool:
        """Whether the graphs inside of the graph are to speak, too."""
        return self._encoder.subgraphs

    def begin(self) -> None:
        """Say that the graph is about to be called."""
        self._say(self._encoder.begin())

    def record(self, part: Part) -> None:
        """Say a part. Before the graph goes on, since the part holds its live state."""
        if self.first_at is None:
            self._notice(part)
        if self._emitter.wanted:
            self._say(self._encoder.encode(part))

    def _notice(self, part: Part) -> None:
        if part.mode == "values":
            # LangGraph begins with the state that the graph was called with.
            said, self._echoed = self._echoed and not part.ns, True
        elif part.mode == "events":
            said = part.data.get("event") == _SAID
        else:
            said = part.mode not in _ABOUT
        if said:
            self.first_at = time.monotonic()

    async def finish(self, outcome: Outcome) -> int | None:
        """Say what is left to say and wait until others can read all of it; return its last position.

        Raises nothing, and waits a few seconds at most.
        """
        self._say(self._encoder.finish(outcome))
        return await self._emitter.flush()

    def drop(self) -> None:
        """Say nothing more, and wait for nothing: the run has another owner."""
        self._emitter.drop()

    def _say(self, chunks: Iterable[Chunk]) -> None:
        if self._emitter.wanted:
            for chunk in chunks:
                self._emitter.emit(*chunk)


class _ThreadEncoder:
    """Events of the thread-centred protocol."""

    modes: Sequence[str] = V3_MODES
    subgraphs = True

    def __init__(self, run: ClaimedRun) -> None:
        self._protocol = ProtocolEncoder(thread_id=run.thread_id)
        self._run = run

    def begin(self) -> Iterable[Chunk]:
        # Not the count of attempts: one that was drained has begun, too, and counts for nothing.
        answered = self._run.asked if self._run.answered else ()
        return [Chunk(*event) for event in self._protocol.begin(attempt=self._run.epoch, answered=answered)]

    def encode(self, part: Part) -> Iterable[Chunk]:
        data: Any = orjson.Fragment(part.json()) if part.mode == "values" else part.data
        told = {"type": part.mode, "ns": part.ns, "data": data, "interrupts": part.interrupts}
        return [Chunk(*event) for event in self._protocol.events(told)]

    def finish(self, outcome: Outcome) -> Iterable[Chunk]:
        status, error = _end_of(outcome)
        return [Chunk(*event) for event in self._protocol.end(status, error)]


def _end_of(outcome: Outcome) -> tuple[Literal["completed", "failed", "cancelled", "interrupted"], str | None]:
    match outcome:
        case Succeeded():
            return "completed", None
        case Waiting():
            return "interrupted", None
        case Cancelled():
            return "cancelled", None
        case Failed(message=message):
            return "failed", message
        case Drained():
            return "failed", _HANDED_BACK
