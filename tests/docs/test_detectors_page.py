"""What the page about detectors shows is what works; its figures are compared in tests/validation/detectors."""

import re
import tomllib

import pytest
from pages import ROOT, run_snippet, snippets

from outlast.settings import load
from outlast.validation.building import build
from outlast.validation.detectors.built_in import DETECTORS
from outlast.validation.detectors.validator import DetectorsOptions

PAGE = "docs/detectors.md"


def test_the_validator_of_the_page_can_be_made():
    (shown,) = snippets(PAGE, "toml")
    (named,) = load(project=tomllib.loads(shown)).validation.agents["support"].validators
    (made,) = build([named], where="here", load=lambda _: None)
    assert made.options.tools == ("get_*", "search_*", "refund")


@pytest.mark.parametrize("number", [0, 1])
async def test_the_code_of_the_page_prints_what_it_says(number, capsys):
    shown = snippets(PAGE, "python")[number]
    await run_snippet(shown, {})
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in re.findall(r"^# (.*)$", shown, re.MULTILINE))


def test_the_page_names_every_mode_and_every_option():
    text = (ROOT / PAGE).read_text()
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert rows[: len(DETECTORS)] == rows[len(DETECTORS) : 2 * len(DETECTORS)] == list(DETECTORS)
    every_check_has = ("name", "severity", "at")
    assert rows[2 * len(DETECTORS) :] == [name for name in DetectorsOptions.model_fields if name not in every_check_has]
