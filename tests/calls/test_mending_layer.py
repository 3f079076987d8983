"""What a model of ours is shown of a conversation, at the provider."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI

import outlast
from outlast import telemetry
from outlast.calls.history import INTERRUPTED
from outlast.testing.providers import ProviderServer
from scripted_models import calling

CUT_OFF = [HumanMessage("go"), calling("search", q="x"), HumanMessage("still there?")]
LONG = [
    SystemMessage("be brief"),
    *[message for number in range(50) for message in (HumanMessage(f"q{number} " * 20), AIMessage("a " * 20))],
    HumanMessage("and now?"),
]


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    said: list[tuple[str, Any]] = []
    points = {"call.history_mended", "call.context_trimmed"}
    forget = telemetry.subscribe(lambda point, fields: said.append((point, dict(fields))) if point in points else None)
    yield said
    forget()


def openai(provider: ProviderServer, **options: Any) -> Any:
    return outlast.chat_model("openai:gpt-4o", base_url=provider.openai_url, api_key="k", **options)


async def shown(provider: ProviderServer, model: Any, messages: list[Any]) -> list[dict[str, Any]]:
    await model.ainvoke(messages)
    return provider.requests[-1].body["messages"]


async def test_a_conversation_that_was_cut_off_is_mended_and_told_of(provider, heard):
    messages = await shown(provider, openai(provider), CUT_OFF)

    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert messages[2]["content"] == INTERRUPTED
    assert heard == [("call.history_mended", {"run_id": None, "before": 3, "after": 4})]
    assert len(CUT_OFF) == 3, "the caller's list stays"


async def test_a_stream_is_mended_too(provider):
    async for _ in openai(provider).astream(CUT_OFF):
        pass
    assert len(provider.requests[-1].body["messages"]) == 4


async def test_nothing_is_left_out_unless_that_is_wanted(provider, heard):
    assert len(await shown(provider, openai(provider), LONG)) == len(LONG)
    assert heard == []


@pytest.mark.parametrize(
    "options", [{"trim": 800}, {"trim": True, "profile": {"max_input_tokens": 900}}], ids=["tokens", "window"]
)
async def test_what_does_not_fit_is_left_out_and_told_of(provider, heard, options):
    messages = await shown(provider, openai(provider, **options), LONG)

    assert messages[0] == {"role": "system", "content": "be brief"}
    assert messages[1]["role"] == "user"
    assert messages[-1] == {"role": "user", "content": "and now?"}
    assert 20 < len(messages) < len(LONG)
    ((point, fields),) = heard
    assert point == "call.context_trimmed"
    assert (fields["before"], fields["after"]) == (len(LONG), len(messages))


async def test_the_smallest_window_counts_so_that_a_fallback_can_answer(provider):
    def of(window: int) -> Any:
        return ChatOpenAI(
            model="gpt-4o", base_url=provider.openai_url, api_key="k", profile={"max_input_tokens": window}
        )

    model = outlast.wrap(of(700_000), fallbacks=[of(700)], trim=True)
    assert len(await shown(provider, model, LONG)) < len(LONG)


async def test_a_model_that_does_not_say_its_window_is_shown_everything(provider):
    model = outlast.chat_model("openai:nobody-knows-it", base_url=provider.openai_url, api_key="k", trim=True)
    assert len(await shown(provider, model, LONG)) == len(LONG)


async def test_the_tools_take_their_share_of_the_window(provider):
    from langchain_core.tools import tool

    @tool
    def search(q: str) -> str:
        """Search for something, which takes quite some words to explain to a model; these are they."""
        return q

    model = openai(provider, trim=800)
    alone = await shown(provider, model, LONG)
    with_tools = await shown(provider, model.bind_tools([search] * 8), LONG)
    assert len(with_tools) < len(alone)


def of_wire(provider: ProviderServer, wire: str) -> Any:
    if wire == "openai":
        return openai(provider)
    return outlast.chat_model("anthropic:claude-haiku-4-5", base_url=provider.anthropic_url, api_key="k")


WRONG = {"name": "search", "args": "{", "id": "w", "error": "no JSON", "type": "invalid_tool_call"}
HISTORIES = {
    "no result": CUT_OFF,
    "no result at the end": CUT_OFF[:2],
    "one of two results": [
        *CUT_OFF[:1],
        calling("a", "b"),
        ToolMessage("found", tool_call_id="b-1"),
        HumanMessage("?"),
    ],
    "no call": [HumanMessage("go"), ToolMessage("found", tool_call_id="gone"), HumanMessage("?")],
    "twice": [*CUT_OFF[:2], *[ToolMessage("found", tool_call_id="search-0") for _ in "ab"], HumanMessage("?")],
    "late": [*CUT_OFF, ToolMessage("found", tool_call_id="search-0"), HumanMessage("?")],
    "same id": [*CUT_OFF[:2], ToolMessage("1", tool_call_id="search-0"), calling("search", q="y"), HumanMessage("?")],
    "unreadable": [HumanMessage("go"), AIMessage("", invalid_tool_calls=[WRONG]), HumanMessage("?")],
    "nameless": [HumanMessage("go"), AIMessage("", invalid_tool_calls=[{**WRONG, "name": None}]), HumanMessage("?")],
}


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("history", HISTORIES)
async def test_no_history_makes_a_provider_refuse(provider, wire, history):
    answer = await of_wire(provider, wire).ainvoke(HISTORIES[history])
    assert answer.content
    assert [request.outcome for request in provider.requests] == ["answered"]
