"""OpenAI's own SDK takes the provider for OpenAI."""

import openai
import pytest
from pydantic import BaseModel

from outlast.testing.providers import Reply, TokenUsage, ToolCall, faults

SEARCH = {
    "type": "function",
    "function": {"name": "search", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
}
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture
async def client(provider):
    async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="test", max_retries=0) as client:
        yield client


async def test_without_a_script_it_echoes_with_plausible_usage(client):
    answer = await client.chat.completions.create(**ASK)

    assert answer.choices[0].message.content == "You said: hi"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_usage_is_what_was_scripted(provider, client):
    usage = TokenUsage(input_tokens=100, output_tokens=20, cache_read_tokens=60, reasoning_tokens=5)
    provider.script([Reply("hello", usage=usage)])

    answer = await client.chat.completions.create(**ASK)

    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 20)
    assert answer.usage.prompt_tokens_details.cached_tokens == 60
    assert answer.usage.completion_tokens_details.reasoning_tokens == 5


async def test_a_stream_has_the_pieces_and_usage_only_if_it_was_asked_for(provider, client):
    provider.script([Reply("one two six", chunk_characters=4)] * 2)

    plain = [chunk async for chunk in await client.chat.completions.create(**ASK, stream=True)]
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    counted = [chunk async for chunk in await client.chat.completions.create(**ASK, **asked)]

    said = [chunk.choices[0].delta.content for chunk in plain if chunk.choices and chunk.choices[0].delta.content]
    assert said == ["one ", "two ", "six"]
    assert [chunk.usage for chunk in plain if chunk.usage] == []
    assert counted[-1].usage.completion_tokens > 0


async def test_tools_are_called_at_once_and_in_a_stream(provider, client):
    calls = (ToolCall("search", {"query": "x"}), ToolCall("search", {"query": "y"}, id="mine"))
    provider.script([Reply(tool_calls=calls)] * 2)

    answer = await client.chat.completions.create(**ASK, tools=[SEARCH])
    async with client.chat.completions.stream(**ASK, tools=[SEARCH]) as stream:
        streamed = await stream.get_final_completion()

    for found in (answer, streamed):
        first, second = found.choices[0].message.tool_calls
        assert (first.function.name, first.function.arguments) == ("search", '{"query": "x"}')
        assert second.id == "mine" != first.id
        assert found.choices[0].finish_reason == "tool_calls"
    assert provider.requests[0].tools == ("search",)


async def test_structured_output_is_an_example_until_it_is_scripted(provider, client):
    example = await client.chat.completions.parse(**ASK, response_format=Weather)
    provider.script([Reply(structured={"city": "Rome", "degrees": 31})])
    scripted = await client.chat.completions.parse(**ASK, response_format=Weather)

    assert isinstance(example.choices[0].message.parsed, Weather)
    assert scripted.choices[0].message.parsed == Weather(city="Rome", degrees=31)


async def test_a_refusal_is_one(provider, client):
    provider.script([Reply(refusal="I cannot do that")])

    answer = await client.chat.completions.parse(**ASK, response_format=Weather)

    assert answer.choices[0].message.refusal == "I cannot do that"


async def test_the_responses_api_answers_at_once(provider, client):
    provider.script([Reply("hello", thinking="well", tool_calls=(ToolCall("search", {"query": "x"}),))])

    answer = await client.responses.create(model="o4-mini", input="hi")

    assert answer.output_text == "hello"
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert answer.output[2].arguments == '{"query": "x"}'
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert (provider.requests[0].wire, provider.requests[0].text) == ("openai-responses", "hi")


async def test_the_responses_api_streams(provider, client):
    provider.script([Reply("hello there", thinking="well", tool_calls=(ToolCall("search", {"query": "x"}),))])

    async with client.responses.stream(model="o4-mini", input="hi") as stream:
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_response()

    assert answer.output_text == "hello there"
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


async def test_the_responses_api_gives_structured_output(provider, client):
    provider.script([Reply(structured={"city": "Rome", "degrees": 31})])

    answer = await client.responses.parse(model="o4-mini", input="hi", text_format=Weather)

    assert answer.output_parsed == Weather(city="Rome", degrees=31)


async def test_a_response_that_was_cut_is_incomplete(provider, client):
    provider.script([Reply("the", finish="length")])

    answer = await client.responses.create(model="o4-mini", input="hi")

    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.rate_limited(), (openai.RateLimitError, "rate_limit_exceeded")),
        (faults.rate_limited(quota=True), (openai.RateLimitError, "insufficient_quota")),
        (faults.content_policy(), (openai.BadRequestError, "content_policy_violation")),
        (faults.context_too_long(), (openai.BadRequestError, "context_length_exceeded")),
        (faults.bad_request(), (openai.BadRequestError, "invalid_value")),
        (faults.unauthorized(), (openai.AuthenticationError, "invalid_api_key")),
        (faults.forbidden(), (openai.PermissionDeniedError, "permission_denied")),
        (faults.status(404), (openai.NotFoundError, "model_not_found")),
        (faults.status(500), (openai.InternalServerError, "server_error")),
        (faults.status(503), (openai.InternalServerError, "server_error")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_status_is_the_error_that_it_is_at_openai(provider, client, fault, expected, stream):
    error, code = expected
    provider.fail(fault)

    with pytest.raises(error) as raised:
        await client.chat.completions.create(**ASK, stream=stream)

    assert raised.value.code == code
    assert raised.value.status_code == fault.status


async def test_retry_after_is_in_seconds_or_a_date(provider, client):
    provider.fail(faults.rate_limited(2), times=1)
    provider.fail(faults.rate_limited(60, as_date=True), times=1)

    said = []
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(**ASK)
        said.append(raised.value.response.headers["retry-after"])

    assert said[0] == "2"
    assert said[1].endswith(" GMT")


async def test_the_sdks_own_retries_use_up_no_reply(provider, client):
    provider.script(["first", "second"])
    provider.fail(faults.rate_limited(0.01), times=2)

    answer = await client.with_options(max_retries=2).chat.completions.create(**ASK)

    assert answer.choices[0].message.content == "first"
    assert [request.outcome for request in provider.requests] == ["failed", "failed", "answered"]


@pytest.mark.parametrize(
    "fault", [faults.closed(), faults.reset(), faults.reset_midway(), faults.cut_midway(), faults.early_end()]
)
async def test_a_connection_that_ends_before_the_answer_does_is_a_connection_error(provider, client, fault):
    provider.fail(fault, times=1)

    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(**ASK)

    assert provider.requests[0].outcome == "failed"
    assert (await client.chat.completions.create(**ASK)).choices[0].message.content == "You said: hi"


async def read(client, said):
    async for chunk in await client.chat.completions.create(**ASK, stream=True):
        said += [choice.delta.content for choice in chunk.choices if choice.delta.content]


@pytest.mark.parametrize("fault", [faults.reset_midway(2), faults.cut_midway(2)])
async def test_a_connection_that_ends_in_mid_stream_has_said_its_pieces(provider, client, fault):
    provider.fail(fault, times=1)
    provider.script([Reply("one two three four", chunk_characters=4)])

    said = []
    with pytest.raises(openai.APIConnectionError):
        await read(client, said)

    assert said == ["one ", "two "]


async def test_a_stream_that_ends_early_is_no_error_of_the_sdk(provider, client):
    provider.fail(faults.early_end(2), times=1)
    provider.script([Reply("one two three four", chunk_characters=4)])

    said = []
    await read(client, said)

    assert said == ["one ", "two "]
    assert provider.requests[0].outcome == "failed"


async def test_an_error_in_mid_stream_is_one(provider, client):
    provider.fail(faults.error_midway(1), times=1)

    said = []
    with pytest.raises(openai.APIError):
        await read(client, said)

    assert len(said) == 1


async def test_garbage_cannot_be_parsed(provider, client):
    provider.fail(faults.garbage(), times=2)

    with pytest.raises(ValueError, match="line 1 column"):
        await client.chat.completions.create(**ASK)
    with pytest.raises(ValueError, match="line 1 column"):
        await read(client, [])


async def test_an_empty_answer_has_no_choices(provider, client):
    provider.fail(faults.empty(), times=1)

    assert (await client.chat.completions.create(**ASK)).choices == []


async def test_usage_can_be_wrong_or_missing(provider, client):
    provider.fail(faults.wrong_usage(TokenUsage(input_tokens=0, output_tokens=10**9)), times=1)
    provider.fail(faults.wrong_usage(None), times=1)

    wrong = await client.chat.completions.create(**ASK)
    missing = await client.chat.completions.create(**ASK)

    assert wrong.usage.completion_tokens == 10**9
    assert missing.usage is None


async def test_a_page_of_a_proxy_is_no_json(provider, client):
    provider.fail(faults.status(502, html=True), times=1)

    with pytest.raises(openai.InternalServerError) as raised:
        await client.chat.completions.create(**ASK)

    assert raised.value.body is None or isinstance(raised.value.body, str)
    assert raised.value.response.headers["content-type"] == "text/html"
