"""`make schema`: write schema.sql anew from the migrations, with a PostgreSQL that lives as long as this takes."""

import asyncio
import tempfile
from pathlib import Path

from outlast.settings import DatabaseSettings
from outlast.storage.postgres import embedded_watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.snapshot import SNAPSHOT, snapshot
from outlast.testing.postgres import Databases


async def write(server_url: str) -> None:
    """Write the schema of a new database of this server."""
    async with Databases.open(server_url) as databases:
        text = await snapshot(DatabaseSettings(url=await databases.create()))
    SNAPSHOT.write_text(text, encoding="utf-8")


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory(prefix="outlast-") as directory:
        with EmbeddedPostgres.start(Path(directory)) as server:
            asyncio.run(write(server.url))
        embedded_watchdog.stop_server(Path(directory).resolve())
    print(f"wrote {SNAPSHOT}")


if __name__ == "__main__":
    main()
