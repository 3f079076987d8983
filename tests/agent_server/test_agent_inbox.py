"""What Agent Inbox does with a server, call by call: find the threads that ask, show what they ask, answer."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from agent_server_api import Server, served, some_id
from langgraph_sdk.errors import UnprocessableEntityError
from typer.testing import CliRunner

from outlast.agents.project import find_project
from outlast.cli.main import app
from outlast.domain.question import hash_of
from outlast.server.agent_inbox import retyped

GRAPHS = ("inquire", "careful", "careful_by_call")
REVIEW = {
    "type": "review", "question": "Is this right?", "reasons": [{"code": "missing", "text": "a price is missing"}],
    "subject": {"order": 7, "amount": 200.0, "lines": [1], "paid": True, "note": "soon"}, "diff": "- 1\n+ 2",
}  # fmt: skip


@pytest.fixture(scope="module")
async def asking(databases, open_runtime, tmp_path_factory):
    root = tmp_path_factory.mktemp("agent_inbox")
    shutil.copy(Path(__file__).parent / "inbox_agents.py", root / "inbox_project.py")
    graphs = {name: f"./inbox_project.py:{name}" for name in GRAPHS}
    (root / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": graphs}))
    url = await databases.create()
    async with served(open_runtime, url, project=find_project(root)) as server:
        yield server
    await databases.leave(url)


async def asked(server: Server, graph: str, given: Any) -> str:
    """Return a thread that asks."""
    thread_id = some_id()
    await server.sdk.runs.wait(thread_id, graph, input=given, if_not_exists="create")
    return thread_id


async def found(server: Server, graph: str, thread_id: str) -> dict[str, Any]:
    """Search as Agent Inbox does, and return what it would show for this thread."""
    threads = await server.sdk.threads.search(status="interrupted", metadata={"graph_id": graph}, limit=100, offset=0)
    (thread,) = [thread for thread in threads if thread["thread_id"] == thread_id]
    (questions,) = thread["interrupts"].values()
    return questions[0]["value"]


async def answered(server: Server, graph: str, thread_id: str, resume: Any) -> Any:
    """Answer as Agent Inbox does; return the state of the graph afterwards."""
    async for part in server.sdk.runs.stream(thread_id, graph, command={"resume": resume}, stream_mode="events"):
        assert part.event != "error", part.data
    return (await server.sdk.threads.get_state(thread_id))["values"]


def is_human_interrupt(value: Any) -> bool:
    return (
        isinstance(value["action_request"]["action"], str)
        and isinstance(value["action_request"]["args"], dict)
        and value["config"].keys() == {"allow_accept", "allow_edit", "allow_respond", "allow_ignore"}
        and all(isinstance(allowed, bool) for allowed in value["config"].values())
        and isinstance(value["description"], str)
    )


async def test_a_question_of_ours_is_shown_with_arguments_buttons_and_reasons(asking):
    thread_id = await asked(asking, "inquire", {"question": REVIEW})
    shown = await found(asking, "inquire", thread_id)
    assert is_human_interrupt(shown)
    assert shown["action_request"] == {"action": "review", "args": REVIEW["subject"]}
    assert all(shown["config"].values())
    for said in ("Is this right?", "a price is missing", "+ 2"):
        assert said in shown["description"]
    assert {key: shown[key] for key in REVIEW} == REVIEW, "what it says anyway is still there"


@pytest.mark.parametrize(
    "value",
    [{"type": "tool_approval", "key": "tool:1", "how": "...", "tool": "pay", "arguments": {"amount": 3}},
     {"type": "effect_unknown", "key": "e", "how": "...", "effect": "pay", "arguments": [3]},
     {"type": "budget_exceeded", "budget": "daily", "limit": "$5.00", "spent": "$5.00", "how": "..."},
     {"type": "escalation", "question": "Is it legal?", "subject": "a text"}],
    ids=lambda value: value["type"],
)  # fmt: skip
async def test_every_kind_of_ours_is_shown_in_its_shape(asking, value):
    shown = await found(asking, "inquire", await asked(asking, "inquire", {"question": value}))
    assert is_human_interrupt(shown)
    assert shown["config"]["allow_accept"]
    assert shown["config"]["allow_ignore"]


async def test_what_a_graph_asks_itself_is_shown_as_it_asks_it(asking):
    for value in ({"question": "which?"}, "which?", [1], {"action_request": {"action": "a", "args": {}}, "config": {}}):
        thread_id = await asked(asking, "inquire", {"question": value})
        assert await found(asking, "inquire", thread_id) == value


async def test_accept_and_ignore_are_yes_and_no(asking):
    for sent, decision in (("accept", "approve"), ("ignore", "reject")):
        thread_id = await asked(asking, "inquire", {"question": REVIEW})
        values = await answered(asking, "inquire", thread_id, [{"type": sent, "args": None}])
        assert values["answers"] == [{"decision": decision, "hash": hash_of(REVIEW["subject"])}]


async def test_an_edit_has_numbers_again_where_there_were_numbers(asking):
    thread_id = await asked(asking, "inquire", {"question": REVIEW})
    fields = {"order": "7", "amount": "20", "lines": "[1, 2]", "paid": "false", "note": "12"}
    sent = [{"type": "edit", "args": {"action": "review", "args": fields}}]
    (answer,) = (await answered(asking, "inquire", thread_id, sent))["answers"]
    assert answer["decision"] == "edit"
    assert answer["value"] == {"order": 7, "amount": 20, "lines": [1, 2], "paid": False, "note": "12"}


async def test_a_response_is_a_text(asking):
    thread_id = await asked(asking, "inquire", {"question": REVIEW})
    (answer,) = (await answered(asking, "inquire", thread_id, [{"type": "response", "args": "look again"}]))["answers"]
    assert (answer["decision"], answer["message"]) == ("respond", "look again")


async def test_a_yes_to_a_tool_is_the_answer_that_the_tool_waits_for(asking):
    value = {"type": "tool_approval", "key": "tool:1", "tool": "pay", "arguments": {"amount": 3}}
    thread_id = await asked(asking, "inquire", {"question": value})
    values = await answered(asking, "inquire", thread_id, [{"type": "accept", "args": {"action": "pay", "args": {}}}])
    assert values["answers"][0]["approved"] is True


async def test_what_is_not_allowed_is_refused_and_the_question_stays_open(asking):
    thread_id = await asked(asking, "inquire", {"question": {**REVIEW, "allowed": ["approve"]}})
    assert (await found(asking, "inquire", thread_id))["config"]["allow_ignore"] is False
    with pytest.raises(UnprocessableEntityError) as refused:
        await asking.sdk.runs.create(thread_id, "inquire", command={"resume": [{"type": "ignore", "args": None}]})
    assert refused.value.body["field"] == "command.resume"
    assert (await asking.sdk.threads.get(thread_id))["status"] == "interrupted"


async def test_a_graph_that_asks_in_agent_inboxes_own_shape_gets_its_own_answer(asking):
    value = [{
        "action_request": {"action": "send", "args": {"to": "ann"}}, "description": "Send it?",
        "config": {"allow_accept": True, "allow_edit": True, "allow_respond": True, "allow_ignore": True},
    }]  # fmt: skip
    for question in (value, value[0]):
        thread_id = await asked(asking, "inquire", {"question": question})
        sent = [{"type": "edit", "args": {"action": "send", "args": {"to": "bob"}}}]
        assert (await answered(asking, "inquire", thread_id, sent))["answers"] == [sent]


async def test_the_inbox_answers_such_a_graph_in_its_own_shape(asking):
    value = {
        "action_request": {"action": "send", "args": {"to": "ann"}}, "description": "Send it?",
        "config": {"allow_accept": True, "allow_edit": False, "allow_respond": False, "allow_ignore": True},
    }  # fmt: skip
    thread_id = await asked(asking, "inquire", {"question": value})
    (line,) = (await asking.http.get("/inbox", params={"thread_id": thread_id})).json()
    assert (line["kind"], set(line["allowed"])) == ("agent_inbox", {"approve", "reject"})
    assert (await asking.http.post(f"/inbox/{line['id']}/answer", json={"decision": "approve"})).status_code == 200
    (run, _) = await asking.sdk.runs.list(thread_id)
    await asking.ended(run)
    (answer,) = (await asking.sdk.threads.get_state(thread_id))["values"]["answers"]
    assert [reply["type"] for reply in answer] == ["accept"]


async def test_the_command_line_answers_a_run_that_has_ended_with_its_question(asking, tmp_path, monkeypatch):
    thread_id = await asked(asking, "inquire", {"question": REVIEW})
    (line,) = (await asking.http.get("/inbox", params={"thread_id": thread_id})).json()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", asking.runtime.settings.database.url)
    said = await asyncio.to_thread(CliRunner().invoke, app, ["inbox", "approve", line["id"], "--as", "ann"])
    assert said.exit_code == 0, said.output
    (run, _) = await asking.sdk.runs.list(thread_id)
    assert (await asking.ended(run))["status"] == "success"
    values = (await asking.sdk.threads.get_state(thread_id))["values"]
    assert [answer["decision"] for answer in values["answers"]] == ["approve"]
    shown = (await asking.http.get(f"/inbox/{line['id']}")).json()
    assert (shown["status"], shown["answered_by"]) == ("answered", "ann")


async def test_a_question_that_is_answered_here_is_answered_in_the_inbox(asking):
    thread_id = await asked(asking, "inquire", {"question": REVIEW})
    (line,) = (await asking.http.get("/inbox", params={"thread_id": thread_id})).json()
    await answered(asking, "inquire", thread_id, [{"type": "accept", "args": None}])
    late = await asking.http.post(f"/inbox/{line['id']}/answer", json={"decision": "reject"})
    assert (late.status_code, late.json()["code"]) == (409, "already_answered")
    assert (await asking.http.get("/inbox", params={"thread_id": thread_id})).json() == []


async def test_to_mark_a_thread_as_resolved_ends_it_and_withdraws_its_question(asking):
    thread_id = await asked(asking, "inquire", {"question": REVIEW})
    (line,) = (await asking.http.get("/inbox", params={"thread_id": thread_id})).json()
    await asking.sdk.threads.update_state(thread_id, None, as_node="__end__")
    assert (await asking.sdk.threads.get(thread_id))["status"] == "idle"
    late = await asking.http.post(f"/inbox/{line['id']}/answer", json={"decision": "approve"})
    assert (late.status_code, late.json()["question_status"]) == (409, "withdrawn")


# LangChain's middleware, whose requests Agent Inbox brings into its shape itself


HELLO = {"messages": [{"role": "user", "content": "refund me"}]}


@pytest.mark.parametrize(
    ("decision", "result"),
    [({"type": "approve", "args": {"action": "refund", "args": {"order": "7", "amount": "200"}}}, "refunded 200"),
     ({"type": "edit", "args": {"action": "refund", "args": {"order": "7", "amount": "12.5"}}}, "refunded 12.5 of 7"),
     ({"type": "reject", "args": "not without a receipt"}, "not without a receipt")],
    ids=["approve", "edit", "reject"],
)  # fmt: skip
async def test_the_middleware_understands_what_agent_inbox_sends(asking, decision, result):
    thread_id = await asked(asking, "careful", HELLO)
    shown = await found(asking, "careful", thread_id)
    assert shown["action_requests"][0]["args"] == {"order": 7, "amount": 200}
    values = await answered(asking, "careful", thread_id, {"decisions": [decision]})
    assert result in values["messages"][-1]["content"]


async def test_the_inbox_edits_a_call_of_the_middleware(asking):
    for graph in ("careful", "careful_by_call"):
        thread_id = await asked(asking, graph, HELLO)
        (line,) = (await asking.http.get("/inbox", params={"thread_id": thread_id})).json()
        assert line["kind"] == "hitl"
        edit = {"decision": "edit", "value": {"order": 7, "amount": 20}}
        assert (await asking.http.post(f"/inbox/{line['id']}/answer", json=edit)).status_code == 200
        (run, _) = await asking.sdk.runs.list(thread_id)
        await asking.ended(run)
        values = (await asking.sdk.threads.get_state(thread_id))["values"]
        assert "refunded 20" in values["messages"][-1]["content"]


async def test_too_few_decisions_are_refused_before_they_break_the_run(asking):
    thread_id = await asked(asking, "careful", HELLO)
    decisions = [{"type": "approve", "args": None}] * 2
    with pytest.raises(UnprocessableEntityError, match="about 1 calls"):
        await asking.sdk.runs.create(thread_id, "careful", command={"resume": {"decisions": decisions}})


async def test_the_middlewares_question_about_one_call_is_shown_and_answered(asking):
    thread_id = await asked(asking, "careful_by_call", HELLO)
    shown = await found(asking, "careful_by_call", thread_id)
    assert is_human_interrupt(shown)
    assert shown["action_request"] == {"action": "refund", "args": {"order": 7, "amount": 200}}
    sent = [{"type": "edit", "args": {"action": "refund", "args": {"order": "7", "amount": "20"}}}]
    values = await answered(asking, "careful_by_call", thread_id, sent)
    assert "refunded 20" in values["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("given", "before", "after"),
    [("20", 7, 20), ("2.5", 7, 2.5), ("twenty", 7, "twenty"), ("true", 1, "true"), ("1", True, "1"), ("7", "six", "7"),
     ('{"a": 1}', {}, {"a": 1}), ("[", [1], "["), ("null", 3, None), ("7", None, "7"), (8, 7, 8)],
)  # fmt: skip
def test_a_field_is_read_as_what_it_was(given, before, after):
    assert retyped(given, before) == after
    assert type(retyped(given, before)) is type(after)
