"""`outlast policy`: the policies of a project, tried without a database."""

import json

import pytest
from outlast_command import outlast

POLICIES = """
import outlast

class NoReports(outlast.Policy):
    name = "no-reports"

    def decide(self, request, facts):
        return outlast.Refuse("no reports at all") if request.agent == "report" else outlast.Allow()
"""
SETTINGS = """
[agents]
support = "./policies.py:NoReports"

[policies]
order = ["hours", "personal_data", "tools", "./policies.py:NoReports"]
[policies.hours]
opens = "08:00"
[policies.personal_data]
found = "mask"
[policies.tools]
ask = ["send_*"]
"""
EXPECTED = """
[[request]]
name = "at night"
agent = "support"
at = 2026-11-20T23:00:00Z
expect = "refuse"
by = "hours"

[[request]]
agent = "support"
at = 2026-11-20T12:00:00Z
input = {task = "write to ann@example.com"}
expect = "change"
becomes = {task = "write to <email>"}

[[request]]
agent = "report"
at = 2026-11-20T12:00:00Z
expect = "refuse"
by = "no-reports"
says = "at all"

[[request]]
agent = "support"
tool = "send_mail"
expect = "ask"
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "policies.py").write_text(POLICIES)
    (tmp_path / "outlast.toml").write_text(SETTINGS)
    return tmp_path


def test_requests_that_come_out_as_expected(project):
    (project / "examples.toml").write_text(EXPECTED)
    said = outlast("policy", "test", "examples.toml", cwd=project)
    assert said.returncode == 0, said.stderr
    lines = [line.split("\t") for line in said.stdout.splitlines()]
    assert [line[:3] for line in lines] == [
        ["request", "verdict", "by"], ["at night", "refuse", "hours"], ["run support", "change", ""],
        ["run report", "refuse", "no-reports"], ["tool send_mail", "ask", "tools"],
    ]  # fmt: skip
    assert {line[-1] for line in lines[1:]} == {"ok"}


def test_one_that_does_not_fails_the_command_and_is_told(project):
    wrong = [
        {"agent": "support", "at": "2026-11-20T12:00:00Z", "expect": "allow"},
        {"agent": "support", "tool": "send_mail", "expect": "allow"},
    ]
    (project / "examples.json").write_text(json.dumps(wrong))
    said = outlast("policy", "test", "examples.json", "--json", cwd=project)
    assert said.returncode == 1
    assert [row["result"] for row in json.loads(said.stdout)] == ["ok", "expected allow"]
    assert "1 of 2 requests are not as expected" in said.stderr


def test_a_file_that_cannot_be_read_says_which_request_is_wrong(project):
    (project / "examples.toml").write_text(EXPECTED + '[[request]]\nagent = "support"\nexpect = "maybe"\n')
    said = outlast("policy", "test", "examples.toml", cwd=project)
    assert said.returncode == 2
    assert "request 5.expect" in said.stderr


def test_the_list_is_the_order_in_which_they_are_asked(project):
    said = outlast("policy", "list", cwd=project)
    assert [line.split("\t")[:2] for line in said.stdout.splitlines()] == [
        ["hours", "run"], ["personal_data", "run"], ["tools", "tool"], ["no-reports", "run"],
    ]  # fmt: skip
