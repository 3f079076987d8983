"""What tokens cost: the project's own prices first, then the list of `genai-prices`, which ships with the package.

A price that nobody knows is None, never 0. Prices are read from the list at most once a minute per model (some change
with the time of day), so that a call costs a dictionary look-up and a few multiplications.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from outlast.calls.call import Target, Usage
from outlast.settings import PriceSettings

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

#: LangChain's names of providers, where the list has others.
_LISTED_AS: Final[Mapping[str, str]] = {
    "anthropic_bedrock": "aws",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "google_anthropic_vertex": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
}
_NOTHING: Final = Decimal(0)
_FRESH_SECONDS: Final = 60.0


class Tokens(NamedTuple):
    """What one try used. The parts of the input and of the output are contained in `input` and `output`."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    #: The part of `cache_write` that the provider keeps for an hour, which is dearer.
    cache_write_1h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """Micro dollars per token, which is the same number as dollars per million tokens.

    With more input tokens than a tier begins at, its rate holds for all of them.
    """

    plain: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def of(self, input_tokens: int) -> Decimal:
        """Return the rate for a request of this size."""
        for start, rate in self.tiers:
            if input_tokens > start:
                return rate
        return self.plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """The rates of one model; a part without a rate of its own costs what the whole does."""

    input: Rate
    output: Rate
    cache_read: Rate
    cache_write: Rate
    cache_write_1h: Rate
    input_audio: Rate
    output_audio: Rate
    reasoning: Rate
    #: Micro dollars per request, whatever its size.
    request: Decimal = _NOTHING

    def cost_micros(self, used: Tokens) -> int:
        """Return US dollars x 1,000,000, rounded up once."""
        size = used.input
        dearer = min(used.cache_write_1h, used.cache_write)
        # What a provider counts wrongly must not become a negative price.
        read = max(0, used.input - used.cache_read - used.cache_write - used.input_audio)
        written = max(0, used.output - used.reasoning - used.output_audio)
        cost = self.request + self.input.of(size) * read + self.output.of(size) * written
        for count, rate in (
            (used.cache_read, self.cache_read),
            (used.cache_write - dearer, self.cache_write),
            (dearer, self.cache_write_1h),
            (used.input_audio, self.input_audio),
            (used.output_audio, self.output_audio),
            (used.reasoning, self.reasoning),
        ):
            if count:
                cost += rate.of(size) * count
        return int(cost.to_integral_value(ROUND_CEILING))


class _Known(NamedTuple):
    tariff: Tariff | None
    until: float


class Prices:
    """The prices that a process reckons with."""

    def __init__(self, own: Mapping[str, PriceSettings]) -> None:
        self._own = {name: _own(price) for name, price in own.items()}
        self._known: dict[tuple[str, str, str, str], _Known] = {}
        self._ready = False
        self._loading: asyncio.Future[None] | None = None

    def loading(self) -> "asyncio.Future[None] | None":
        """Begin to read the list in a thread, beside the first call of the process; None when that is done.

        The future is everybody's: shield it when waiting.
        """
        if self._ready:
            return None
        if self._loading is None:
            self._loading = asyncio.get_running_loop().run_in_executor(None, self._load)
        return self._loading

    def _load(self) -> None:
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 0.2 s that `import outlast` must not take

        get_snapshot()
        self._ready = True

    def cost(self, target: Target, usage: Usage) -> int | None:
        """Return what so much would cost at this target, None when nobody knows; the usage's own model is not asked."""
        used = Tokens(
            input=usage.input_tokens,
            output=usage.output_tokens,
            cache_read=usage.cache_read_tokens,
            cache_write=usage.cache_write_tokens,
            reasoning=usage.reasoning_tokens,
        )
        return self.cost_micros(target, used)

    def cost_micros(self, target: Target, used: Tokens, *, answered_by: str = "", tier: str = "") -> int | None:
        """Return what a try cost, None when nobody knows.

        `answered_by` is the model's name in the answer, which says more than an alias or the name of a deployment;
        `tier` the service tier that the answer names.
        """
        key = target.provider, target.model, answered_by, tier
        known = self._known.get(key)
        if known is None or known.until < time.monotonic():
            known = self._known[key] = _Known(self._tariff(*key), time.monotonic() + _FRESH_SECONDS)
        return None if known.tariff is None else known.tariff.cost_micros(used)

    def _tariff(self, provider: str, model: str, answered_by: str, tier: str) -> Tariff | None:
        for name in (model, answered_by):
            own = self._own.get(f"{provider}:{name}")
            if own is not None:
                return own
        for name in (answered_by, model):
            listed = _listed(_LISTED_AS.get(provider, provider), name, tier) if name else None
            if listed is not None:
                return listed
        return None


def _own(price: PriceSettings) -> Tariff:
    def rate(value: float | None, whole: float) -> Rate:
        # By its text: 0.1 is meant as a tenth.
        return Rate(Decimal(str(whole if value is None else value)))

    read, written = rate(price.input, 0), rate(price.output, 0)
    cache_write = rate(price.cache_write, price.input)
    return Tariff(
        input=read,
        output=written,
        cache_read=rate(price.cache_read, price.input),
        cache_write=cache_write,
        cache_write_1h=cache_write,
        input_audio=read,
        output_audio=written,
        reasoning=written,
    )


def _listed(provider: str, model: str, tier: str) -> Tariff | None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - see Prices._load

    snapshot = get_snapshot()
    # By its exact name: the list's own search takes whatever contains "openai" for OpenAI.
    found = next((entry for entry in snapshot.providers if entry.id == provider), None)
    info = found.find_model(model, all_providers=snapshot.providers) if found is not None else None
    if info is None:
        return None
    return _tariff_of(info.get_prices(datetime.now(UTC), {"service_tier": tier} if tier else None))


def _tariff_of(prices: "ModelPrice") -> Tariff | None:
    listed: dict[str, Any] = {name: price for name, price in vars(prices).items() if price is not None}
    if not {"input_mtok", "output_mtok"} & listed.keys():
        # Priced by something else than tokens, which no answer counts.
        return None

    def rate(name: str, whole: Rate) -> Rate:
        price = listed.get(f"{name}_mtok")
        if price is None:
            return whole
        if isinstance(price, Decimal):
            return Rate(price)
        # The highest tier first.
        return Rate(price.base, tuple((tier.start, tier.price) for tier in reversed(price.tiers)))

    free = Rate(_NOTHING)
    read, written = rate("input", free), rate("output", free)
    cache_write = rate("cache_write_5m", rate("cache_write", read))
    return Tariff(
        input=read,
        output=written,
        cache_read=rate("cache_read", read),
        cache_write=cache_write,
        cache_write_1h=rate("cache_write_1h", cache_write),
        input_audio=rate("input_audio", read),
        output_audio=rate("output_audio", written),
        reasoning=rate("output_reasoning", written),
        # Dollars per thousand requests.
        request=listed.get("requests_kcount", _NOTHING) * 1000,
    )
