"""A batch of documents that outlasts its worker.

The documents are modules of Python's standard library, so there is always real input. Each one is read in a `@task` of
its own: its result is saved as soon as it is there, and a task that has a saved result is never executed again. So a
batch that was cut off at document 57 goes on at document 58, in whatever process.
"""

import ast
import asyncio
import os
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langgraph.func import entrypoint, task

from outlast import progress

AT_ONCE = 4
# What a reviewer would want to see, by the name it is called with.
RISKY = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.exec", "pickle.load", "pickle.loads",
    "marshal.loads", "subprocess.call", "subprocess.run", "subprocess.Popen", "subprocess.check_output",
    "tempfile.mktemp", "ctypes.CDLL",
}  # fmt: skip
PACE_SECONDS = float(os.environ.get("OUTLAST_DEMO_PACE", "0"))
WITNESS = os.environ.get("OUTLAST_WITNESS")
PARSER = threading.Lock()


@entrypoint()
async def documents(given: dict[str, Any]) -> dict[str, Any]:
    """Read `count` documents and sum up what they say."""
    names = await choose(int(given.get("count", 100)))
    reports: list[dict[str, Any]] = []
    for start in range(0, len(names), AT_ONCE):
        reports += await asyncio.gather(*(read(name) for name in names[start : start + AT_ONCE]))
        await progress(len(reports), len(names))
    return summary(reports)


@task
async def choose(count: int) -> list[str]:
    """Pick the documents. A task, so that the batch keeps its list even if Python is upgraded while it runs."""
    return (await asyncio.to_thread(modules))[:count]


def modules() -> list[str]:
    """List the library's modules, always in the same order."""
    library = Path(sysconfig.get_path("stdlib"))
    found = [*sorted(library.glob("[a-z]*.py")), *sorted(library.glob("[a-z]*/[a-z]*.py"))]
    elsewhere = {"site-packages", "dist-packages", "test"}
    return [str(path.relative_to(library)) for path in found if path.parent.name not in elsewhere]


@task
async def read(name: str) -> dict[str, Any]:
    """Read one document and report on it."""
    witness("started", name)
    # Parsing takes a while: in a thread, so that the other runs of this worker go on meanwhile.
    report = await asyncio.to_thread(study, name)
    report["text"] = await written(report)
    await asyncio.sleep(PACE_SECONDS)
    witness("finished", name)
    return report


def study(name: str) -> dict[str, Any]:
    """Find out what there is to say about a document."""
    source = (Path(sysconfig.get_path("stdlib")) / name).read_text(encoding="utf-8", errors="replace")
    tree = parsed(source)
    nodes = list(ast.walk(tree))
    imports = {found for node in nodes for found in imported(node)}
    calls = [(node.lineno, called(node.func)) for node in nodes if isinstance(node, ast.Call)]
    return {
        "name": name,
        "lines": source.count("\n"),
        "classes": [node.name for node in tree.body if isinstance(node, ast.ClassDef)],
        "functions": [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)],
        "imports": sorted(imports),
        "risky": [f"{line}: {call}" for line, call in sorted(calls) if call in RISKY],
        "pid": os.getpid(),
    }


def parsed(source: str) -> ast.Module:
    """Parse, one document at a time: some Pythons (3.11.7 for one) fail now and then when two threads of a process do.

    See https://github.com/python/cpython/issues/106905; others in this process may parse too, hence the second try.
    """
    with PARSER:
        try:
            return ast.parse(source)
        except SystemError:
            return ast.parse(source)


def imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]


def called(function: ast.expr) -> str:
    """Return the name that a call uses: `run`, `subprocess.run`; nothing for anything longer."""
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


async def written(report: dict[str, Any]) -> str:
    """Put a report into three lines: by a model when there is a key for one, else by this function."""
    facts = (
        f"{report['name']}: {report['lines']} lines, {len(report['classes'])} classes, "
        f"{len(report['functions'])} functions\n"
        f"needs {', '.join(report['imports'][:8]) or 'no other module'}\n"
        f"{'look at ' + ', '.join(report['risky'][:5]) if report['risky'] else 'no risky calls'}"
    )
    model = chat_model()
    if model is None:
        return facts
    answer = await model.ainvoke(f"Sum up this Python module for a reviewer, in three short lines:\n{facts}")
    return str(answer.text)


def chat_model() -> Any:
    """Return a chat model if there is a key and LangChain for it."""
    for key, name in (("ANTHROPIC_API_KEY", "anthropic:claude-haiku-4-5"), ("OPENAI_API_KEY", "openai:gpt-4o-mini")):
        if os.environ.get(key):
            try:
                from langchain.chat_models import init_chat_model  # noqa: PLC0415 - only with a key

                return init_chat_model(os.environ.get("OUTLAST_EXAMPLE_MODEL", name))
            except ImportError:
                return None
    return None


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up all documents."""
    imports = Counter(name for report in reports for name in report["imports"])
    return {
        "documents": len(reports),
        "lines": sum(report["lines"] for report in reports),
        "classes": sum(len(report["classes"]) for report in reports),
        "functions": sum(len(report["functions"]) for report in reports),
        "risky_calls": sum(len(report["risky"]) for report in reports),
        "most_imported": [name for name, _ in imports.most_common(5)],
        "findings": [f"{report['name']}:{call}" for report in reports for call in report["risky"]][:10],
        # Which process read which document: the demo checks this against what it saw from outside.
        "read_by": {report["name"]: report["pid"] for report in reports},
    }


def witness(event: str, name: str) -> None:
    """Tell somebody outside what this process does, if anybody wants to know."""
    if WITNESS:
        line = f"{event} {name} {os.getpid()}\n".encode()
        # O_APPEND: one write is one line, also from several processes at once.
        descriptor = os.open(WITNESS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
