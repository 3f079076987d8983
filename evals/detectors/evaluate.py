"""Fit the thresholds of the detectors on one half of the labelled set, and measure them on the other.

python evals/detectors/evaluate.py                 the figures by mode
python evals/detectors/evaluate.py --variants      and how each variant fared
python evals/detectors/evaluate.py --assert        fail below the floor, or when a shipped threshold is another
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from outlast.validation.detectors.built_in import DETECTORS
from outlast.validation.detectors.trace import Trace

SET = Path(__file__).with_name("labelled.jsonl")
#: On the half that was not fitted on, for each mode that is decidable without a model.
RECALL, PRECISION = 0.8, 0.9
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True, slots=True)
class Scored:
    """One trace, as a detector sees it: whether it has the mode, and the score."""

    labelled: bool
    score: float
    variant: str
    name: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a threshold."""

    found: int
    missed: int
    wrong: int

    @property
    def recall(self) -> float:
        return self.found / max(1, self.found + self.missed)

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.wrong)

    @property
    def f1(self) -> float:
        return 2 * self.found / max(1, 2 * self.found + self.missed + self.wrong)


@dataclass(frozen=True, slots=True)
class Result:
    """How one detector fared."""

    mode: str
    threshold: float
    fit: Figures
    test: Figures
    scored: Sequence[Scored]

    @property
    def holds(self) -> bool:
        return self.test.recall >= RECALL and self.test.precision >= PRECISION


def measured(half: Iterable[Scored], threshold: float) -> Figures:
    """Return the figures of a threshold."""
    counts = Counter((item.labelled, item.score >= threshold) for item in half)
    return Figures(counts[True, True], counts[True, False], counts[False, True])


def fitted(half: Sequence[Scored]) -> float:
    """Return the threshold with the best recall at the precision that is asked for; where none has it, the best F1.

    Of those as good, it is in the middle of the gap between two scores.
    """
    scores = sorted({0.0, 1.0, *(item.score for item in half)})
    tried = [(low + high) / 2 for low, high in pairwise(scores)]
    ranked = [(measured(half, threshold), threshold) for threshold in tried]
    precise = [item for item in ranked if item[0].precision >= PRECISION]
    best = max(precise or ranked, key=lambda item: (item[0].recall if precise else item[0].f1, item[0].precision))[0]
    alike = [threshold for figures, threshold in ranked if figures == best]
    middle = (alike[0] + alike[-1]) / 2
    # As few places as say the same, and three at least: it is to stay in the middle.
    return next(short for places in range(3, 17) if measured(half, short := round(middle, places)) == best)


def results() -> list[Result]:
    """Fit and measure all detectors."""
    items = [json.loads(line) for line in SET.read_text().splitlines()]
    traces = [Trace.of_json(item["trace"]) for item in items]
    return [_result(mode, items, traces) for mode in DETECTORS]


def _result(mode: str, items: Sequence[dict[str, Any]], traces: Sequence[Trace]) -> Result:
    detector = DETECTORS[mode]()
    halves: dict[str, list[Scored]] = {"fit": [], "test": []}
    for item, trace in zip(items, traces, strict=True):
        scored = Scored(mode in item["labels"], detector.score(trace), item["variant"], item["id"])
        halves[item["half"]].append(scored)
    threshold = fitted(halves["fit"])
    fit, test = (measured(halves[half], threshold) for half in ("fit", "test"))
    return Result(mode, threshold, fit, test, halves["test"])


def _show(found: Sequence[Result]) -> None:
    table = Table(
        title="Failure modes: fitted on one half, measured on the other", title_justify="left", box=box.SIMPLE_HEAD
    )
    for number, column in enumerate(
        ["mode", "threshold", "fit: recall", "precision", "test: recall", "precision", "", ""]
    ):
        table.add_column(column, justify="right" if 0 < number < 6 else "left", no_wrap=True)
    for result in found:
        figures = [f"{share:.2f}" for half in (result.fit, result.test) for share in (half.recall, half.precision)]
        decidable = DETECTORS[result.mode].decidable
        verdict = "[green]met[/green]" if result.holds else "[red]missed[/red]" if decidable else "in part only"
        table.add_row(
            result.mode,
            f"{result.threshold:.3f}",
            *figures,
            f"{result.test.found + result.test.missed} of {len(result.scored)}",
            verdict,
        )
    console.print(table)
    console.print(f"Floor for modes that are decidable without a model: recall {RECALL}, precision {PRECISION}.")


def _show_variants(found: Sequence[Result]) -> None:
    for result in found:
        rows = Counter((item.labelled, item.variant, item.score >= result.threshold) for item in result.scored)
        table = Table(title=result.mode, title_justify="left", box=box.SIMPLE_HEAD)
        for column in ("variant", "found", "of"):
            table.add_column(column, justify="left" if column == "variant" else "right")
        for labelled, variant in dict.fromkeys((labelled, variant) for labelled, variant, _ in rows):
            hits, misses = rows[labelled, variant, True], rows[labelled, variant, False]
            if labelled or hits:
                table.add_row(variant if labelled else f"[red]wrongly: {variant}[/red]", str(hits), str(hits + misses))
        console.print(table)


def failures(found: Sequence[Result]) -> list[str]:
    """Return what does not hold: the floor, and that the thresholds which are shipped are those that were fitted."""
    below = [
        f"{r.mode}: recall {r.test.recall:.2f}, precision {r.test.precision:.2f}"
        for r in found
        if DETECTORS[r.mode].decidable and not r.holds
    ]
    other = [
        f"{r.mode}: the shipped threshold is {DETECTORS[r.mode].fitted}, fitted is {r.threshold}"
        for r in found
        if DETECTORS[r.mode].fitted != r.threshold
    ]
    return [*below, *other]


def main() -> int:
    """Print the figures; with --assert, return 1 when they are below the floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", action="store_true", help="how each variant of the measured half fared")
    parser.add_argument("--assert", dest="strict", action="store_true", help="fail below the floor")
    given = parser.parse_args()
    found = results()
    _show(found)
    if given.variants:
        _show_variants(found)
    broken = failures(found) if given.strict else []
    for line in broken:
        console.print(f"[red]{line}[/red]")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
