from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from embedded_processes import StartUser, UserProcess

from outlast.storage.postgres import embedded
from outlast.storage.postgres import embedded_watchdog as watchdog


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LINGER", timedelta(seconds=0.1))


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "postgres"
    yield directory
    if directory.exists():
        watchdog.stop_server(directory.resolve())


@pytest.fixture
def start_user(data_dir: Path) -> Iterator[StartUser]:
    started: list[UserProcess] = []

    def start(**options) -> UserProcess:
        started.append(UserProcess(data_dir, **options))
        return started[-1]

    yield start
    for user in started:
        user.kill()
