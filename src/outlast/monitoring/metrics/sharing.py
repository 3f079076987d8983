"""Where a process and those that it starts count, if not each for itself."""

import logging
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from outlast.errors import ConfigurationError
from outlast.monitoring.metrics.directory import Membership, swept
from outlast.settings import count_in, counted_in
from outlast.settings_metrics import MetricsSettings

log = logging.getLogger(__name__)
_OWN: Final = Path(".outlast", "metrics")


@contextmanager
def sharing(settings: MetricsSettings, root: Path, *, alone: bool = False) -> Generator[None]:
    """Count, to the end of the block, in the directory of the settings, or in PROMETHEUS_MULTIPROC_DIR.

    Where neither is given: in one of this process and its children below `root`, which goes with the block; `alone`
    counts in memory instead. Enter it before anything counts.
    """
    given = settings.directory or counted_in()
    if not settings.enabled or (given is None and alone):
        yield
    elif given is not None:
        _begin(_made(root / given))
        yield
    else:
        with _own(root / _OWN) as own:
            if own is not None:
                _begin(own)
            yield


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"metrics.directory: {directory} cannot be made ({error.strerror}); name one that this user may write to"
        raise ConfigurationError(msg) from error
    return directory


@contextmanager
def _own(base: Path) -> Generator[Path | None]:
    """Make one for this process, without those that the killed have left; None where nothing can be written."""
    own = base / str(os.getpid())
    try:
        swept(base)
        # At once: one in which nobody counts is swept away by whoever begins next.
        membership = Membership.of(own)
    except OSError as error:
        log.warning("what child processes do is not counted: %s", error)
        yield None
        return
    try:
        yield own
    finally:
        membership.leave()
        shutil.rmtree(own, ignore_errors=True)
        # What is empty was made for us.
        with suppress(OSError):
            base.rmdir()
            base.parent.rmdir()


def _begin(directory: Path) -> None:
    """Have prometheus_client count there, which decides by the environment when it is first imported."""
    count_in(directory)
    from prometheus_client import values  # noqa: PLC0415 - see `Meter`

    client: Any = values
    if not getattr(client.ValueClass, "_multiprocess", False):
        # An agent's own code was faster; what it counts itself stays in memory.
        client.ValueClass = client.MultiProcessValue()
