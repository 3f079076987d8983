"""The support conversation answers, asks a colleague, and survives a restart in between."""

import pytest

from outlast.domain.run import RunStatus

AGENT = "support"


def said(text):
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    ("text", "intent", "answer"),
    [
        ("What are your opening hours?", "faq", "Monday to Friday"),
        ("Where is my order 1042?", "order", "on its way"),
        ("Where is my order 9999?", "order", "cannot find an order 9999"),
        ("I have a question about an order", "order", "Which order"),
    ],
)
async def test_it_answers_alone_what_it_can(graph_of, text, intent, answer):
    state = await (await graph_of("support", AGENT)).ainvoke(said(text))
    assert state["intent"] == intent
    assert answer in state["messages"][-1].text


@pytest.mark.parametrize("text", ["I want a refund for order 1042", "flurb", "Let me speak to a person"])
async def test_it_asks_a_person_when_it_should_not_answer_alone(outlast, text):
    async with outlast("support") as running:
        run = await running.finished(await running.start(AGENT, said(text)), RunStatus.WAITING)
    assert run.output["intent"] == "human"
    assert text in run.interrupts[0]["value"]["question"]


async def test_the_conversation_survives_a_restart_between_question_and_answer(outlast):
    async with outlast("support") as running:
        first = await running.finished(await running.start(AGENT, said("Where is my order 1042?"), "anna"))
        asked = await running.start(AGENT, said("It arrived broken"), "anna")
        waiting = await running.finished(asked, RunStatus.WAITING)
        assert waiting.interrupts[0]["value"]["order"] == "1042", "what was said before is known"

    async with outlast("support") as running:
        await running.runtime.queue.answer(asked, "A new one leaves today.")
        answered = await running.finished(asked)
        after = await running.finished(await running.start(AGENT, said("When will it arrive?"), "anna"))

    texts = [message["content"] for message in answered.output["messages"]]
    assert texts[1] == first.output["messages"][-1]["content"]
    assert texts[2:] == ["It arrived broken", "A new one leaves today."]
    assert "1042" in after.output["messages"][-1]["content"]
