"""What the pages about dead letters and recovery show is what works."""

import re
import tomllib

import pytest
from pages import ROOT, snippets

from outlast.domain.dead_letter import Attempt
from outlast.domain.stuck import HOPELESS, RECOVERABLE, Why
from outlast.server.auth.scopes import NEEDS
from outlast.setting_names import settings_of
from outlast.settings import Settings, load

RECOVERY, LETTERS = "docs/recovery.md", "docs/dead_letters.md"


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_the_settings_of_the_page_are_valid():
    (shown,) = snippets(RECOVERY, "toml")
    recovery = load(project=tomllib.loads(shown)).recovery
    assert (recovery.replay, recovery.replays) == (("provider_unavailable", "timed_out"), 3)
    known = {setting.key for setting in settings_of(Settings)}
    assert set(re.findall(r"`(recovery\.[a-z_]+)`", text(RECOVERY))) - {"recovery.replayed"} <= known


def test_the_table_of_the_page_is_what_holds_threads_up():
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no)", text(RECOVERY), re.MULTILINE)
    assert [name for name, _ in rows] == [why.value for why in Why]
    assert {Why(name) for name, recoverable in rows if recoverable == "yes"} == RECOVERABLE


def test_the_errors_that_come_again_are_all_told():
    (told,) = re.findall(r"come again however often.*?\.", text(RECOVERY), re.DOTALL)
    assert set(re.findall(r"`(\w+)`", told)) == set(HOPELESS)


@pytest.mark.parametrize("page", [RECOVERY, LETTERS])
def test_routes_that_the_pages_name_exist(page):
    routes = {re.sub(r"\{[^}]*\}", "{}", route) for route in NEEDS}
    named = re.findall(r"`((?:GET|POST) /(?:dlq|recovery)[^`]*)`", text(page))
    assert named
    assert {re.sub(r"\{[^}]*\}", "{}", route) for route in named} <= routes


def test_the_kinds_of_attempts_are_those_of_the_page():
    kinds = re.findall(r"^\| `(\w+)` \| ", text(LETTERS).partition("## What is kept")[2], re.MULTILINE)
    assert set(kinds) == set(re.findall(r"'(\w+)'", str(Attempt.__annotations__["kind"])))
