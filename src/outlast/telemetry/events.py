"""Anyone says that something happened; who listens is decided elsewhere."""

from collections.abc import Callable, Mapping
from typing import Any

from outlast.telemetry import faults

Listener = Callable[[str, Mapping[str, Any]], None]

_listeners: list[Listener] = []


def emit(point: str, **fields: Any) -> None:
    """Tell the listeners; a listener that raises is a bug of the listener and is not caught here."""
    if _listeners:
        for listener in _listeners:
            listener(point, fields)
    if faults.armed:
        faults.strike(point)


def subscribe(listener: Listener) -> Callable[[], None]:
    """Add a listener, called in the emitter's thread; returns the function that removes it."""
    global _listeners  # noqa: PLW0603 - replaced, never changed, so that a listener may leave while it is told
    _listeners = [*_listeners, listener]
    return lambda: _unsubscribe(listener)


def _unsubscribe(listener: Listener) -> None:
    global _listeners  # noqa: PLW0603 - as above
    _listeners = [other for other in _listeners if other is not listener]
