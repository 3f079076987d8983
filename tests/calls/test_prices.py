"""A call costs what the price list says, or what the project says; a price that nobody knows is no price."""

import warnings
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

import pytest
from genai_prices import Usage as ListedUsage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel

from outlast.calls.call import Target
from outlast.calls.prices import Prices, Tokens
from outlast.settings import PriceSettings

LISTED = [(provider, model) for provider in get_snapshot().providers for model in provider.models]
KINDS = {
    "input": "input_tokens", "output": "output_tokens", "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens", "cache_write_1h": "cache_write_1h_tokens",
    "reasoning": "output_reasoning_tokens", "input_audio": "input_audio_tokens", "output_audio": "output_audio_tokens",
}  # fmt: skip
# What is audio and cached, for example: the list wants to know, LangChain does not say.
OVERLAPS = (
    "cache_audio_read_tokens", "cache_audio_write_tokens", "cache_audio_write_1h_tokens",
    "output_audio_reasoning_tokens",
)  # fmt: skip


def target(provider: str, model: str) -> Target:
    return Target(provider=provider, model=model, key="", chat=FakeListChatModel(responses=[]))


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    """What a provider may report: the parts are in the whole."""
    size = st.integers(0, 400_000)
    read, write, dearer, audio, reasoning, said = (draw(size) for _ in range(6))
    return Tokens(
        input=draw(size) + read + write + dearer + audio, output=draw(size) + reasoning + said, cache_read=read,
        cache_write=write + dearer, cache_write_1h=dearer, reasoning=reasoning, input_audio=audio, output_audio=said,
    )  # fmt: skip


@given(number=st.integers(0, len(LISTED) - 1), used=tokens())
def test_a_cost_is_that_of_the_price_list_rounded_up(number, used):
    provider, model = LISTED[number]
    reported = dict.fromkeys(OVERLAPS, 0) | {KINDS[name]: count for name, count in used._asdict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listed = model.calc_price(ListedUsage(**reported), provider, genai_request_timestamp=datetime.now(UTC))
    micros = int((listed.total_price * 1_000_000).to_integral_value(ROUND_CEILING))
    # By the id itself, which the search of the provider may give to another of its models.
    found = provider.find_model(model.id)
    cost = Prices({}).cost_micros(target(provider.id, model.id), used)
    if found is model and cost is not None:
        assert cost == micros, (provider.id, model.id, used)
    if found is model and cost is None:
        assert "mtok" not in str(vars(model.get_prices(datetime.now(UTC))).keys() & {"input_mtok", "output_mtok"})


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"), ("azure_openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-6"), ("xai", "grok-4"),
        ("google_genai", "gemini-2.5-pro"), ("google_vertexai", "claude-sonnet-4@20250514"),
        ("groq", "llama-3.3-70b-versatile"),
        ("bedrock_converse", "us.anthropic.claude-sonnet-4-20250514-v1:0"), ("mistralai", "mistral-large-latest"),
        ("deepseek", "deepseek-chat"), ("cohere", "command-r"), ("perplexity", "sonar"),
    ],
)  # fmt: skip
def test_langchains_names_of_providers_have_prices(provider, model):
    assert Prices({}).cost_micros(target(provider, model), Tokens(1000, 1000))


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "no-such-model"), ("my-openai-proxy", "gpt-4o"), ("ollama", "llama3"), ("openai", "")],
)
def test_what_is_not_listed_has_no_price(provider, model):
    assert Prices({}).cost_micros(target(provider, model), Tokens(1000, 1000)) is None


def test_the_projects_own_price_wins():
    prices = Prices({"openai:gpt-4o": PriceSettings(input=0.1, output=0.2)})
    # 3 x 0.1 in floats is more than 0.3, and would be rounded up to another micro dollar.
    assert prices.cost_micros(target("openai", "gpt-4o"), Tokens(30, 0)) == 3
    assert prices.cost_micros(target("openai", "gpt-4o"), Tokens(10, 10)) == 3
    assert prices.cost_micros(target("azure_openai", "gpt-4o"), Tokens(10, 0)) == 25


def test_a_price_of_the_projects_own_for_what_a_cache_does():
    own = PriceSettings(input=10, output=0, cache_read=1, cache_write=20)
    cost = Prices({"openai:mine": own}).cost_micros(
        target("openai", "mine"), Tokens(input=10, cache_read=4, cache_write=3, cache_write_1h=1)
    )
    assert cost == 3 * 10 + 4 * 1 + 3 * 20
    plain = Prices({"openai:mine": PriceSettings(input=10, output=0)})
    assert plain.cost_micros(target("openai", "mine"), Tokens(input=10, cache_read=4, cache_write=3)) == 100


def test_a_deployment_costs_what_the_model_behind_it_does():
    prices = Prices({})
    deployed, model = target("azure_openai", "our-chat"), target("azure_openai", "gpt-4o-mini")
    assert prices.cost_micros(deployed, Tokens(1000, 1000)) is None
    assert prices.cost_micros(deployed, Tokens(1000, 1000), answered_by="gpt-4o-mini-2024-07-18") == prices.cost_micros(
        model, Tokens(1000, 1000)
    )


def test_a_service_tier_has_a_price_of_its_own():
    for model in (model for provider, model in LISTED if provider.id == "openai"):
        for variant in model.price_variants or ():
            if variant.when == {"service_tier": "flex"}:
                whole, cheap = (
                    Prices({}).cost_micros(target("openai", model.id), Tokens(10_000, 10_000), tier=tier)
                    for tier in ("", "flex")
                )
                assert cheap < whole
                return
    pytest.fail("the list has no such price any more")


def test_a_longer_request_costs_more_for_each_token():
    prices, model = Prices({}), target("google_genai", "gemini-2.5-pro")
    below, above = (prices.cost_micros(model, Tokens(size, 0)) for size in (200_000, 200_001))
    assert above > Decimal("1.9") * below


def test_a_provider_that_counts_more_parts_than_the_whole_makes_nothing_cheaper():
    wrong = Tokens(input=10, output=5, cache_read=1000, reasoning=1000)
    assert Prices({}).cost_micros(target("openai", "gpt-4o"), wrong) > 0


@given(input_tokens=st.integers(0, 10**12), output_tokens=st.integers(0, 10**12))
def test_a_cost_is_never_below_the_exact_one_and_less_than_a_micro_dollar_above(input_tokens, output_tokens):
    price = PriceSettings(input=0.07, output=0.011)
    cost = Prices({"a:b": price}).cost_micros(target("a", "b"), Tokens(input_tokens, output_tokens))
    exact = Decimal("0.07") * input_tokens + Decimal("0.011") * output_tokens
    assert 0 <= cost - exact < 1
