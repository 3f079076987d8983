"""What the page about escalation shows is what works."""

import tomllib
from datetime import timedelta

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from pages import run_snippet, snippets

from outlast.settings import load

PAGE = "docs/escalation.md"


def test_the_settings_of_the_page_are_settings():
    settings = load(
        project={key: table for key, table in tomllib.loads(snippets(PAGE, "toml")[0]).items() if key != "agents"}
    )
    rules = settings.escalation.of("contracts")

    assert settings.escalation.of("other").rules == ("confidence", "stakes", "sensitive", "novel")
    assert (rules.rules, rules.confidence_at, rules.needs) == (("confidence", "novel"), "answer.confidence", 2)
    assert (rules.deadline, rules.default, rules.confidence) == (timedelta(hours=4), "reject", 0.7)


async def test_the_node_of_the_page_asks_and_goes_on_with_the_answer():
    names = await run_snippet(snippets(PAGE, "python")[0], {})
    builder = StateGraph(dict)
    builder.add_node("refund", names["refund"])
    builder.add_edge(START, "refund")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    asked = await graph.ainvoke({"order": 1, "amount": 120}, config)
    [question] = asked["__interrupt__"]

    assert question.value["default"] == {"decision": "reject"}
    answer = {"decision": "edit", "value": {"order": 1, "amount": 80}}
    assert (await graph.ainvoke(Command(resume=answer), config))["refunded"] == 80
