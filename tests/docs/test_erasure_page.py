"""What the pages about personal data and the audit log name is what there is."""

import re
from pathlib import Path

from pages import ROOT

import outlast
from outlast.setting_names import settings_of
from outlast.settings import Settings
from outlast.storage.postgres.erasure_rules import RULES

SOURCES = Path(outlast.__file__).parent


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_the_page_has_every_age_there_is_and_no_other():
    ages = {setting.key for setting in settings_of(Settings) if setting.key.startswith("retention.")}
    assert set(re.findall(r"`(retention\.\w+)`", page("erasure.md"))) == ages


def test_settings_that_the_pages_name_exist():
    keys = {setting.key for setting in settings_of(Settings)}
    assert set(re.findall(r"`((?:audit|calls)\.[a-z_.]+)`", page("audit.md") + page("erasure.md"))) - {
        "audit.lost", "audit.pruned"
    } <= keys  # fmt: skip


def test_the_page_says_which_tables_keep_something_of_a_user():
    (table,) = re.findall(r"\| Table \| What stays \|\n(.*?)\n\n", page("erasure.md"), re.DOTALL)
    named = set(re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[1:])))
    blank = {rule.table for rule in RULES if rule.how in {"blank", "fold"}}
    assert named == blank | {"audit_log", "erasures"}


def test_what_is_audited_is_what_is_written_down_somewhere():
    (table,) = re.findall(r"\| Action \| When \|\n(.*?)\n\n", page("audit.md"), re.DOTALL)
    told = set(re.findall(r"`(\w+\.\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[1:])))
    code = "\n".join(file.read_text(encoding="utf-8") for file in SOURCES.rglob("*.py"))
    written = set(re.findall(r'"((?:key|auth|policy|switch|budget|run|data|encryption|config|audit)\.[a-z_]+)"', code))
    assert told <= written
