"""The labelled set is what its script makes, and the detectors do on it what the documentation says."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from outlast.testing.providers import ProviderServer, Reply
from outlast.validation.detectors.built_in import DETECTORS

EVALS = Path(__file__).parents[3] / "evals" / "detectors"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{name}_detectors", EVALS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look themselves up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def evaluate() -> Any:
    return script("evaluate")


@pytest.fixture(scope="module")
def results(evaluate: Any) -> list[Any]:
    return evaluate.results()


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EVALS / "labelled.jsonl").read_text().splitlines()]


def test_the_committed_set_is_what_the_script_makes() -> None:
    subprocess.run([sys.executable, EVALS / "build.py", "--check"], check=True, capture_output=True)


def test_the_set_has_all_modes_and_sound_traces_in_both_halves_that_share_no_field(items: list[dict[str, Any]]) -> None:
    assert len(items) >= 300
    assert len({item["id"] for item in items}) == len(items)
    for half in ("fit", "test"):
        counts = Counter(label for item in items if item["half"] == half for label in item["labels"] or ["sound"])
        assert set(counts) == {*DETECTORS, "sound"}
        assert min(counts.values()) >= 30
    fields = [{item["id"].split("/")[0] for item in items if item["half"] == half} for half in ("fit", "test")]
    assert not fields[0] & fields[1]


def test_every_mode_that_is_decidable_without_a_model_is_found_at_the_floor_with_the_thresholds_that_are_shipped(
    evaluate: Any, results: list[Any]
) -> None:
    assert evaluate.failures(results) == []
    decidable = {result.mode for result in results if result.holds}
    assert decidable >= {"tool_misuse", "context_overflow", "cascading_errors", "overconfidence"}


def test_the_figures_of_the_documentation_are_those_that_are_measured(items: list[Any], results: list[Any]) -> None:
    page = (EVALS.parents[1] / "docs" / "detectors.md").read_text()
    shown = re.findall(r"^\| `(\w+)` \| (0\.\d+) \| (\d\.\d\d) \| (\d\.\d\d) \|", page, re.MULTILINE)

    assert shown == [(r.mode, f"{r.threshold:.3f}", f"{r.test.recall:.2f}", f"{r.test.precision:.2f}") for r in results]
    assert f"{len(items)} synthetic traces" in page
    assert {(result.test.found + result.test.missed) for result in results} == {36}


def test_a_threshold_is_fitted_for_recall_at_the_precision_that_is_asked_for(evaluate: Any) -> None:
    def scored(*scores: tuple[bool, float]) -> list[Any]:
        return [evaluate.Scored(labelled, score, "", "") for labelled, score in scores]

    assert evaluate.fitted(scored((True, 0.9), (True, 0.8), (False, 0.4), (False, 0.1))) == pytest.approx(0.6)
    # Nine of ten are precise enough; the best recall is taken.
    assert evaluate.fitted(scored(*[(True, 0.8)] * 8, (True, 0.5), (False, 0.6), (False, 0.1))) < 0.5
    measured = evaluate.measured(scored((True, 0.9), (True, 0.2), (False, 0.7)), 0.5)
    assert (measured.recall, measured.precision) == (0.5, 0.5)


async def test_a_model_is_asked_for_the_modes_that_are_not_decidable_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = script("judge")
    assert set(judge.QUESTIONS) == {mode for mode, detector in DETECTORS.items() if not detector.decidable}
    async with ProviderServer() as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        # One that says yes to everything finds all, and is right about as many as there are.
        provider.script(lambda _request: Reply(structured={"why": "It is.", "found": True}))
        figures = await judge.measured("openai:gpt-4o-mini", sound=2, at_once=8, most=6)

    assert figures == dict.fromkeys(judge.QUESTIONS, (1.0, pytest.approx(6 / 8)))
