"""The figures of this process, kept by prometheus_client.

A process counts once, however many runtimes it opens, and listens as long as one of them is open. Counting takes about
a microsecond and no turn of the event loop; it may happen in any thread.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from outlast.monitoring.metrics.figure import OTHER, Figure
from outlast.monitoring.metrics.labels import AGENT, Labels

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram
    from prometheus_client.metrics_core import Metric

# Beyond so many of a figure its series are no longer begun in advance.
_BEGUN_AT_ONCE: Final = 16

#: What is done with the fields of an event.
Handler: TypeAlias = Callable[["Meter", Mapping[str, Any]], None]


class Meter:
    """Counts; label values are given in the order of the figure's labels."""

    def __init__(self, figures: Iterable[Figure], *, most: int) -> None:
        # Where it keeps its figures is decided when it is first imported: see `directory`.
        from prometheus_client import CollectorRegistry, disable_created_metrics  # noqa: PLC0415

        disable_created_metrics()
        self.labels = Labels(most=most)
        self._registry = CollectorRegistry(auto_describe=False)
        self._figures = {figure.name: self._made(figure) for figure in figures if figure.source == "process"}
        # By the values as they were given, so that the usual way is one look-up.
        self._series: dict[tuple[object, ...], Any] = {}

    def add(self, figure: Figure, *values: object, by: float = 1.0) -> None:
        """Count on."""
        series: Counter = self._series_of(figure, values)
        series.inc(by)

    def observe(self, figure: Figure, value: float, *values: object) -> None:
        """Count one of this size."""
        series: Histogram = self._series_of(figure, values)
        series.observe(value)

    def set(self, figure: Figure, value: float, *values: object) -> None:
        """Stand at the value."""
        series: Gauge = self._series_of(figure, values)
        series.set(value)

    def collect(self) -> Iterable["Metric"]:
        """Return what this process has counted."""
        return self._registry.collect()

    def _series_of(self, figure: Figure, values: tuple[object, ...]) -> Any:
        key = (figure.name, *values)
        found = self._series.get(key)
        return found if found is not None else self._begun(figure, values, key)

    def _begun(self, figure: Figure, values: tuple[object, ...], key: tuple[object, ...]) -> Any:
        metric = self._figures[figure.name]
        if not figure.labels:
            self._series[key] = metric
            return metric
        closed = self._closed(figure, values)
        series = self._beside(figure, closed)
        # A value that became another is not remembered: there may be any number of them.
        if closed == values:
            self._series[key] = series
        return series

    def _closed(self, figure: Figure, values: tuple[object, ...]) -> tuple[str, ...]:
        given = zip(figure.labels.items(), values, strict=True)
        return tuple(self.labels.closed(label, value, among) for (label, among), value in given)

    def _beside(self, figure: Figure, closed: tuple[str, ...]) -> Any:
        """Return the series, and begin those beside it at 0: `increase()` does not see a series that begins at 1."""
        metric = self._figures[figure.name]
        listed = zip(figure.labels.values(), closed, strict=True)
        choices = [(value,) if among is None else tuple(each for each in among if each != OTHER)
                   for among, value in listed]  # fmt: skip
        beside = list(product(*choices))
        if figure.kind == "counter" and len(beside) <= _BEGUN_AT_ONCE:
            for each in beside:
                metric.labels(*each)
        return metric.labels(*closed)

    def _made(self, figure: Figure) -> Any:
        from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415 - as above

        labels = tuple(figure.labels)
        if figure.kind == "counter":
            return Counter(figure.name, figure.help, labels, registry=self._registry)
        if figure.kind == "histogram":
            return Histogram(figure.name, figure.help, labels, registry=self._registry, buckets=figure.buckets)
        mode = "livesum" if figure.together == "sum" else "livemax"
        return Gauge(figure.name, figure.help, labels, registry=self._registry, multiprocess_mode=mode)

    def begin(self, figures: Iterable[Figure], agents: Iterable[str]) -> None:
        """Begin at 0 what has only labels with listed values, or agents."""
        known = tuple(agents)
        for figure in figures:
            if figure.source != "process" or figure.kind != "counter":
                continue
            if any(among is None and label != AGENT for label, among in figure.labels.items()):
                continue
            for agent in known if AGENT in figure.labels else ("",):
                values = [agent if among is None else among[0] for among in figure.labels.values()]
                self._series_of(figure, tuple(values))
