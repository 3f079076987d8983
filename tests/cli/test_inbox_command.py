"""`outlast inbox`: what people are asked, and their answers, straight in the database."""

import asyncio
import json
import logging
import os
import pty
import stat
from uuid import uuid4

import pytest
from outlast_command import OUTLAST, environment
from typer.testing import CliRunner

from outlast.cli.main import app
from outlast.domain.outcome import Settlement
from outlast.domain.question import hash_of
from outlast.domain.run import NewRun, RunStatus
from outlast.storage.postgres.runs import RunStore

SUBJECT = {"order": 7, "amount": 200}
HASH = hash_of(SUBJECT)
REFUND = {
    "type": "escalation", "question": "May this be \x1b[31mrefunded?", "subject": SUBJECT, "diff": "- 0\n+ 200",
    "reasons": [{"code": "high_stakes", "text": "200 EUR is much"}], "deadline_seconds": 3600, "default": "reject",
}  # fmt: skip


@pytest.fixture
def command(tmp_path, database_url, monkeypatch):
    """Runs a command in a thread of this process: a process for each would take most of the time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    level = logging.getLogger("psycopg").level

    async def run(*arguments, **more):
        return await asyncio.to_thread(
            CliRunner().invoke, app, ["inbox", *map(str, arguments)], env=more, prog_name="outlast"
        )

    yield run
    # The commands quieten it, for the process that they usually have for themselves.
    logging.getLogger("psycopg").setLevel(level)


@pytest.fixture
def asked(pool):
    """Let a run wait with a question; returns the run and the question's id."""

    async def ask(value=REFUND, agent=None):
        run_id, worker = uuid4(), uuid4()
        agent = agent or f"agent-{run_id}"
        store = RunStore(pool)
        await store.enqueue(NewRun(id=run_id, thread_id=str(run_id), agent=agent, input={}, config={}, metadata={}))
        async with pool.connection() as connection:
            await connection.execute(
                b"INSERT INTO workers (id, host, pid, concurrency, agents) VALUES (%s, 'here', 1, 1, '{}')", [worker]
            )
        (claimed,) = await store.claim(worker, [agent], limit=1, max_crashes=3)
        interrupts = [{"id": uuid4().hex, "value": value}]
        await store.settle(claimed, Settlement(status=RunStatus.WAITING, interrupts=interrupts))
        async with pool.connection() as connection:
            cursor = await connection.execute(b"SELECT id FROM questions WHERE run_id = %s", [run_id])
            return run_id, str((await cursor.fetchone())[0])

    return ask


async def answer_of(pool, run_id):
    """What the asker will get, and the state of its run."""
    view = await RunStore(pool).get(run_id)
    async with pool.connection() as connection:
        cursor = await connection.execute(b"SELECT answer FROM run_details WHERE run_id = %s", [run_id])
        (stored,) = await cursor.fetchone()
    said = json.loads(stored)
    return view.status, next(iter(said.values())) if isinstance(said, dict) and len(next(iter(said))) == 32 else said


async def test_questions_are_listed_and_filtered(asked, command):
    _, first = await asked()
    _, second = await asked({"question": "Which\torder?"}, agent="orders")
    lines = [line.split("\t") for line in (await command("list")).stdout.splitlines()]
    assert lines[0] == ["id", "status", "kind", "question", "agent", "asked", "due", "assignee"]
    # What is due first comes first.
    assert [line[0] for line in lines[1:]] == [first, second]
    assert lines[2][1:5] == ["open", "interrupt", "Which order?", "orders"]
    only = json.loads((await command("list", "--kind", "escalation", "--json")).stdout)
    assert [line["id"] for line in only] == [first]
    assert (await command("list", "--status", "answered")).stdout.count("\n") == 1


async def test_all_that_a_decision_needs_is_shown(asked, command):
    run_id, question = await asked()
    shown = (await command("show", question)).stdout
    for said in (
        str(run_id), "escalation", "high_stakes: 200 EUR is much", '"amount": 200', "+ 200", "then: reject",
        "approve, edit, reject, respond", "one person", f"outlast inbox approve {question}",
    ):  # fmt: skip
        assert said in shown, said
    assert "\x1b" not in shown, "what a model writes does not steer the terminal"
    told = json.loads((await command("show", question, "--json")).stdout)
    assert (told["subject"], told["default"], len(told["hash"])) == (SUBJECT, {"decision": "reject"}, 64)


async def test_a_question_is_answered_once(asked, command, pool):
    run_id, question = await asked()
    said = await command("approve", question, "--as", "ann")
    assert (said.exit_code, said.stdout) == (0, f"question {question} is answered: approve\n"), said.stderr
    again = await command("reject", question, "--as", "bob")
    assert again.exit_code == 5
    assert "ann" in again.stderr
    assert await answer_of(pool, run_id) == (RunStatus.QUEUED, {"decision": "approve", "hash": HASH})
    assert "approve by ann" in (await command("show", question)).stdout


async def test_a_rejection_has_its_reason(asked, command, pool):
    run_id, question = await asked()
    await command("reject", question, "--message", "no receipt")
    _, answer = await answer_of(pool, run_id)
    assert answer == {"decision": "reject", "message": "no receipt", "hash": HASH}


async def test_a_plain_question_gets_the_value_itself(asked, command, pool):
    run_id, question = await asked({"question": "Which order?"})
    wrong = await command("answer", question, "seven")
    assert wrong.exit_code == 2
    assert "quotes" in wrong.stderr
    assert (await command("answer", question, '{"order": 7}')).exit_code == 0
    assert (await answer_of(pool, run_id))[1] == {"order": 7}


async def test_an_edit_is_what_is_left_in_the_editor(asked, command, pool, tmp_path):
    run_id, question = await asked()
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/200/20/" "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    said = await command("edit", question, "--message", "part of it", VISUAL=str(editor))
    assert said.exit_code == 0, said.stderr
    assert (await answer_of(pool, run_id))[1] == {
        "decision": "edit", "value": {"order": 7, "amount": 20}, "message": "part of it", "hash": HASH
    }  # fmt: skip


async def test_an_editor_that_changes_nothing_decides_nothing(asked, command):
    _, question = await asked()
    said = await command("edit", question, VISUAL="true")
    assert said.exit_code == 5
    assert "nothing is decided" in said.stderr
    assert "open" in (await command("show", question)).stdout


async def test_an_edit_from_a_value_or_a_file(asked, command, pool, tmp_path):
    (tmp_path / "edited.json").write_text('{"order": 8}')
    for option, value in (("--value", '{"order": 8}'), ("--file", tmp_path / "edited.json")):
        run_id, question = await asked()
        assert (await command("edit", question, option, value)).exit_code == 0
        assert (await answer_of(pool, run_id))[1] == {"decision": "edit", "value": {"order": 8}, "hash": HASH}
    assert (await command("edit", question, "--value", "1", "--file", tmp_path / "edited.json")).exit_code == 2


async def test_an_approval_is_of_exactly_what_was_seen(asked, command):
    _, question = await asked()
    other = await command("approve", question, "--hash", "0" * 64)
    assert other.exit_code == 5
    told = json.loads((await command("show", question, "--json")).stdout)
    assert told["status"] == "open"
    assert (await command("approve", question, "--hash", told["hash"])).exit_code == 0


async def test_two_people_have_to_agree_where_two_are_needed(asked, command, pool):
    run_id, question = await asked({**REFUND, "needs": 2})
    first = await command("approve", question, "--as", "ann")
    assert "1 more is needed" in first.stdout, first.stderr
    assert "ann: approve" in (await command("show", question)).stdout
    assert (await command("approve", question, "--as", "ann")).exit_code != 0
    assert (await command("approve", question, "--as", "bob")).exit_code == 0
    assert (await answer_of(pool, run_id))[0] is RunStatus.QUEUED


async def test_it_is_assigned_and_commented_on(asked, command):
    _, question = await asked()
    assert (await command("assign", question, "ann")).stdout == f"question {question} is assigned to ann\n"
    assert (await command("comment", question, "called him", "--as", "bob")).exit_code == 0
    shown = (await command("show", question)).stdout
    assert "assigned to ann" in shown
    assert "bob (" in shown
    assert "called him" in shown
    assert (await command("approve", question, "--as", "bob")).exit_code != 0
    assert (await command("assign", question)).stdout.endswith("assigned to nobody\n")
    assert (await command("approve", question, "--as", "bob")).exit_code == 0


async def test_another_tenants_questions_are_not_there(asked, command):
    _, question = await asked()
    assert (await command("show", question, "--tenant", "acme")).exit_code == 4
    assert (await command("show", uuid4())).exit_code == 4
    assert (await command("show", "019")).exit_code == 2


async def test_a_terminal_gets_a_table_with_whole_ids(asked, tmp_path, database_url):
    _, question = await asked()
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *OUTLAST, "inbox", "list", cwd=tmp_path, stdout=theirs,
        env=environment(DATABASE_URL=database_url, COLUMNS="140"),
    )  # fmt: skip
    assert await process.wait() == 0
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert question in shown
    assert "escalation" in shown
    assert "\t" not in shown
