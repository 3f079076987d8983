"""A thread whose tool calls were cut off is shown to the model so that no provider refuses it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI

from outlast.calls.history import INTERRUPTED, UNREADABLE, mended

OPENAI = ChatOpenAI(model="gpt-4o", api_key="x")
ANTHROPIC = ChatAnthropic(model="claude-sonnet-4-5", api_key="x")


def call(call_id: str | None, name: str = "search") -> dict[str, Any]:
    return {"name": name, "args": {"q": 1}, "id": call_id, "type": "tool_call"}


def asks(*ids: str | None, content: Any = "") -> AIMessage:
    return AIMessage(content, tool_calls=[call(one) for one in ids])


def found(call_id: str, text: str = "found") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call_id, name="search")


def unreadable(call_id: str | None, name: str | None = "search") -> AIMessage:
    wrong = {"name": name, "args": "{", "id": call_id, "error": "no JSON", "type": "invalid_tool_call"}
    return AIMessage("", invalid_tool_calls=[wrong])


def refusal_by_openai(messages: list[BaseMessage]) -> str | None:
    """What OpenAI answers with status 400, for the request that its own client makes of the messages."""
    open_ids: list[str] = []
    for message in OPENAI._get_request_payload(messages)["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_ids:
                return f"a result of {message['tool_call_id']} without its call before it"
            open_ids.remove(message["tool_call_id"])
            continue
        if open_ids:
            return f"no results of {open_ids}"
        open_ids = [one["id"] for one in message.get("tool_calls") or ()]
        if not all(open_ids) or len(set(open_ids)) != len(open_ids):
            return f"ids {open_ids}"
    return f"no results of {open_ids}" if open_ids else None


def refusal_by_anthropic(messages: list[BaseMessage]) -> str | None:
    """The same for Anthropic: all results in the very next message, no id twice in the whole request."""
    seen: set[str] = set()
    uses: list[str] = []
    for message in merged(ANTHROPIC._get_request_payload(messages)["messages"]):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(results) != sorted(uses):
            return f"results {results} for {uses}"
        uses = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len({*uses}) != len(uses) or seen & {*uses}:
            return f"`tool_use` ids must be unique: {uses}"
        seen |= {*uses}
    return f"no results of {uses}" if uses else None


def merged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of one role behind each other are one, for Anthropic."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        content = message["content"]
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1]["content"].extend(blocks)
        else:
            joined.append({"role": message["role"], "content": list(blocks)})
    return joined


IDS = st.sampled_from(["a", "b", "c", "functions.search:0"])
TEXT = st.sampled_from(["", "text"])


@st.composite
def ai_messages(draw: st.DrawFn) -> AIMessage:
    ids = draw(st.lists(IDS | st.sampled_from([None, ""]), max_size=3))
    wrong = draw(st.lists(st.tuples(IDS | st.none(), st.sampled_from(["search", None])), max_size=2))
    blocks = [{"type": "tool_use", "id": one, "name": "search", "input": {}} for one in draw(st.lists(IDS, max_size=2))]
    content: Any = draw(TEXT)
    if blocks:
        content = [{"type": "text", "text": "text"}, *blocks]
    message = AIMessage(content, id=draw(st.none() | st.just("1")))
    message.tool_calls = [call(one) for one in ids]
    message.invalid_tool_calls = [
        {"name": name, "args": "{", "id": one, "error": None, "type": "invalid_tool_call"} for one, name in wrong
    ]
    if draw(st.booleans()):
        function = {"name": "search", "arguments": "{}"}
        message.additional_kwargs = {"tool_calls": [{"id": "a", "type": "function", "function": function}]}
    return message


MESSAGES = st.lists(ai_messages() | st.builds(found, IDS) | st.builds(HumanMessage, st.just("go on")), max_size=8).map(
    lambda messages: [SystemMessage("be brief"), HumanMessage("go"), *messages]
)


@given(MESSAGES)
@settings(max_examples=400, deadline=None)
def test_any_history_becomes_one_that_both_providers_accept(messages):
    before = [message.model_copy(deep=True) for message in messages]

    result = mended(messages)

    assert refusal_by_openai(result) is None
    assert refusal_by_anthropic(result) is None
    assert mended(result) is result, "what is mended needs no mending"
    assert messages == before, "what was given is left alone"


@given(MESSAGES)
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_but_results_without_a_call(messages):
    result = mended(messages)

    assert [m.content for m in result if m.type == "human"] == [m.content for m in messages if m.type == "human"]
    assert sum(m.type == "ai" for m in result) == sum(m.type == "ai" for m in messages)
    for before, after in zip(
        [m for m in messages if m.type == "ai"], [m for m in result if m.type == "ai"], strict=True
    ):
        assert [(c["name"], c["args"]) for c in after.tool_calls] == [(c["name"], c["args"]) for c in before.tool_calls]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [HumanMessage("hi"), AIMessage("ho")],
        [HumanMessage("hi"), asks("a", "b"), found("b"), found("a"), AIMessage("done")],
        [HumanMessage("hi"), asks("a"), found("a"), asks("b"), found("b")],
        [asks("a"), HumanMessage([{"type": "tool_result", "tool_use_id": "a", "content": "found"}])],
        [unreadable("a"), found("a")],
    ],
    ids=["empty", "no-calls", "any-order", "loop", "result-in-the-question", "unreadable-with-result"],
)
def test_a_history_in_order_is_returned_as_it_is(messages):
    assert mended(messages) is messages


def test_a_call_without_a_result_gets_one_that_says_that_the_outcome_is_unknown():
    question = HumanMessage("and now?")

    result = mended([HumanMessage("go"), asks("a", "b"), found("b"), question])

    assert [m.type for m in result] == ["human", "ai", "tool", "tool", "human"]
    assert [(m.tool_call_id, m.content, m.status) for m in result[2:4]] == [
        ("a", INTERRUPTED, "error"),
        ("b", "found", "success"),
    ]
    assert result[2].name == "search"
    assert result[4] is question


def test_a_call_that_cannot_be_read_gets_a_result_that_says_so():
    result = mended([HumanMessage("go"), unreadable("a"), HumanMessage("and?")])
    assert [(m.type, m.content) for m in result[2:]] == [("tool", UNREADABLE), ("human", "and?")]


def test_a_call_that_nobody_could_answer_is_left_out_and_the_message_is_not_empty():
    result = mended([HumanMessage("go"), unreadable(None), HumanMessage("and?")])
    assert [m.type for m in result] == ["human", "ai", "human"]
    assert (result[1].invalid_tool_calls, bool(result[1].content)) == ([], True)


def test_a_result_without_its_call_is_left_out():
    result = mended([HumanMessage("go"), found("gone"), AIMessage("done")])
    assert [m.type for m in result] == ["human", "ai"]


def test_a_late_result_moves_behind_its_call():
    late = found("a")
    result = mended([asks("a"), HumanMessage("go on"), late])
    assert result[1] is late
    assert [m.type for m in result] == ["ai", "tool", "human"]


def test_of_two_results_the_last_one_counts():
    result = mended([asks("a"), found("a", "one"), found("a", "two"), HumanMessage("go on")])
    assert [m.content for m in result[1:]] == ["two", "go on"]


def test_an_id_that_is_used_again_gets_another_name_with_its_result():
    result = mended([asks("a"), found("a", "one"), asks("a"), found("a", "two")])
    assert [m.tool_calls[0]["id"] for m in result[::2]] == ["a", "a_2"]
    assert [(m.tool_call_id, m.content) for m in result[1::2]] == [("a", "one"), ("a_2", "two")]


def test_a_call_within_the_content_is_renamed_with_it():
    block = {"type": "tool_use", "id": "a", "name": "search", "input": {}}
    result = mended([asks("a", content=[block]), found("a"), asks("a", content=[block]), found("a")])
    assert result[2].content == [{**block, "id": "a_2"}]
    assert block["id"] == "a"


def test_mending_is_a_function_of_the_messages():
    messages = [HumanMessage("go"), asks("a", None), HumanMessage("and?")]
    assert mended(messages) == mended([m.model_copy(deep=True) for m in messages])
