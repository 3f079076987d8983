"""Models by name and models that are given: built late, asked once per try, known by what fails together."""

import asyncio
import copy
import pickle
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import ConfigurableField
from langchain_openai import ChatOpenAI
from model_twins import WIRES, bare, ours, weather

import outlast
from outlast.calls.building import Given, Models, Named, fingerprint, without_retries
from outlast.errors import ConfigurationError
from outlast.testing.providers import ProviderServer, Reply, ToolCall, faults

KEYS = ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "LANGSMITH_GATEWAY")


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


# Errors say what to do.


@pytest.mark.parametrize(
    ("name", "variable"), [("openai:gpt-4o", "OPENAI_API_KEY"), ("anthropic:claude-haiku-4-5", "ANTHROPIC_API_KEY")]
)
async def test_a_missing_key_is_named_when_the_model_is_first_asked(no_keys: None, name: str, variable: str) -> None:
    model = outlast.chat_model(name)

    with pytest.raises(ConfigurationError, match=rf"{name}.*set {variable}"):
        await model.ainvoke("x")


async def test_a_key_may_be_set_after_the_model_was_made(
    no_keys: None, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = outlast.chat_model("openai:gpt-4o", base_url=provider.openai_url)

    monkeypatch.setenv("OPENAI_API_KEY", "late")

    assert (await model.ainvoke("hi")).text == "You said: hi"


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain.chat_models.base import _get_chat_model_creator

    _get_chat_model_creator.cache_clear()
    monkeypatch.setitem(sys.modules, "langchain_openai", None)
    model = outlast.chat_model("openai:gpt-4o", api_key="k")

    with pytest.raises(ConfigurationError, match=r"pip install 'outlast\[openai\]'"):
        await model.ainvoke("x")


async def test_a_missing_package_of_another_provider_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"langchain-cohere"):
        await outlast.chat_model("cohere:command-r").ainvoke("x")


async def test_a_broken_fallback_is_found_out_by_the_first_call_and_not_in_an_outage(
    no_keys: None, provider: ProviderServer
) -> None:
    model = outlast.chat_model(
        "openai:gpt-4o", base_url=provider.openai_url, api_key="k", fallbacks=["anthropic:claude-haiku-4-5"]
    )

    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        await model.ainvoke("x")


async def test_retries_of_the_integration_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"calls\.retry"):
        await outlast.chat_model("openai:gpt-4o", api_key="k", max_retries=5).ainvoke("x")


def test_a_wrapped_model_is_not_wrapped_again() -> None:
    model = outlast.chat_model("openai:gpt-4o", api_key="k")

    with pytest.raises(ConfigurationError, match="already"):
        outlast.wrap(model)
    with pytest.raises(ConfigurationError, match="already"):
        outlast.chat_model("openai:gpt-4o", api_key="k", fallbacks=[model])


# Retries have one owner.


@pytest.mark.parametrize("asked", ["ainvoke", "astream", "invoke", "stream"])
@pytest.mark.parametrize("kind", [ChatOpenAI, ChatAnthropic])
async def test_a_copy_asks_once_and_the_users_model_stays_as_it_is(
    provider: ProviderServer, kind: Any, asked: str
) -> None:
    url = provider.openai_url if kind is ChatOpenAI else provider.anthropic_url
    model = kind(model="claude-haiku-4-5", base_url=url, api_key="k", max_retries=2)
    if kind is ChatAnthropic:
        assert model._client.max_retries == model._async_client.max_retries == 2
    provider.fail(faults.status(503))

    once = without_retries(model)

    asks = {
        "ainvoke": lambda: once.ainvoke("x"),
        "astream": lambda: anext(once.astream("x")),
        "invoke": lambda: asyncio.to_thread(once.invoke, "x"),
        "stream": lambda: asyncio.to_thread(lambda: list(once.stream("x"))),
    }
    with pytest.raises(Exception, match=r"503|nternal"):
        await asks[asked]()
    assert len(provider.requests) == 1
    assert model.max_retries == 2


async def test_a_model_that_never_retries_is_used_as_it_is() -> None:
    model = ChatOpenAI(model="gpt-4o", api_key="k", max_retries=0)

    assert without_retries(model) is model


# What fails together.


def test_a_fingerprint_tells_keys_and_addresses_apart_and_holds_neither() -> None:
    prints = {
        fingerprint(ChatOpenAI(model="gpt-4o", api_key=key, base_url=url))
        for key in ("one", "two")
        for url in ("http://a.example", "http://b.example")
    }

    assert len(prints) == 4
    assert all(len(text) == 8 and int(text, 16) >= 0 for text in prints)
    again = ChatOpenAI(model="gpt-4o-mini", api_key="one", base_url="http://a.example", temperature=1)
    assert fingerprint(again) in prints, "the same key, whatever else differs"


def test_targets_have_the_names_that_settings_use() -> None:
    models = Models(
        [
            Named("openai:gpt-4o", {"api_key": "k"}),
            Given(ChatAnthropic(model="claude-haiku-4-5", api_key="k")),
            Named("gpt-4o-mini", {"api_key": "k"}),
        ]
    )

    assert [target.name for target in models.all] == [
        "openai:gpt-4o", "anthropic:claude-haiku-4-5", "openai:gpt-4o-mini"
    ]  # fmt: skip


def test_keys_are_in_no_text() -> None:
    model = outlast.chat_model("openai:gpt-4o", api_key="sk-secret", fallbacks=["openai:gpt-4o-mini"])

    assert "sk-secret" not in repr(model) + str(model) + repr(model.models.all) + repr(model.models.origins)


# Like any chat model.


@pytest.fixture(params=WIRES)
def model(request: pytest.FixtureRequest, provider: ProviderServer) -> Any:
    return ours(provider, request.param)


async def test_copies_answer(model: Any) -> None:
    await model.ainvoke("built")

    for other in (copy.copy(model), copy.deepcopy(model), model.model_copy(), pickle.loads(pickle.dumps(model))):
        assert (await other.ainvoke("hi")).text == "You said: hi"


async def test_bound_tools_survive_a_copy(model: Any, provider: ProviderServer) -> None:
    provider.script(lambda _: Reply(tool_calls=(ToolCall("weather", {"city": "Rome"}),)))
    bound = copy.deepcopy(model.bind_tools([weather], tool_choice="any"))

    assert (await bound.ainvoke("x")).tool_calls[0]["name"] == "weather"


async def test_a_tool_that_is_described_anew_is_told_anew(model: Any, provider: ProviderServer) -> None:
    described = weather.model_copy()
    for text in ("first", "second"):
        described.description = text
        await model.bind_tools([described]).ainvoke("x")

    told = [str(request.body["tools"]) for request in provider.requests]
    assert ["first" in told[0], "second" in told[1]] == [True, True]


async def test_a_copy_with_another_temperature_sends_it(model: Any, provider: ProviderServer) -> None:
    await model.model_copy(update={"temperature": 0.5}).ainvoke("x")
    await model.configurable_fields(temperature=ConfigurableField(id="heat")).ainvoke(
        "x", {"configurable": {"heat": 0.25}}
    )
    await model.ainvoke("x")

    assert [request.body.get("temperature") for request in provider.requests] == [0.5, 0.25, None]


async def test_an_alternative_may_be_chosen_when_it_is_called(model: Any, provider: ProviderServer) -> None:
    other = ours(provider, "openai", temperature=0)
    either = model.configurable_alternatives(ConfigurableField(id="who"), default_key="a", b=other)

    await either.with_config(configurable={"who": "b"}).ainvoke("x")

    assert provider.requests[-1].body["temperature"] == 0


async def test_runnable_methods_compose(model: Any) -> None:
    chain = model.bind(stop=["END"]).with_config(tags=["t"]).with_retry(stop_after_attempt=2) | (lambda said: said.text)

    assert await chain.abatch(["a", "b"]) == ["You said: a", "You said: b"]
    assert [part async for part in chain.astream("a")] == ["You said: a"]


async def test_a_cache_of_langchains_stays_langchains(provider: ProviderServer) -> None:
    model = outlast.wrap(bare(provider, "openai"), cache=InMemoryCache())

    assert (await model.ainvoke("x")).text == (await model.ainvoke("x")).text
    assert len(provider.requests) == 1


class Minimal(BaseChatModel):
    """All that LangChain asks of a model."""

    @property
    def _llm_type(self) -> str:
        return "minimal"

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"minimal: {messages[-1].text}"))])


async def test_a_model_that_can_do_no_more_than_it_must_is_enough() -> None:
    model = outlast.wrap(Minimal())

    assert (await model.ainvoke("a")).text == "minimal: a"
    assert model.invoke("b").text == "minimal: b"
    assert [chunk.text async for chunk in model.astream("c")] == ["minimal: c"]
    assert [chunk.text for chunk in model.stream("d")] == ["minimal: d"]
