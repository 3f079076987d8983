"""Settings and keys that stand in files."""

from pathlib import Path

import pytest

from outlast import settings
from outlast.errors import ConfigurationError
from outlast.setting_files import apply_key_files, from_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "value"
    path.write_text("from-a-file\n")
    return path


def test_every_setting_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql://u:p@h/db", "OUTLAST_WEBHOOKS__SECRET": "whsec_abc",
        "OUTLAST_WORKER__CONCURRENCY": "7", "OUTLAST_ENCRYPTION__MASTER_KEY": "secret",
    }.items():  # fmt: skip
        monkeypatch.delenv(name, raising=False)
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))

    loaded = settings.load()

    assert loaded.database.url == "postgresql://u:p@h/db"
    assert loaded.webhooks.secret.reveal() == "whsec_abc"
    assert loaded.worker.concurrency == 7
    assert loaded.encryption.master_key.reveal() == "secret"
    assert "whsec" not in repr(loaded)
    assert "u:p@h" not in repr(loaded)


def test_a_value_and_a_file_for_it_are_a_contradiction(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("OUTLAST_WEBHOOKS__SECRET", "whsec_abc")
    monkeypatch.setenv("OUTLAST_WEBHOOKS__SECRET_FILE", str(file))

    with pytest.raises(ConfigurationError, match="OUTLAST_WEBHOOKS__SECRET_FILE are both set"):
        settings.load()


def test_a_file_that_cannot_be_read_is_named_with_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL_FILE: .*nowhere cannot be read \(No such file"):
        from_files({"DATABASE_URL_FILE": str(tmp_path / "nowhere")}, ["DATABASE_URL"])
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        from_files({"DATABASE_URL_FILE": str(tmp_path / "binary")}, ["DATABASE_URL"])
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    with pytest.raises(ConfigurationError, match="more than 65,536 bytes"):
        from_files({"DATABASE_URL_FILE": str(tmp_path / "large")}, ["DATABASE_URL"])


def test_a_misspelt_name_of_a_file_is_refused_like_any_other(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("OUTLAST_WEBHOOKS__SECRETT_FILE", str(file))

    with pytest.raises(ConfigurationError, match="there is no such setting"):
        settings.load()


def test_keys_of_providers_are_set_from_files_once(file: Path) -> None:
    environment = {"OPENAI_API_KEY_FILE": str(file), "MY_OWN_API_KEY_FILE": str(file), "OTHER_FILE": str(file)}

    apply_key_files(environment)

    assert environment == {"OPENAI_API_KEY": "from-a-file", "MY_OWN_API_KEY": "from-a-file", "OTHER_FILE": str(file)}


def test_a_key_and_a_file_for_it_are_a_contradiction(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="both set"):
        apply_key_files({"OPENAI_API_KEY": "sk-1", "OPENAI_API_KEY_FILE": str(file)})
