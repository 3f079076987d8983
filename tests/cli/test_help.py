"""`--help` teaches, and is quick."""

import os
import re
import statistics
import subprocess
import sys

import pytest
import typer
from outlast_command import outlast

from outlast import __version__
from outlast.cli.main import app

HEAVY = {"fastapi", "langchain_core", "langgraph", "psycopg", "pydantic", "uvloop"}


def commands(group=None, path=()):
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif not command.hidden:
            yield pytest.param(command, (*path, name), id=" ".join((*path, name)))


@pytest.mark.parametrize(("command", "path"), list(commands()))
def test_the_help_of_a_command_has_a_paragraph_and_examples_that_name_it(command, path):
    assert re.search(rf"\n *Examples:\n.*outlast {' '.join(path)}\b", command.help, re.DOTALL), command.help
    first = command.help.splitlines()[0]
    # What `outlast --help` shows in the list, uncut.
    assert len(first) <= 60, first
    assert first.endswith(".")


def test_help_lists_the_commands_and_the_exit_statuses(tmp_path):
    said = outlast("--help", cwd=tmp_path)
    assert said.returncode == 0
    for word in ("dev", "serve", "worker", "runs", "db", "Exit status", "outlast.toml"):
        assert word in said.stdout
    assert "isolated-run" not in said.stdout


def test_the_version(tmp_path):
    assert outlast("--version", cwd=tmp_path).stdout == f"outlast {__version__}\n"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom outlast.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


def test_help_costs_little_processor_time(tmp_path):
    # Processor time, as the machine may be busy with something else.
    def cost():
        before = os.times()
        outlast("--help", cwd=tmp_path)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert statistics.median(cost() for _ in range(3)) < 0.5
