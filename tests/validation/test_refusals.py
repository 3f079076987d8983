"""A refusal is told from an answer that speaks of one."""

from typing import Any

import pytest

from outlast.validation.refusals import refuses


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I can\u2019t assist with this request.",
        "I cannot provide medical advice.",
        "Sorry, I am unable to do that.",
        "Unfortunately, I'm not able to access your account.",
        "As an AI language model, I do not have opinions.",
        "I must decline.",
        "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
        "Ich kann dazu leider keine Auskunft geben.",
        "Désolé, je ne peux pas répondre à cette question.",
        "Lo siento, pero no puedo ayudarte con eso.",
    ],
)
def test_these_refuse(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I'm sorry for the delay. Your order was sent today.",
        "Your order cannot be changed any more, since it was sent.",
        "The patient said: I can't sleep. This may have several causes.",
        "Unfortunately the price has risen to 30 EUR.",
        "I can help with that: open the settings.",
        "Leider ist der Artikel ausverkauft; er kommt am Montag wieder.",
        "I can't say it better than the manual: " + "press the button, and wait for the lamp. " * 40,
    ],
)
def test_these_do_not(text: str) -> None:
    assert not refuses(text)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "", "additional_kwargs": {"refusal": "No."}},
        {"content": "", "response_metadata": {"stop_reason": "refusal"}},
        {"content": "", "response_metadata": {"finish_reason": "content_filter"}},
        {"content": [{"type": "refusal", "refusal": "No."}]},
    ],
)
def test_what_the_provider_marks_is_a_refusal_whatever_its_text(message: dict[str, Any]) -> None:
    assert refuses("All is well.", message)
    assert not refuses("All is well.", {"content": "All is well.", "response_metadata": {"finish_reason": "stop"}})
