"""What a person reads when something is wrong: one message that says what to do, and an exit status for scripts."""

import socket
from uuid import uuid4

import pytest
from outlast_command import make_project, outlast

from outlast import errors
from outlast.cli.failures import exit_code

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def refused(done, status, *told):
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.startswith("outlast: ")
    assert "Traceback" not in done.stderr
    for text in told:
        assert text in done.stderr


def test_no_project(tmp_path):
    refused(outlast("dev", cwd=tmp_path), 2, "no outlast.toml or langgraph.json", 'my_agent = "./agent.py:graph"')


def test_a_project_without_agents(tmp_path):
    (tmp_path / "outlast.toml").write_text("[worker]\nconcurrency = 1\n")
    refused(outlast("dev", "--port", 0, cwd=tmp_path), 2, "names no agent", 'my_agent = "./agent.py:graph"')


def test_a_broken_agent_is_found_before_anything_starts(tmp_path):
    (tmp_path / "outlast.toml").write_text('[agents]\nbroken = "./agent.py:graph"\n')
    (tmp_path / "agent.py").write_text("graph = 1 / 0\n")
    refused(outlast("dev", "--port", 0, cwd=tmp_path), 2, "'broken'", "ZeroDivisionError", "line 1")
    assert not (tmp_path / ".outlast").exists()


def test_a_port_that_is_taken(tmp_path):
    make_project(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(outlast("dev", "--port", port, cwd=tmp_path), 2, f"port {port}", "taken by another program")
    assert not (tmp_path / ".outlast").exists()


def test_a_setting_that_is_wrong(tmp_path):
    make_project(tmp_path, settings="[worker]\nconcurrency = 0\n")
    refused(outlast("worker", cwd=tmp_path), 2, "worker.concurrency", "greater than or equal to 1")


def test_a_setting_that_does_not_exist(tmp_path):
    make_project(tmp_path, settings="[worker]\nleese = 5\n")
    refused(outlast("worker", cwd=tmp_path), 2, "worker.leese: there is no such setting (did you mean worker.lease?)")


def test_a_table_that_does_not_exist(tmp_path):
    make_project(tmp_path, settings="[wroker]\nlease = 5\n")
    refused(outlast("worker", cwd=tmp_path), 2, "wroker: there is no such setting (did you mean worker?)")


def test_a_variable_that_is_no_setting(tmp_path):
    make_project(tmp_path)
    refused(
        outlast("worker", cwd=tmp_path, OUTLAST_WORKR__LEASE="5"),
        2,
        "OUTLAST_WORKR__LEASE: there is no such setting (did you mean OUTLAST_WORKER__LEASE?)",
    )


def test_a_duration_that_is_none(tmp_path):
    make_project(tmp_path)
    refused(
        outlast("worker", cwd=tmp_path, OUTLAST_WORKER__LEASE="15s"),
        2,
        "worker.lease: '15s' is no duration; write seconds, as 15 or 0.5, or ISO 8601, as PT15S",
    )


def test_a_rule_between_settings_is_told_as_it_is(tmp_path):
    # Seconds, also in the environment, where everything is a text.
    make_project(tmp_path)
    done = outlast("worker", cwd=tmp_path, OUTLAST_WORKER__LEASE="2.5")
    refused(done, 2, "worker.lease (0:00:02.500000) must be at least three times worker.heartbeat (0:00:01)")
    assert "Value error" not in done.stderr


def test_a_value_that_is_none_of_the_choices(tmp_path):
    done = outlast("runs", "list", "--status", "foo", cwd=tmp_path)
    assert done.returncode == 2
    assert "Invalid value for '--status': 'foo' is not one of 'blocked'" in done.stderr
    assert "Value error" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "known"),
    [(["frobnicate"], ["dev", "serve", "worker", "runs", "db"]), (["runs", "frobnicate"], ["list", "show", "answer"])],
    ids=["top", "below"],
)
def test_a_command_that_does_not_exist(tmp_path, arguments, known):
    done = outlast(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert "No such command 'frobnicate'" in told
    assert all(name in told for name in known)
    assert "isolated-run" not in told


def test_a_fault_that_does_not_exist(tmp_path):
    make_project(tmp_path)
    refused(outlast("worker", cwd=tmp_path, OUTLAST_FAULT="nowhere:exit"), 2, "no fault point 'nowhere'")


def test_a_database_that_does_not_answer(tmp_path):
    refused(outlast("runs", "list", cwd=tmp_path, DATABASE_URL=NOWHERE), 69, "PostgreSQL does not answer")


def test_a_database_without_the_schema(tmp_path, empty_database_url):
    make_project(tmp_path)
    refused(outlast("worker", cwd=tmp_path, DATABASE_URL=empty_database_url), 2, "outlast db migrate")


def test_a_run_that_does_not_exist(tmp_path, database_url):
    refused(outlast("runs", "show", uuid4(), cwd=tmp_path, DATABASE_URL=database_url), 4, "there is no run")


def test_an_id_that_is_none(tmp_path):
    refused(outlast("runs", "cancel", "42", cwd=tmp_path), 2, "'42' is no run id", "outlast runs list")


def test_an_answer_that_is_no_json(tmp_path):
    refused(outlast("runs", "answer", uuid4(), "yes", cwd=tmp_path), 2, "no JSON", "needs quotes")


def test_debug_shows_the_traceback(tmp_path):
    done = outlast("--debug", "dev", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "AgentLoadError" in done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.AgentLoadError("x"), 2),
        (errors.DatabaseSetupError("x"), 2),
        (errors.InvalidInput("x"), 2),
        (errors.NotFound("run", "x"), 4),
        (errors.ThreadQuarantined(thread_id="x", reason="y"), 5),
        (errors.StateTooLarge(path="x", size_bytes=2, limit_bytes=1), 65),
        (errors.DatabaseUnavailable("x"), 69),
        (errors.LeaseLost(run_id="x", epoch=1), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_status(error, status):
    assert exit_code(error) == status
