"""The support conversation answers, asks a colleague, pays back what was approved, and survives a restart."""

import json

import pytest

from outlast.domain.question import Decision
from outlast.domain.run import RunStatus

AGENT = "support"
REFUND = "I want my money back for order 1042!!"


@pytest.fixture
def paid(tmp_path, monkeypatch):
    """Returns what was paid back."""
    folder = tmp_path / "refunds"
    monkeypatch.setenv("SUPPORT_REFUNDS", str(folder))
    monkeypatch.delenv("SUPPORT_PAYMENTS_URL", raising=False)
    return lambda: [json.loads(file.read_text()) for file in folder.glob("*")]


def said(text):
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    ("text", "intent", "answer"),
    [
        ("What are your opening hours?", "faq", "Monday to Friday"),
        ("Where is my order 1042?", "order", "on its way"),
        ("Where is my order 9999?", "order", "cannot find an order 9999"),
        ("I have a question about an order", "order", "Which order"),
        ("I want a refund", "refund", "Which order"),
        ("I want a refund for order 9999", "refund", "Which order"),
    ],
)
async def test_it_answers_alone_what_it_can(graph_of, text, intent, answer):
    state = await (await graph_of("support", AGENT)).ainvoke(said(text))
    assert state["intent"] == intent
    assert answer in state["messages"][-1].text


@pytest.mark.parametrize("text", ["Order 1042 arrived damaged", "flurb", "Let me speak to a person"])
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


async def decided(running, text, decision):
    """Say something, decide what a person is asked about it; return the question and the run's end."""
    run_id = await running.start(AGENT, said(text), "anna")
    await running.finished(run_id, RunStatus.WAITING)
    inbox = running.runtime.inbox()
    [question], _ = await inbox.find(run_id=run_id, status="open")
    await inbox.answer(question.id, decision)
    return question, await running.finished(run_id)


async def test_money_goes_back_when_a_person_has_approved_exactly_that(outlast, paid):
    async with outlast("support") as running:
        question, run = await decided(running, REFUND, Decision(decision="approve"))
        assert question.question == "May 649.00 EUR be paid back for order 1042 (espresso machine)?"
        assert [reason.code for reason in question.reasons] == ["money", "angry"]
        assert question.default == Decision(decision="reject")
        assert question.due_at is not None
        again = await running.finished(await running.start(AGENT, said(REFUND), "anna"))

    assert paid() == [{"order": "1042", "cents": 64900}]
    assert "649.00 EUR for order 1042 are on their way" in run.output["messages"][-1]["content"]
    assert "We have paid back 649.00 EUR" in again.output["messages"][-1]["content"], "nobody is asked twice"


async def test_a_person_may_change_the_amount_and_nothing_else(outlast, paid):
    edited = Decision(decision="edit", value={"order": "1001", "cents": 4500})
    async with outlast("support") as running:
        await decided(running, REFUND, edited)
    assert paid() == [{"order": "1042", "cents": 4500}]


async def test_a_refund_that_is_rejected_is_not_paid_and_the_customer_is_told_why(outlast, paid):
    rejected = Decision(decision="reject", message="That order is on its way; let us wait for it.")
    async with outlast("support") as running:
        _, run = await decided(running, REFUND, rejected)
    assert paid() == []
    assert run.output["messages"][-1]["content"].endswith("let us wait for it.")
