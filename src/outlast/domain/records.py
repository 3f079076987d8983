"""What a stream is made of: the records that a run writes while it runs, and its end, which is read from its row.

An end is never stored as a record. So a stream ends rightly when the worker was killed, when recovery ended the run,
and when the records themselves are gone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from outlast.domain.run import RunStatus

#: Mode of the first record of a claim: `{"attempt", "graph_id", "protocol", "modes"}`.
RUN: Final = "run"
#: Mode of a change of the state from outside of a run.
STATE_UPDATE: Final = "state_update"


class Record(NamedTuple):
    """One thing that a run said. `pos` rises over the whole life of a thread; `data` is JSON."""

    thread: bytes
    pos: int
    #: None: the state was changed from outside of a run.
    run_id: UUID | None
    mode: str
    #: Of the subgraph, segments joined by `|`; empty for the graph itself.
    ns: str
    data: bytes


class RunEnd(NamedTuple):
    """A run that has ended, or waits for a person, or is gone because it was rolled back (`deleted`).

    It takes one position for each question and one for itself; `pos` is the last of them. Records of the run have lower
    positions, those of later runs of its thread higher ones.
    """

    thread: bytes
    pos: int
    run_id: UUID
    #: Of a run that is gone: cancelled.
    status: RunStatus
    deleted: bool = False
    error_code: str | None = None
    error_message: str | None = None
    #: What it asks, as the runner stored it: `id`, `value`, and what else it knows of the question.
    interrupts: Sequence[Mapping[str, Any]] = ()
    #: The name of the run's graph; empty when the run is gone.
    graph_id: str = ""
    #: Whether it was asked for by the thread-centred protocol, `v3`, by `v1` or outside of the API, `plain`.
    protocol: str = "plain"


Item = Record | RunEnd
