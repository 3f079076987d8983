"""What an operator should know, as log lines on stderr: see `outlast.monitoring.logs`."""

from outlast.monitoring.logs.setup import setup
from outlast.settings_logs import LogSettings


def configure(settings: LogSettings | None = None) -> None:
    """Log from now on, what libraries have to say included."""
    setup(settings)
