"""Write the Grafana dashboards; `--check` only says whether they are up to date.

python deploy/monitoring/dashboards.py

Queries take the largest of what the database says, because every process of the API shows it, and the sum of what
processes count. Figures of what has never happened are 0, so that an empty panel always means that something is wrong.
"""

import json
import sys
from pathlib import Path
from typing import Final

from boards import COST, OVERVIEW, RUNS, SLOS, STATE
from panels import Dashboard, rendered

FOLDER: Final = Path(__file__).parent / "grafana" / "dashboards"
DASHBOARDS: Final[tuple[Dashboard, ...]] = (OVERVIEW, RUNS, COST, STATE, SLOS)


def texts() -> dict[Path, str]:
    """Return the content of each file."""
    return {FOLDER / f"{page.uid}.json": json.dumps(rendered(page), indent=2) + "\n" for page in DASHBOARDS}


def main() -> int:
    """Write what has changed, or say what would."""
    old = [path for path, text in texts().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        print(*(f"{path.name} is not up to date" for path in old), sep="\n", end="\n" if old else "")
        return 1 if old else 0
    for path in old:
        path.write_text(texts()[path], encoding="utf-8")
        print(f"written: {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
