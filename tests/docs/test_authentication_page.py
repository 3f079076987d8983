"""What the page about authentication says is what there is."""

import re
import tomllib

from pages import ROOT, snippets

from outlast.domain.access import SCOPES
from outlast.server.auth.scopes import NEEDS, PUBLIC
from outlast.setting_names import settings_of
from outlast.settings import Settings, load

PAGE = "docs/authentication.md"


def text() -> str:
    return (ROOT / PAGE).read_text()


def test_the_scopes_of_the_page_are_those_that_exist():
    table = text().split("## Scopes")[1].split("Writing does not")[0]
    assert tuple(re.findall(r"^\| `([a-z:]+)` \|", table, re.MULTILINE)) == SCOPES


def test_the_settings_of_the_page_exist():
    keys = {setting.key for setting in settings_of(Settings)}
    named = set(re.findall(r"`((?:auth|server)\.[a-z_.]+)`", text())) - {"auth.path", "auth.jwt"}
    assert named <= keys, named - keys
    for shown in snippets(PAGE, "toml"):
        load(project=tomllib.loads(shown))


def test_what_the_page_calls_public_is_public():
    public = {route.partition(" ")[2] for route, need in NEEDS.items() if need == PUBLIC}
    assert public == {"/ok", "/health", "/health/live", "/health/ready", "/runs/{run_id}/feedback/{token}"}
    for path in ("/ok", "/health", "/health/live", "/health/ready"):
        assert f"`{path}`" in text()
