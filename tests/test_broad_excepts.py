"""Where everything that can be raised is caught, a comment says why."""

import ast
from collections.abc import Iterator
from pathlib import Path

import outlast

ROOT = Path(outlast.__file__).parent
BROAD = {"Exception", "BaseException"}


def broad_handlers(source: str) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.walk(node.type) if node.type is not None else ()
            names = {name.id for name in caught if isinstance(name, ast.Name)}
            if node.type is None or names & BROAD:
                yield node


def test_a_broad_except_has_its_reason_above_it():
    without = [
        f"{path.relative_to(ROOT)}:{handler.lineno}"
        for path in sorted(ROOT.rglob("*.py"))
        for source in [path.read_text(encoding="utf-8")]
        for handler in broad_handlers(source)
        if not any("#" in line for line in source.splitlines()[handler.lineno - 3 : handler.lineno - 1])
    ]
    assert not without, "write a comment above the line that says why everything is caught"
