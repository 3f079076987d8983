"""A conversation that is too long is shown to the model without its oldest part, and never torn within a tool call."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from outlast.calls.history import mended
from outlast.calls.trimming import trimmed

RULES = SystemMessage("rules " * 10)


def asked(text: str) -> HumanMessage:
    return HumanMessage(f"{text} " * 20)


def used(number: int) -> list[BaseMessage]:
    return [
        AIMessage("", tool_calls=[{"name": "search", "args": {"q": "x"}, "id": f"call-{number}"}]),
        ToolMessage("found " * 20, tool_call_id=f"call-{number}"),
    ]


def turns(count: int, *, tools: int = 1) -> list[BaseMessage]:
    found: list[BaseMessage] = [RULES]
    for number in range(count):
        found.append(asked(f"question-{number}"))
        for call in range(tools):
            found.extend(used(number * 100 + call))
        found.append(AIMessage(f"answer-{number} " * 20))
    return found


def test_what_fits_is_returned_as_it_is():
    messages = turns(3)
    assert trimmed(messages, 10_000) is messages


def test_the_rules_and_the_newest_turns_stay():
    messages = turns(30)

    kept = trimmed(messages, 1000)

    assert count_tokens_approximately(kept) <= 1000
    assert kept[0] is RULES
    assert kept[1].type == "human"
    assert kept[2:] == messages[-len(kept) + 2 :], "no holes"
    assert len(kept) > 10, "no more is left out than has to be"


def test_a_long_turn_keeps_its_question_and_its_newest_calls():
    question = asked("the-task")
    messages = [RULES, *turns(3)[1:], question, *[message for number in range(100, 160) for message in used(number)]]

    kept = trimmed(messages, 1000)

    assert kept[:2] == [RULES, question]
    assert kept[-1] is messages[-1]
    assert count_tokens_approximately(kept) <= 1000


def test_the_beginning_stays_the_same_over_several_turns():
    messages, beginnings = turns(100, tools=0), []
    for length in range(141, 200, 2):
        kept = trimmed(messages[:length], 4000)
        beginnings.append(kept[1].content)
    assert len(set(beginnings)) <= 6, "a provider's cache of prompts lives by that"
    assert len(beginnings) == 30


def test_the_tools_are_counted():
    from langchain_core.tools import tool

    @tool
    def search(q: str) -> str:
        """Search for something somewhere, at length."""
        return q

    messages = turns(10)
    exact = count_tokens_approximately(messages)
    assert trimmed(messages, exact) is messages
    assert len(trimmed(messages, exact, tools=[search])) < len(messages)
    schema = {"type": "function", "function": {"name": "search", "parameters": {}}}
    assert len(trimmed(messages, exact, tools=[schema])) < len(messages)


def test_the_providers_own_count_goes_before_the_approximation():
    usage = {"input_tokens": 2000, "output_tokens": 10, "total_tokens": 2010}
    messages = turns(10)
    told = [*messages[:-1], AIMessage("a", usage_metadata=usage, response_metadata={"model_provider": "openai"})]
    limit = int(count_tokens_approximately(messages) * 1.1)

    assert trimmed(messages, limit) is messages
    assert len(trimmed(told, limit)) < len(told)


def test_a_newest_message_that_alone_is_too_long_is_left_for_the_provider_to_refuse():
    messages = [RULES, asked("old"), AIMessage("answer"), HumanMessage("long " * 5000)]
    assert trimmed(messages, 100) == [RULES, messages[-1]]


PIECES = st.lists(
    st.one_of(
        st.builds(lambda size: [HumanMessage("h" * size)], st.integers(0, 400)),
        st.builds(lambda size: [AIMessage("a" * size)], st.integers(0, 400)),
        st.builds(used, st.integers(0, 10_000)),
        st.builds(lambda: [SystemMessage("in between")]),
    ),
    max_size=25,
)


@given(PIECES, st.integers(20, 1500))
@settings(max_examples=300, deadline=None)
def test_whatever_is_left_out_the_rest_is_in_order_paired_and_fits(pieces: list[list[Any]], limit: int):
    messages = mended([RULES, HumanMessage("begin"), *[message for piece in pieces for message in piece]])

    kept = trimmed(messages, limit)

    places = [next(at for at, one in enumerate(messages) if one is message) for message in kept]
    assert all(before < after for before, after in pairwise(places)), "in order"
    assert mended(kept) is kept, "no call without its results, no result without its call"
    assert kept[0] is RULES
    assert kept[-1] is messages[-1]
    assert kept[1].type in {"human", "system"} or not any(m.type == "human" for m in messages[: places[1]])
    newest = next(at for at in range(len(messages) - 1, -1, -1) if messages[at].type != "tool")
    least = [RULES, *kept[1:2], *messages[newest:]]
    assert count_tokens_approximately(kept) <= max(limit, count_tokens_approximately(least))
    assert trimmed(messages, limit) == kept, "a function of the messages"


@pytest.mark.parametrize("limit", [50, 200, 800])
def test_what_is_trimmed_fits(limit: int):
    kept = trimmed(turns(20), limit)
    assert trimmed(kept, max(limit, count_tokens_approximately(kept))) is kept
