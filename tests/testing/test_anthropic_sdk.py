"""Anthropic's own SDK takes the provider for Anthropic."""

import anthropic
import httpx2
import pytest

from outlast.testing.providers import ProviderServer, Reply, TokenUsage, ToolCall, faults

SEARCH = {"name": "search", "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}}}
ASK = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(provider):
    async with anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="test", max_retries=0) as client:
        yield client


async def test_without_a_script_it_echoes_with_plausible_usage(client):
    answer = await client.messages.create(**ASK)

    assert answer.content[0].text == "You said: hi"
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


async def test_input_that_a_cache_served_is_counted_apart(provider, client):
    usage = TokenUsage(input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=10)
    provider.script([Reply("hello", usage=usage)] * 2)

    answer = await client.messages.create(**ASK)
    async with client.messages.stream(**ASK) as stream:
        streamed = await stream.get_final_message()

    for said in (answer.usage, streamed.usage):
        assert (said.input_tokens, said.output_tokens) == (30, 20)
        assert (said.cache_read_input_tokens, said.cache_creation_input_tokens) == (60, 10)


async def test_a_stream_has_the_blocks_of_the_whole_answer(provider, client):
    calls = (ToolCall("search", {"query": "x"}), ToolCall("search", {}, id="toolu_mine"))
    provider.script([Reply("let me see", thinking="well", tool_calls=calls)] * 2)

    answer = await client.messages.create(**ASK, tools=[SEARCH])
    async with client.messages.stream(**ASK, tools=[SEARCH]) as stream:
        pieces = [piece async for piece in stream.text_stream]
        streamed = await stream.get_final_message()

    assert pieces == ["let me s", "ee"]
    for found in (answer, streamed):
        thinking, text, first, second = found.content
        assert (thinking.thinking, text.text, first.input, second.input) == ("well", "let me see", {"query": "x"}, {})
        assert second.id == "toolu_mine" != first.id
        assert found.stop_reason == "tool_use"


async def test_a_forced_tool_is_called_with_an_example_until_it_is_scripted(provider, client):
    forced = {"tools": [SEARCH], "tool_choice": {"type": "tool", "name": "search"}}
    example = await client.messages.create(**ASK, **forced)
    provider.script([Reply(structured={"query": "weather"})])
    scripted = await client.messages.create(**ASK, **forced)

    assert example.content[0].input == {"query": "example"}
    assert scripted.content[0].input == {"query": "weather"}


async def test_the_tokens_of_a_conversation_are_counted_without_a_request_to_a_model(provider, client):
    counted = await client.messages.count_tokens(model="claude-haiku-4-5", messages=ASK["messages"])

    assert counted.input_tokens > 0
    assert provider.requests == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.rate_limited(), (anthropic.RateLimitError, "rate_limit_error")),
        (faults.content_policy(), (anthropic.BadRequestError, "invalid_request_error")),
        (faults.unauthorized(), (anthropic.AuthenticationError, "authentication_error")),
        (faults.forbidden(), (anthropic.PermissionDeniedError, "permission_error")),
        (faults.status(404), (anthropic.NotFoundError, "not_found_error")),
        (faults.status(500), (anthropic.InternalServerError, "api_error")),
        (faults.status(503), (anthropic.InternalServerError, "api_error")),
        (faults.status(529), (anthropic.OverloadedError, "overloaded_error")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_status_is_the_error_that_it_is_at_anthropic(provider, client, fault, expected, stream):
    error, kind = expected
    provider.fail(fault)

    with pytest.raises(error) as raised:
        await client.messages.create(**ASK, stream=stream)

    assert raised.value.body["error"]["type"] == kind
    assert raised.value.status_code == fault.status


@pytest.mark.parametrize(
    "fault", [faults.closed(), faults.reset(), faults.reset_midway(), faults.cut_midway(), faults.early_end()]
)
async def test_a_connection_that_ends_before_the_answer_does_is_a_connection_error(provider, client, fault):
    provider.fail(fault, times=1)

    with pytest.raises(anthropic.APIConnectionError):
        await client.messages.create(**ASK)

    assert (await client.messages.create(**ASK)).content[0].text == "You said: hi"


async def read(client, said):
    async for event in await client.messages.create(**ASK, stream=True):
        said += [event.delta.text] if event.type == "content_block_delta" else []


@pytest.mark.parametrize("fault", [faults.reset_midway(2), faults.cut_midway(2)])
async def test_a_connection_that_ends_in_mid_stream_has_said_its_pieces(provider, client, fault):
    provider.fail(fault, times=1)
    provider.script([Reply("one two three four", chunk_characters=4)])

    said = []
    with pytest.raises((httpx2.TransportError, anthropic.APIConnectionError)):
        await read(client, said)

    assert said == ["one ", "two "]


async def test_a_stream_that_ends_early_is_no_error_of_the_sdk(provider, client):
    provider.fail(faults.early_end(2), times=1)
    provider.script([Reply("one two three four", chunk_characters=4)])

    said = []
    await read(client, said)

    assert said == ["one ", "two "]


async def test_an_overload_in_mid_stream_is_an_error(provider, client):
    provider.fail(faults.error_midway(1), times=1)

    said = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        await read(client, said)

    assert len(said) == 1
    assert raised.value.body["error"]["type"] == "overloaded_error"


async def test_garbage_cannot_be_parsed(provider, client):
    provider.fail(faults.garbage(), times=2)

    with pytest.raises(ValueError, match="line 1 column"):
        await client.messages.create(**ASK)
    with pytest.raises(ValueError, match="line 1 column"):
        await read(client, [])


async def test_an_empty_answer_has_no_content(provider, client):
    provider.fail(faults.empty(), times=1)

    assert (await client.messages.create(**ASK)).content == []


CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "search", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "found"}]}
USER = ASK["messages"][0]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([USER, CALLED], "without `tool_result` blocks immediately after: t1"),
        ([USER, CALLED, USER, RESULT], "without `tool_result` blocks immediately after: t1"),
        ([RESULT], "unexpected `tool_use_id` found in `tool_result` blocks: t1"),
        ([USER, {**CALLED, "content": CALLED["content"] * 2}, RESULT], "ids must be unique"),
        ([USER, CALLED, {**RESULT, "content": RESULT["content"] * 2}], "must have a single result"),
        ([USER, {"role": "assistant", "content": []}, USER], "non-empty content"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], "text content blocks must be non-empty"),
    ],
)
async def test_a_history_that_anthropic_refuses_is_refused(provider, client, messages, said):
    with pytest.raises(anthropic.BadRequestError, match=said):
        await client.messages.create(**{**ASK, "messages": messages})

    assert provider.requests[0].outcome == "bad"


async def test_a_history_in_order_is_taken(provider, client):
    provider.when("done", after_tool=True)

    answer = await client.messages.create(**{**ASK, "messages": [USER, CALLED, RESULT]})

    assert answer.content[0].text == "done"
    assert provider.requests[0].text == "found"


async def test_a_lenient_provider_takes_any_history():
    async with (
        ProviderServer(strict=False) as provider,
        anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="test") as client,
    ):
        assert (await client.messages.create(**{**ASK, "messages": [USER, CALLED]})).stop_reason == "end_turn"
