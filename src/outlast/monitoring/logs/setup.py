"""Has a process log: its own events, `logging` and structlog, in one form to one place."""

import logging
import sys
from collections.abc import Callable
from typing import Any, Final

import structlog

from outlast import telemetry
from outlast.monitoring.logs.line import Line, line_of
from outlast.monitoring.logs.lines import Lines
from outlast.monitoring.logs.output import Output
from outlast.monitoring.logs.rendering import as_json, for_people
from outlast.settings_logs import LogSettings

#: What `setup` has to end when it is called again.
_running: list[Callable[[], object]] = []
_OURS: Final = "outlast"


class Handler(logging.Handler):
    """Takes records of `logging`: here and now, so that what they hold may change afterwards."""

    def __init__(self, put: Callable[[Line], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        try:
            self._put(line_of(record))
        # As logging's own handlers do: a record that cannot be told must not fail whoever logs it.
        except Exception as error:  # noqa: BLE001
            problem = {"logger": record.name, "problem": f"{type(error).__name__} in a line that cannot be shown"}
            self._put(Line(record.levelno, "a line could not be shown", problem))


def setup(settings: LogSettings | None = None) -> Output:
    """Log from now on, what libraries have to say included; in the place of what an earlier call began."""
    settings = settings or LogSettings()
    while _running:
        _running.pop()()
    person = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    output = Output(_Stderr(), for_people(colors=sys.stderr.isatty()) if person else as_json)
    output.start()
    handler = Handler(output.put)
    logging.basicConfig(handlers=[handler], level=settings.libraries.upper(), force=True)
    logging.getLogger(_OURS).setLevel(settings.level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    unsubscribe = telemetry.subscribe(Lines(output.put, settings))
    _running.extend((output.close, lambda: logging.getLogger().removeHandler(handler), unsubscribe))
    return output


class _Stderr:
    """Whatever stderr is at the moment: tests and users put others in its place."""

    def write(self, data: bytes, /) -> None:
        stream: Any = sys.stderr
        binary = getattr(stream, "buffer", None)
        if binary is None:
            stream.write(data.decode("utf-8", "backslashreplace"))
        else:
            binary.write(data)

    def flush(self) -> None:
        sys.stderr.flush()
