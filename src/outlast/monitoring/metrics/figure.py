"""What a figure is: its name, its meaning, and the only values that its labels may have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
#: The only values of a label; None: names of the project (agents, models...), at most `metrics.most_values` of them.
Values: TypeAlias = tuple[str, ...] | None
NAMES: Final[Values] = None
#: Stands for a value that is not among those of its label, and for each one beyond the limit.
OTHER: Final = "other"
#: Stands for the agent of what happens outside of runs.
NONE: Final = "none"

# Upper bounds, in seconds. Each range ends beyond what is still normal, and holds the limits of the shipped rules.
QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
USUAL: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
LONG: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric."""

    name: str
    kind: Kind
    help: str
    #: By name, in order.
    labels: Mapping[str, Values] = field(default_factory=dict[str, Values])
    #: Upper bounds of a histogram.
    buckets: tuple[float, ...] = ()
    #: `process`: counted where it happens. `database`: read when somebody asks, and the same in every process.
    source: Literal["process", "database"] = "process"
    #: How a gauge of several processes becomes one.
    together: Literal["sum", "max"] = "sum"


def counter(name: str, help_: str, **labels: Values) -> Figure:
    """Describe what only grows, as long as its process lives."""
    return Figure(name=name, kind="counter", help=help_, labels=labels)


def histogram(name: str, help_: str, buckets: tuple[float, ...], **labels: Values) -> Figure:
    """Describe how often which size occurs."""
    return Figure(name=name, kind="histogram", help=help_, labels=labels, buckets=buckets)


def gauge(name: str, help_: str, together: Literal["sum", "max"] = "sum", **labels: Values) -> Figure:
    """Describe what a process stands at."""
    return Figure(name=name, kind="gauge", help=help_, labels=labels, together=together)


def stored(
    name: str, help_: str, kind: Kind = "gauge", together: Literal["sum", "max"] = "sum", /, **labels: Values
) -> Figure:
    """Describe what the database knows."""
    return Figure(name=name, kind=kind, help=help_, labels=labels, source="database", together=together)
