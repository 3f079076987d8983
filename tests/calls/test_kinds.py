"""What exceptions mean: those of the real SDKs at a provider that misbehaves, and those of SDKs that are not here."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from email.utils import formatdate
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI

from outlast.calls.call import Answer
from outlast.calls.kinds import EndedEarly, Kind, failure_of, kind_of, require_whole
from outlast.calls.retry_after import retry_after
from outlast.errors import DatabaseUnavailable, LeaseLost, ProviderUnavailable
from outlast.testing.providers import ProviderServer, faults
from outlast.testing.providers.faults import Fault


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


def chat(provider: ProviderServer, wire: str, **options: Any) -> BaseChatModel:
    if wire == "openai":
        return ChatOpenAI(model="gpt-4o", base_url=provider.openai_url, api_key="test", max_retries=0, **options)
    return ChatAnthropic(
        model="claude-sonnet-4-6", base_url=provider.anthropic_url, api_key="test", max_retries=0, **options
    )


async def failed(model: BaseChatModel, *, streamed: bool) -> Exception:
    try:
        if streamed:
            async for _ in model.astream("hello"):
                pass
        else:
            await model.ainvoke("hello")
    except Exception as error:  # noqa: BLE001 - whichever the SDK has for it
        return error
    raise AssertionError("the call did not fail")


WHOLE = [
    (faults.status(500), Kind.NETWORK),
    (faults.status(502, html=True), Kind.NETWORK),
    (faults.status(503), Kind.NETWORK),
    (faults.status(504), Kind.NETWORK),
    (faults.status(529), Kind.NETWORK),
    (faults.rate_limited(), Kind.RATE_LIMIT),
    (faults.content_policy(), Kind.REFUSED),
    (faults.bad_request(), Kind.REFUSED),
    (faults.context_too_long(), Kind.REFUSED),
    (faults.unauthorized(), Kind.UNAUTHORIZED),
    (faults.forbidden(), Kind.UNAUTHORIZED),
    (faults.status(404), Kind.NOT_FOUND),
    (faults.status(408), Kind.TIMEOUT),
    (faults.closed(), Kind.NETWORK),
    (faults.reset(), Kind.NETWORK),
    (faults.garbage(), Kind.BAD_ANSWER),
]


def named(fault: Any) -> str | None:
    return f"{fault.kind}-{fault.status}-{fault.code}" if isinstance(fault, Fault) else None


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("fault", "kind"), WHOLE, ids=named)
async def test_each_failure_of_a_provider_has_its_kind(
    provider: ProviderServer, wire: str, streamed: bool, fault: Fault, kind: Kind
) -> None:
    provider.fail(fault)

    error = await failed(chat(provider, wire), streamed=streamed)

    assert kind_of(error) is kind, repr(error)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.reset_midway(), Kind.NETWORK),
        (faults.cut_midway(), Kind.NETWORK),
        (faults.error_midway(), Kind.NETWORK),
    ],
    ids=named,
)
async def test_a_stream_that_breaks_off_has_the_kind_of_what_broke_it(
    provider: ProviderServer, wire: str, fault: Fault, kind: Kind
) -> None:
    provider.fail(fault)

    error = await failed(chat(provider, wire), streamed=True)

    assert kind_of(error) is kind, repr(error)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_provider_that_does_not_listen_is_a_matter_of_the_network(provider: ProviderServer, wire: str) -> None:
    await provider.go_down()

    assert kind_of(await failed(chat(provider, wire), streamed=False)) is Kind.NETWORK


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_provider_that_does_not_answer_in_time_is_a_timeout(provider: ProviderServer, wire: str) -> None:
    provider.fail(faults.delay(30))

    assert kind_of(await failed(chat(provider, wire, timeout=0.05), streamed=False)) is Kind.TIMEOUT


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("fault", [faults.rate_limited(retry_after=7), faults.status(503, retry_after=7)], ids=named)
async def test_the_wait_that_a_provider_asks_for_is_read(provider: ProviderServer, wire: str, fault: Fault) -> None:
    provider.fail(fault)

    failure = failure_of(await failed(chat(provider, wire), streamed=False))

    assert failure is not None
    assert failure.retry_after == 7


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_wait_until_a_date_is_read_by_the_providers_clock(provider: ProviderServer, wire: str) -> None:
    provider.fail(faults.rate_limited(retry_after=60, as_date=True))

    failure = failure_of(await failed(chat(provider, wire), streamed=False))

    assert failure is not None
    assert 57 <= (failure.retry_after or 0) <= 61


async def answered(model: BaseChatModel) -> Answer:
    message = await model.ainvoke("hello")
    assert isinstance(message, AIMessage)
    return Answer(result=ChatResult(generations=[ChatGeneration(message=message)]), model="test")


async def streamed(model: BaseChatModel) -> Answer:
    whole: Any = None
    async for chunk in model.astream("hello"):
        whole = chunk if whole is None else whole + chunk
    return Answer(result=ChatResult(generations=[ChatGeneration(message=whole)]), model="test")


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_an_answer_without_a_reason_for_its_end_ended_early(provider: ProviderServer, wire: str) -> None:
    provider.fail(faults.early_end(), times=1)
    model = chat(provider, wire)

    with pytest.raises(EndedEarly) as raised:
        require_whole(await streamed(model), wire)
    assert kind_of(raised.value) is Kind.BAD_ANSWER

    require_whole(await streamed(model), wire)
    require_whole(await answered(model), wire)


async def test_an_answer_without_content_is_no_answer(provider: ProviderServer) -> None:
    provider.fail(faults.empty())
    result = await chat(provider, "openai")._agenerate([HumanMessage("hello")])

    with pytest.raises(EndedEarly):
        require_whole(Answer(result=result, model="openai:gpt-4o"), "openai")


async def test_an_account_without_credit_is_no_rate_limit(provider: ProviderServer) -> None:
    provider.fail(faults.rate_limited(quota=True))

    assert kind_of(await failed(chat(provider, "openai"), streamed=False)) is Kind.QUOTA


async def test_a_model_that_has_no_word_for_its_end_is_believed() -> None:
    message = AIMessage("done")

    require_whole(Answer(result=ChatResult(generations=[ChatGeneration(message=message)]), model="own"), "own")


class Grpc(Exception):
    def __init__(self, name: str) -> None:
        self._name = name

    def code(self) -> Any:
        return SimpleNamespace(name=self._name, value=(14, "unavailable"))


class Botocore(Exception):
    def __init__(self, code: str, status: int | None) -> None:
        super().__init__(code)
        metadata = {} if status is None else {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "3"}}
        self.response = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": metadata}


class WithCode(Exception):
    def __init__(self, code: Any, **fields: Any) -> None:
        super().__init__("told by a code")
        self.code = code
        for name, value in fields.items():
            setattr(self, name, value)


def renamed(name: str, *bases: type[Exception]) -> Exception:
    return type(name, bases or (Exception,), {})("raised by an SDK that is not here")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Grpc("UNAVAILABLE"), Kind.NETWORK),
        (Grpc("DEADLINE_EXCEEDED"), Kind.TIMEOUT),
        (Grpc("RESOURCE_EXHAUSTED"), Kind.RATE_LIMIT),
        (Grpc("INVALID_ARGUMENT"), Kind.REFUSED),
        (Botocore("ThrottlingException", 429), Kind.RATE_LIMIT),
        (Botocore("ThrottlingException", None), Kind.RATE_LIMIT),
        (Botocore("ValidationException", 400), Kind.REFUSED),
        (Botocore("ExpiredTokenException", 403), Kind.UNAUTHORIZED),
        (WithCode(HTTPStatus.TOO_MANY_REQUESTS), Kind.RATE_LIMIT),
        (WithCode(503, status="UNAVAILABLE"), Kind.NETWORK),
        (WithCode("content_filter", status_code=400), Kind.REFUSED),
        (WithCode("content_filter"), Kind.REFUSED),
        (WithCode("insufficient_quota", status_code=429), Kind.QUOTA),
        (WithCode(402), Kind.QUOTA),
        (renamed("BlockedPromptException"), Kind.REFUSED),
        (renamed("ReadTimeout", TimeoutError), Kind.TIMEOUT),
        (renamed("ServerDisconnectedError", ConnectionError), Kind.NETWORK),
        (TimeoutError(), Kind.TIMEOUT),
        (ConnectionResetError(), Kind.NETWORK),
        (socket.gaierror(-2, "unknown name"), Kind.NETWORK),
        (json.JSONDecodeError("no JSON", "<html>", 0), Kind.BAD_ANSWER),
        (OutputParserException("no JSON"), Kind.BAD_ANSWER),
        (ValueError({"code": 502, "message": "upstream"}), Kind.NETWORK),
        (ValueError("No generation chunks were returned"), Kind.BAD_ANSWER),
        (ExceptionGroup("several", [ConnectionResetError()]), Kind.NETWORK),
    ],
)
def test_errors_of_other_sdks_are_known_by_what_they_carry(error: Exception, kind: Kind) -> None:
    assert kind_of(error) is kind


def test_an_adapters_own_error_is_what_caused_it() -> None:
    error = renamed("ChatGoogleGenerativeAIError")
    error.__cause__ = WithCode(HTTPStatus.SERVICE_UNAVAILABLE)

    assert kind_of(error) is Kind.NETWORK


@pytest.mark.parametrize(
    "error",
    [
        ValueError("messages must not be empty"),
        TypeError("unexpected keyword"),
        KeyError("tools"),
        RuntimeError("no loop"),
        FileNotFoundError("prompt.txt"),
        DatabaseUnavailable("away"),
        asyncio.CancelledError(),
    ],
)
def test_what_is_not_about_the_provider_has_no_kind(error: BaseException) -> None:
    assert failure_of(error) is None


def test_an_error_of_ours_is_not_judged_by_what_caused_it() -> None:
    ours = ProviderUnavailable("away", model="m", kind="network")
    ours.__cause__ = ConnectionResetError()

    assert failure_of(ours) is None
    assert failure_of(LeaseLost(run_id="r", epoch=1)) is None


def test_errors_are_told_by_themselves_before_what_they_wrap() -> None:
    error = WithCode(429)
    error.__cause__ = ConnectionResetError()

    assert kind_of(error) is Kind.RATE_LIMIT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"x-ms-retry-after-ms": "40"}, 0.04),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": formatdate(1000, usegmt=True), "date": formatdate(970, usegmt=True)}, 30),
        ({"retry-after": formatdate(1000, usegmt=True)}, 0),
        ({}, None),
    ],
)
def test_every_form_of_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    error = WithCode(None, response=SimpleNamespace(headers=headers))

    assert retry_after(error) == seconds


def test_the_wait_in_the_details_of_an_error_is_read() -> None:
    details = {"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}}

    assert retry_after(WithCode(429, details=details)) == 34
    assert retry_after(Botocore("ThrottlingException", 429)) == 3
