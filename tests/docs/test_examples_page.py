"""What the page about the examples says is what the folder has."""

import re
import tomllib

from pages import ROOT, snippets

PAGE = "docs/examples.md"


def test_each_example_stands_on_the_page_and_each_on_the_page_exists():
    named = set(re.findall(r"\.\./examples/(\w+)", (ROOT / PAGE).read_text(encoding="utf-8")))
    assert named == {folder.name for folder in (ROOT / "examples").iterdir() if folder.is_dir()}


def test_the_settings_of_the_page_are_those_of_the_example():
    (shown,) = snippets(PAGE, "toml")
    own = tomllib.loads((ROOT / "examples" / "contracts" / "outlast.toml").read_text(encoding="utf-8"))
    assert tomllib.loads(shown)["validation"] == own["validation"]
