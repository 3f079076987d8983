"""What a try of a model call takes at most: the question, never estimated too low, and the whole answer.

A token is at least one byte of what it stands for, so a question has at most as many tokens as bytes (and what the
provider adds round messages and tools). The answer is bounded by the `max_tokens` of the call, which is set where the
caller did not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from langchain_core.messages import BaseMessage

from outlast.calls.bindings import told
from outlast.calls.call import ModelCall, Target
from outlast.calls.prices import Prices, Tokens
from outlast.domain.budget import Cost, Standing
from outlast.settings_budgets import BudgetSettings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_MAX_TOKENS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
#: Those that integrations have, the usual one first.
_NAMES_OF_LIMITS: Final = ("max_tokens", "max_output_tokens", "max_completion_tokens")
#: What providers put round a message, and before tools, in tokens.
_PER_MESSAGE: Final = 8
_FOR_TOOLS: Final = 800
_MEDIA: Final = frozenset(
    {"image", "image_url", "input_image", "audio", "input_audio", "video", "file", "document", "media"}
)
#: Asks the provider to keep the question, for which some take more.
_CACHED: Final = "cache_control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What the try takes at most."""

    target: Target
    prices: Prices
    input_tokens: int
    output_tokens: int
    #: Answers that were asked for at once.
    answers: int = 1
    #: The call itself set no limit, so a lower one may be sent.
    may_cut: bool = False
    #: `output_tokens` is ours, and is sent under the name that the integration has for it; None: it is the caller's.
    limit_name: str | None = None
    #: The provider may keep the question, which costs more than to read it.
    kept: bool = False

    @property
    def cost(self) -> Cost | None:
        """Return it; None: nobody knows the price."""
        micros = self._micros(self.output_tokens)
        return None if micros is None else Cost(micros, self.tokens)

    @property
    def tokens(self) -> int:
        """Tokens, in and out."""
        return self.input_tokens + self.output_tokens * self.answers

    def within(self, standings: Sequence[Standing], *, least: int, reserved: bool) -> "Bill | None":
        """Return the same with the longest answer that fits into what is left; None: not even the least does.

        `reserved`: into what calls under way leave besides.
        """
        low, high = least, self.output_tokens - 1
        if not self.may_cut or high < low or not self._fits(low, standings, reserved):
            return None
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fits(middle, standings, reserved) else (low, middle - 1)
        return replace(self, output_tokens=low, limit_name=_name_of_limit(self.target.chat))

    def _fits(self, output: int, standings: Sequence[Standing], reserved: bool) -> bool:  # noqa: FBT001 - as `within`
        cost = Cost(self._micros(output) or 0, self.input_tokens + output * self.answers)
        return not any(standing.lacks(cost, reserved=reserved) for standing in standings)

    def _micros(self, output: int) -> int | None:
        read, written = self.input_tokens, output * self.answers
        plain = self.prices.cost_micros(self.target, Tokens(input=read, output=written, reasoning=written))
        if plain is None:
            return None
        ways = [Tokens(input=read, output=written)]
        if self.kept:
            ways += [Tokens(input=read, output=written, cache_write=read, cache_write_1h=hour) for hour in (0, read)]
        return max(plain, *(self.prices.cost_micros(self.target, way) or 0 for way in ways))


def bill_of(call: ModelCall, target: Target, settings: BudgetSettings) -> Bill:
    """Return what the next try of this call takes at most; raises what the integration raises for its tools."""
    options = told(target, call.options)
    weight = _Weight()
    for message in call.messages:
        weight.add_message(message)
    weight.add({name: value for name, value in options.items() if name not in _MAX_TOKENS})
    read = int(weight.bytes / settings.bytes_per_token) + 1 + weight.media * settings.media_tokens
    read += _PER_MESSAGE * (len(call.messages) + 1) + (_FOR_TOOLS if options.get("tools") else 0)
    given = _limit(options)
    built = _limit({name: getattr(target.chat, name, None) for name in _MAX_TOKENS})
    return Bill(
        target=target,
        prices=call.calls.prices,
        input_tokens=read,
        output_tokens=given or built or _own_limit(target.chat, settings),
        answers=_positive(options.get("n")) or _positive(getattr(target.chat, "n", None)) or 1,
        may_cut=given is None,
        limit_name=None if given or built else _name_of_limit(target.chat),
        kept=weight.kept,
    )


def _limit(options: Mapping[str, Any]) -> int | None:
    """Return what bounds the answer already."""
    return next((given for name in _MAX_TOKENS if (given := _positive(options.get(name)))), None)


def _name_of_limit(chat: "BaseChatModel") -> str:
    """Return under which name the integration takes the limit of a call."""
    return next((name for name in _NAMES_OF_LIMITS if name in type(chat).model_fields), _NAMES_OF_LIMITS[0])


def _own_limit(chat: "BaseChatModel", settings: BudgetSettings) -> int:
    # Providers refuse a limit above what the model can say.
    profile = cast("Mapping[str, Any]", getattr(chat, "profile", None) or {})
    most = _positive(profile.get("max_output_tokens"))
    return min(settings.max_output_tokens, most) if most else settings.max_output_tokens


def _positive(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


@dataclass(slots=True)
class _Weight:
    """The size of a question, media apart."""

    bytes: int = 0
    media: int = 0
    kept: bool = False

    def add_message(self, message: BaseMessage) -> None:
        self.add(message.content)
        self.add(getattr(message, "tool_calls", None))
        self.add(message.name)
        self.add(getattr(message, "tool_call_id", None))
        # Where the calls stand once more, in the provider's own words.
        self.add({name: value for name, value in message.additional_kwargs.items() if name != "tool_calls"})

    def add(self, value: object) -> None:
        """Count a value that may hold media at any depth."""
        match value:
            case None:
                pass
            case str():
                self.bytes += len(value.encode("utf-8", "surrogatepass"))
            case list() | tuple():
                for item in cast("Sequence[object]", value):
                    self.add(item)
            case dict():
                self._add_mapping(cast("Mapping[object, object]", value))
            case _:
                self.bytes += len(orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS))

    def _add_mapping(self, value: Mapping[object, object]) -> None:
        self.kept = self.kept or _CACHED in value
        if value.get("type") in _MEDIA:
            self.media += 1
            return
        for name, item in value.items():
            # Quotes, colon and comma.
            self.bytes += len(str(name)) + 4
            self.add(item)
