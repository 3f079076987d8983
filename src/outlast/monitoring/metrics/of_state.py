"""Checkpoints: what it takes to make steps durable."""

from collections.abc import Mapping
from typing import Any, Final

from outlast.monitoring.metrics.figure import QUICK, counter, histogram
from outlast.monitoring.metrics.meter import Handler, Meter

_SIZES: Final = tuple(float(4**power) for power in range(4, 14))

WRITES = histogram(
    "outlast_checkpoint_write_seconds", "Sending one batch of checkpoints, until it is durable.", QUICK
)  # fmt: skip
ROWS = counter("outlast_checkpoint_rows_total", "Checkpoints and outputs of tasks that were stored.")
BYTES = histogram("outlast_checkpoint_bytes", "What one checkpoint added to the database.", _SIZES)
FAILURES = counter(
    "outlast_checkpoint_failures_total", "Times that a batch could not be sent; as long as it helps, it is sent again."
)

FIGURES = (WRITES, ROWS, BYTES, FAILURES)


def _committed(meter: Meter, fields: Mapping[str, Any]) -> None:
    meter.observe(WRITES, fields["seconds"])
    meter.add(ROWS, by=fields["rows"])
    for size in fields["sizes"]:
        meter.observe(BYTES, size)


def _lost(meter: Meter, fields: Mapping[str, Any]) -> None:
    # A line that ended while it was idle has cost nothing.
    if fields["error"] != "closed":
        meter.add(FAILURES)


HEARD: Final[Mapping[str, Handler]] = {"checkpoint.after_commit": _committed, "checkpoint.connection_lost": _lost}
