"""What the dashboards show."""

from boards.cost import COST
from boards.overview import OVERVIEW
from boards.runs import RUNS
from boards.slos import SLOS
from boards.state import STATE

__all__ = ["COST", "OVERVIEW", "RUNS", "SLOS", "STATE"]
