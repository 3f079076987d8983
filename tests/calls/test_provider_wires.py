"""LangChain's own models take the provider for theirs: what they do with it, ours have to do, too."""

import asyncio
from typing import Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from outlast.testing.providers import ProviderServer, Reply, TokenUsage, ToolCall, faults

USAGE = TokenUsage(input_tokens=100, output_tokens=20, cache_read_tokens=60)


class Weather(BaseModel):
    """The weather somewhere."""

    city: str
    sky: Literal["clear", "cloudy"]
    degrees: int


def look_up(city: str) -> str:
    """Look up the weather of a city."""
    return f"clear in {city}"


@pytest.fixture
async def provider():
    async with ProviderServer() as server:
        yield server


@pytest.fixture(params=["openai", "openai-responses", "anthropic"])
def model(request, provider):
    if request.param == "anthropic":
        return ChatAnthropic(
            model="claude-haiku-4-5", base_url=provider.anthropic_url, api_key="test", max_retries=0, timeout=10
        )
    return ChatOpenAI(
        model="gpt-4o",
        base_url=provider.openai_url,
        api_key="test",
        max_retries=0,
        timeout=10,
        stream_usage=True,
        use_responses_api=request.param == "openai-responses",
    )


async def added_up(stream):
    whole = None
    async for chunk in stream:
        whole = chunk if whole is None else whole + chunk
    return whole


async def test_invoke_says_the_text_and_what_it_cost(provider, model):
    provider.script([Reply("hello", usage=USAGE)])

    answer = await model.ainvoke("hi")

    assert answer.text == "hello"
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (100, 20)
    assert answer.usage_metadata["input_token_details"]["cache_read"] == 60


async def test_a_stream_adds_up_to_the_answer(provider, model):
    provider.script([Reply("hello from afar", usage=USAGE)])

    pieces = [chunk async for chunk in model.astream("hi")]

    assert [chunk.text for chunk in pieces if chunk.text] == ["hello fr", "om afar"]
    whole = await added_up(_each(pieces))
    assert (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]) == (100, 20)


async def _each(pieces):
    for piece in pieces:
        yield piece


async def test_a_batch_asks_for_each(provider, model):
    answers = await model.abatch(["one", "two", "three"])

    assert [answer.text for answer in answers] == ["You said: one", "You said: two", "You said: three"]
    assert len(provider.answered) == 3


async def test_bound_tools_are_called_at_once_and_in_a_stream(provider, model):
    calls = (ToolCall("look_up", {"city": "Rome"}), ToolCall("look_up", {"city": "Oslo"}))
    provider.script([Reply("let me see", tool_calls=calls)] * 2)
    bound = model.bind_tools([look_up])

    at_once = await bound.ainvoke("hi")
    streamed = await added_up(bound.astream("hi"))

    for answer in (at_once, streamed):
        assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
            ("look_up", {"city": "Rome"}),
            ("look_up", {"city": "Oslo"}),
        ]
        assert len({call["id"] for call in answer.tool_calls}) == 2
    assert provider.requests[0].tools == ("look_up",)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_structured_output_is_parsed(provider, model, method):
    wanted = model.with_structured_output(Weather, method=method)
    example = await wanted.ainvoke("hi")
    provider.script([Reply(structured={"city": "Rome", "sky": "cloudy", "degrees": 31})])

    assert await wanted.ainvoke("hi") == Weather(city="Rome", sky="cloudy", degrees=31)
    assert isinstance(example, Weather)


async def test_a_conversation_with_tools_goes_round(provider, model):
    provider.when("It is clear.", after_tool=True)
    provider.when(Reply(tool_calls=(ToolCall("look_up", {"city": "Rome"}),)), tool="look_up")
    bound = model.bind_tools([look_up])
    question = HumanMessage("weather?")

    called = await bound.ainvoke([question])
    result = ToolMessage("clear in Rome", tool_call_id=called.tool_calls[0]["id"])
    answer = await bound.ainvoke([question, called, result])

    assert answer.text == "It is clear."
    assert provider.requests[1].text == "clear in Rome"


async def test_a_conversation_with_a_lost_result_is_refused(provider, model):
    called = AIMessage("", tool_calls=[{"name": "look_up", "args": {"city": "Rome"}, "id": "call_1"}])

    with pytest.raises(Exception, match=r"call_1"):
        await model.ainvoke([HumanMessage("hi"), called, HumanMessage("and?")])

    assert provider.requests[0].outcome == "bad"


async def test_an_agent_runs_to_its_structured_end(provider, model):
    provider.when(Reply(tool_calls=(ToolCall("look_up", {"city": "Rome"}),)), text="weather\\?")
    provider.when(Reply(structured={"city": "Rome", "sky": "clear", "degrees": 31}), after_tool=True)
    agent = create_agent(model, [look_up], response_format=ToolStrategy(Weather))

    done = await agent.ainvoke({"messages": [HumanMessage("weather?")]})

    assert done["structured_response"] == Weather(city="Rome", sky="clear", degrees=31)
    assert [request.after_tool for request in provider.requests] == [False, True]


async def test_an_agent_with_structured_output_ends_without_a_script(provider, model):
    agent = create_agent(model, [look_up], response_format=ToolStrategy(Weather))

    done = await agent.ainvoke({"messages": [HumanMessage("weather?")]}, {"recursion_limit": 10})

    assert isinstance(done["structured_response"], Weather)


async def test_a_deep_agent_plans_delegates_and_answers(provider, model):
    from deepagents import create_deep_agent

    delegated = {"description": "the weather of Rome", "subagent_type": "general-purpose"}
    provider.script(
        [
            Reply(tool_calls=(ToolCall("write_todos", {"todos": [{"content": "look", "status": "in_progress"}]}),)),
            Reply(tool_calls=(ToolCall("task", delegated),)),
            Reply(tool_calls=(ToolCall("look_up", {"city": "Rome"}),)),
            "It is clear, the subagent says.",
            "It is clear.",
        ]
    )

    done = await create_deep_agent(model, [look_up]).ainvoke({"messages": [HumanMessage("weather?")]})

    assert done["messages"][-1].text == "It is clear."
    assert "task" in provider.requests[0].tools
    assert [request.text for request in provider.requests[2:]] == [
        "the weather of Rome",
        "clear in Rome",
        "It is clear, the subagent says.",
    ]


@pytest.mark.parametrize(
    "fault",
    [
        faults.rate_limited(1),
        faults.status(503),
        faults.content_policy(),
        faults.unauthorized(),
        faults.closed(),
        faults.reset(),
        faults.reset_midway(),
        faults.cut_midway(),
        faults.error_midway(),
        faults.garbage(),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
@pytest.mark.parametrize("stream", [False, True], ids=["invoke", "stream"])
async def test_a_fault_is_an_error_and_the_next_call_succeeds(provider, model, fault, stream):
    provider.fail(fault, times=1)

    with pytest.raises(Exception):  # noqa: B017, PT011 - any of the SDKs' many
        await (added_up(model.astream("hi")) if stream else model.ainvoke("hi"))

    assert (await model.ainvoke("hi")).text == "You said: hi"
    assert [request.outcome for request in provider.requests] == ["failed", "answered"]


async def test_a_stream_that_ends_early_only_lacks_its_reason(provider, model):
    provider.fail(faults.early_end(), times=1)

    cut = await added_up(model.astream("hi there you"))
    whole = await added_up(model.astream("hi there you"))

    def reasons(message):
        return {message.response_metadata.get(name) for name in ("finish_reason", "stop_reason", "status")} - {None}

    assert cut.text == "You said: hi the"
    assert reasons(cut) == set()
    assert len(reasons(whole)) == 1


async def test_a_timeout_of_the_client_leaves_the_request_lost(provider, model):
    provider.fail(faults.hold(), times=1)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await model.ainvoke("hi")

    await provider.wait_for(lambda requests: requests and requests[0].outcome == "lost")


def test_synchronous_calls_work_with_a_provider_in_a_thread():
    with ProviderServer.in_thread() as provider:
        model = ChatOpenAI(model="gpt-4o", base_url=provider.openai_url, api_key="test", max_retries=0, timeout=10)

        assert model.invoke("hi").text == "You said: hi"
        assert "".join(chunk.text for chunk in model.stream("hi")) == "You said: hi"
