"""Outlast keeps AI agents running in production.

    from outlast import Checkpointer, progress

What is in `__all__` is the promise; everything else may change. Names are loaded on first use, so that importing the
package costs nothing and needs neither LangGraph nor PostgreSQL.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.agents.checkpoints.saver import Checkpointer
    from outlast.agents.progress import progress
    from outlast.errors import OutlastError

__all__ = ["Checkpointer", "OutlastError", "progress"]
__version__ = "0.1.0"

_HOMES = {
    "Checkpointer": "outlast.agents.checkpoints.saver",
    "OutlastError": "outlast.errors",
    "progress": "outlast.agents.progress",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
