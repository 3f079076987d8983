"""What the pages show: code by its language, and how it is run."""

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = ["README.md", "CHANGELOG.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]


def snippets(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return [body for found, body in FENCE.findall(text) if found == language]


async def run_snippet(text: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a snippet, which may await at its top level, on this event loop; return the names that it leaves."""
    started = eval(compile(text, "<snippet>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if started is not None:
        await started
    return names
