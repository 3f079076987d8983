"""Processes that share a directory count together, and what the dead have counted stays."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from outlast.errors import ConfigurationError
from outlast.monitoring.metrics import directory as shared
from outlast.monitoring.metrics.directory import Membership, read, swept
from outlast.monitoring.metrics.sharing import sharing
from outlast.settings_metrics import MetricsSettings

COUNTING = Path(__file__).with_name("counting_process.py")


@contextmanager
def counting(folder: Path, tasks: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, str(COUNTING), str(folder), str(tasks)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"


def figures(folder: Path) -> dict[str, float]:
    found = {}
    for family in read(folder):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("status", "success") == "success" and labels.get("le", "0.25") == "0.25":
                found[sample.name] = sample.value
    return found


def test_counts_of_all_processes_are_one_and_a_killed_one_takes_its_gauges_with_it(tmp_path):
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(counting(tmp_path, tasks)) for tasks in (3, 4, 10))
        for process in (first, second, third):
            said(process)
        everything = {
            "agent_tasks_total": 17.0, "agent_latency_seconds_bucket": 17.0, "agent_latency_seconds_count": 17.0,
            "agent_latency_seconds_sum": pytest.approx(3.4), "outlast_pool_connections": 17.0,
        }  # fmt: skip
        assert figures(tmp_path) == everything

        third.kill()
        third.wait()
        third_gone = everything | {"outlast_pool_connections": 7.0}
        assert figures(tmp_path) == third_gone, "what it has counted is not lost with it"
        assert not list(tmp_path.glob(f"*_{third.pid}.db")), "files do not become more with each restart"

        assert second.stdin is not None
        second.stdin.close()
        second.wait()
        assert figures(tmp_path) == everything | {"outlast_pool_connections": 3.0}
        assert figures(tmp_path) == everything | {"outlast_pool_connections": 3.0}, "the dead are counted once"


def test_what_a_process_left_is_kept_when_another_gets_its_number(tmp_path):
    Membership.of(tmp_path).leave()
    again = Membership.of(tmp_path)
    try:
        read(tmp_path)
        assert (tmp_path / f"{os.getpid()}.alive").exists(), "it lives"
    finally:
        again.leave()


def test_directories_without_a_living_process_are_swept(tmp_path):
    dead, living = tmp_path / "1", tmp_path / "2"
    Membership.of(dead).leave()
    member = Membership.of(living)
    swept(tmp_path)
    member.leave()
    assert (dead.exists(), living.exists()) == (False, True)
    assert list(shared.others(tmp_path / "nothing")) == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    settings = MetricsSettings(directory=Path("file/below"))
    refused = pytest.raises(ConfigurationError, match=r"metrics\.directory: .*file/below cannot be made")
    with refused, sharing(settings, tmp_path):
        pass
