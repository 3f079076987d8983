"""What was counted, as Prometheus and people read it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from outlast.monitoring.metrics import directory, measuring
from outlast.monitoring.metrics.figure import Figure
from outlast.monitoring.metrics.labels import Labels
from outlast.monitoring.metrics.sample import Sample
from outlast.monitoring.metrics.table import FIGURES

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

#: What Prometheus is told that the text is.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Collected:
    families: "Sequence[Metric]"

    def collect(self) -> "Iterable[Metric]":
        return self.families


def text(stored: Iterable[Sample] = ()) -> bytes:
    """Return everything in Prometheus' text format: what processes have counted, and what the database knows."""
    from prometheus_client import generate_latest  # noqa: PLC0415 - see `Meter`

    made: Any = generate_latest
    return made(_Collected(families(stored)))


def samples(stored: Iterable[Sample] = ()) -> list[Sample]:
    """Return the same as single figures."""
    return [
        Sample(sample.name, dict(sample.labels), sample.value)
        for family in families(stored)
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


def families(stored: Iterable[Sample] = ()) -> "list[Metric]":
    """Return the same as prometheus_client holds it; figures that nothing is known of have no samples."""
    return [*_counted(), *_of_this_process(), *_known(stored)]


def _counted() -> "Iterator[Metric]":
    meter, together = measuring.meter(), measuring.directory()
    if together is not None:
        # With what agents count themselves.
        yield from directory.read(together)
    elif meter is not None:
        yield from meter.collect()


def _of_this_process() -> "Iterator[Metric]":
    """Its memory, processor time and files."""
    from prometheus_client import PROCESS_COLLECTOR  # noqa: PLC0415 - as above

    yield from PROCESS_COLLECTOR.collect()


def _known(stored: Iterable[Sample]) -> "Iterator[Metric]":
    by_name: dict[str, list[Sample]] = {}
    for sample in stored:
        by_name.setdefault(sample.name, []).append(sample)
    for figure in FIGURES.values() if by_name else ():
        if figure.source == "database":
            yield _family(figure, by_name.get(figure.name, ()))


def _family(figure: Figure, found: Iterable[Sample]) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - as above

    kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    family = kind(figure.name, figure.help, labels=tuple(figure.labels))
    values: dict[tuple[str, ...], float] = {}
    for sample in found:
        labels = _closed(figure, sample)
        before = values.get(labels)
        # Several may have become `other`.
        together = max if figure.together == "max" else sum
        values[labels] = sample.value if before is None else together((before, sample.value))
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _closed(figure: Figure, sample: Sample) -> tuple[str, ...]:
    meter = measuring.meter()
    labels = Labels(most=len(sample.labels)) if meter is None else meter.labels
    return tuple(labels.closed(label, sample.labels[label], among) for label, among in figure.labels.items())
