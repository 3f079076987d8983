"""The batch reads real documents, and the demonstration holds what it says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


async def test_a_batch_reads_each_document_once_and_reports_progress(outlast, monkeypatch, tmp_path):
    async with outlast("documents") as running:
        run = await running.finished(await running.start("documents", {"count": 10}))
    assert run.output["documents"] == len(run.output["read_by"]) == 10
    assert set(run.output["read_by"].values()) == {os.getpid()}
    assert (run.completed, run.total) == (10, 10)
    assert run.output["functions"] > 10


async def test_it_finds_what_a_reviewer_would_look_at(graph_of):
    output = await (await graph_of("documents", "documents")).ainvoke({"count": 100})
    assert output["documents"] == 100
    assert any(finding.endswith(": exec") for finding in output["findings"])
    assert "sys" in output["most_imported"]
    assert len(json.dumps(output)) < 20_000


@pytest.mark.processes
def test_the_demonstration_holds_what_it_says():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "documents" / "demo.py", "--count", "40"],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"read twice +0 of", done.stdout)
    assert "All of it held." in done.stdout
