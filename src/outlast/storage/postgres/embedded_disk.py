"""Where the data of the private server is, for whoever looks after the disk."""

import os
from pathlib import Path
from urllib.parse import quote

from outlast.storage.postgres.embedded_watchdog import PGDATA, read_postmaster


def data_of(url: str, root: Path) -> Path | None:
    """Return the directory of a project's private server if that is the server that the URL leads to."""
    directory = root / ".outlast" / "postgres"
    postmaster = read_postmaster(directory / PGDATA)
    if postmaster is None or quote(os.fsencode(postmaster.socket_dir), safe="") not in url:
        return None
    return directory
