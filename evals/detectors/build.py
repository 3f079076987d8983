"""Build the labelled set anew: `labelled.jsonl`, the same bytes each time. What labels mean: definitions.md.

python evals/detectors/build.py            write it
python evals/detectors/build.py --check    say only whether it is up to date
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from broken import BROKEN
from lookalikes import LOOKALIKES
from sound import Draft, chained, changing, domains, reading

SET = Path(__file__).with_name("labelled.jsonl")
#: Of each mode and field of work. All variants are made once before one is made again.
_BROKEN_PER_FIELD = 6
_PLAIN_PER_FIELD = 6
_SEED = 20261121


def items() -> Iterator[dict[str, Any]]:
    """Return all traces with their labels: field by field, mode by mode."""
    fields = domains()
    for name, field in fields.items():
        others = [other for place, other in fields.items() if place != name and other["half"] == field["half"]]
        # A seed of its own for each trace: a change of one leaves the others as they are.
        for mode, variants in BROKEN.items():
            for number in range(_BROKEN_PER_FIELD):
                variant = list(variants)[number % len(variants)]
                draft = variants[variant](field, _random(name, mode, variant, number), others)
                yield _item(name, draft, [mode], variant, number)
        for mode, lookalikes in LOOKALIKES.items():
            for made in lookalikes:
                draft = made(field, _random(name, mode, made.__name__, 0))
                yield _item(name, draft, [], f"like_{mode}:{made.__name__}", 0)
        for number in range(_PLAIN_PER_FIELD):
            yield _item(name, _plain(field, _random(name, "plain", "", number), number), [], "plain", number)


def written() -> str:
    """Return the set as it stands in the file."""
    return "".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n" for item in items())


def _plain(field: dict[str, Any], random: Random, number: int) -> Draft:
    if number % 3 == 0:
        return chained(field, random)
    return changing(field, random, "update") if number % 3 == 1 else reading(field, random)


def _random(*parts: object) -> Random:
    return Random(f"{_SEED}:{parts}")


def _item(field: str, draft: Draft, labels: list[str], variant: str, number: int) -> dict[str, Any]:
    name = f"{field}/{variant}/{number}"
    return {"id": name, "half": draft.field["half"], "labels": labels, "variant": variant, "trace": draft.trace()}


def main() -> int:
    """Write the set, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is not up to date")
    text = written()
    if parser.parse_args().check:
        same = SET.exists() and SET.read_text() == text
        print("up to date" if same else f"{SET.name} is not up to date: run evals/detectors/build.py")
        return int(not same)
    SET.write_text(text)
    print(f"{SET.name}: {text.count(chr(10))} traces, {len(text.encode()) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
