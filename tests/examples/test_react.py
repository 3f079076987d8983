"""The tool-using agent calls its tools, and every call is saved."""

import pytest

QUESTION = "How many days from 2026-03-01 to 2026-03-14, what is 12 * (3 + 4), and what does support/orders.json say?"


def asked(text):
    return {"messages": [{"role": "user", "content": text}]}


async def test_it_uses_all_three_tools(outlast):
    async with outlast("react") as running:
        run = await running.finished(await running.start("assistant", asked(QUESTION)))
    messages = run.output["messages"]
    answer = messages[-1]["content"]
    for part in ("days_between: 13", "calculate: 84", "espresso machine"):
        assert part in answer
    assert [message["type"] for message in messages] == ["human", *["ai", "tool"] * 3, "ai"]


async def test_it_answers_without_tools_when_there_is_nothing_to_do(graph_of):
    state = await (await graph_of("react", "assistant")).ainvoke(asked("Hello"))
    assert "I can calculate" in state["messages"][-1].text


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 1 / 0?", "cannot work that out"),
        ("Read ../pyproject.toml", "no file"),
        ("From 2026-02-30 to 2026-03-01", "cannot read that date"),
    ],
)
async def test_what_a_tool_cannot_do_is_told_and_is_no_error(graph_of, question, answer):
    state = await (await graph_of("react", "assistant")).ainvoke(asked(question))
    assert answer in state["messages"][-1].text
