"""What commands begin with: the key of the audit log beside a private database."""

from pathlib import Path

import pytest

from outlast.cli.session import with_audit_key
from outlast.secret import Secret
from outlast.settings import Settings
from outlast.settings_audit import AuditSettings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".outlast").mkdir()
    return tmp_path


def test_a_key_is_made_once_and_only_its_owner_may_read_it(root: Path) -> None:
    first, second = (with_audit_key(Settings(), root).audit.key for _ in range(2))
    assert first == second
    assert len(first) >= 32
    assert (root / ".outlast" / "audit.key").stat().st_mode & 0o077 == 0
    assert [path.name for path in (root / ".outlast").iterdir()] == ["audit.key"]


def test_a_key_of_the_settings_wins(root: Path) -> None:
    given = Settings(audit=AuditSettings(key=Secret("k" * 32)))
    assert with_audit_key(given, root).audit.key.reveal() == "k" * 32
    assert list((root / ".outlast").iterdir()) == []


def test_a_key_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="32 characters"):
        AuditSettings(key=Secret("too short"))
