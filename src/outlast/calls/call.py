"""A model call on its way through the chain, and what comes back.

Handler = (ModelCall) -> Answer
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from outlast.calls.deadline import Deadline
from outlast.calls.scope import Place, Scope

if TYPE_CHECKING:
    from outlast.calls.services import Calls

Source: TypeAlias = Literal["provider", "cache", "journal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One model that can answer: which provider, which model, with which key."""

    provider: str
    model: str
    #: A fingerprint of API key and address, never the key itself: one tenant's bad key is not another's.
    key: str
    #: The provider's own chat model, its retries switched off.
    chat: BaseChatModel

    @property
    def name(self) -> str:
        """As people write it: `openai:gpt-4o`."""
        return f"{self.provider}:{self.model}"

    @property
    def circuit(self) -> str:
        """What fails together: provider, model and key."""
        return f"{self.provider}:{self.model}:{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one try cost, by the provider's own count."""

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    #: Parts of the input that a provider's cache served or took in.
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    #: US dollars x 1,000,000; None: nobody knows the price (`unpriced`), which is not the same as free.
    cost_micros: int | None
    #: `cache`: an earlier call paid for it; `failed`: the try ended in an error.
    outcome: Literal["answered", "cache", "failed"] = "answered"
    #: What the call would have cost that the cache answered; None: nobody knows, or it was not the cache.
    saved_micros: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said, and who that was."""

    result: ChatResult
    #: `Target.name` of the model that was really used.
    model: str
    source: Source = "provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What `chat_model(...)` was told for its calls; None: as the settings say."""

    #: Seconds for the call with all its tries, waits and fallbacks; already part of `ModelCall.deadline`.
    timeout: float | None = None
    #: Seconds for one try, or for the pause between two chunks of a stream.
    try_timeout: float | None = None
    cache: bool | None = None
    #: Whether messages are left out so that the rest fits the models' window; a number: so many tokens.
    trim: bool | int | None = None


NO_WISHES: Final = Wishes()

#: Hears the chunks of a streamed answer. The first chunk of another try says so (see `restarts.RestartChunk`).
Listener: TypeAlias = Callable[[ChatGenerationChunk], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class ModelCall:
    """One question to a model; made once per call of the user and passed through all layers.

    `target` and `tries` are written on the way: the fallback says which model is asked, the provider layer counts.
    """

    messages: list[BaseMessage]
    targets: tuple[Target, ...]
    deadline: Deadline
    #: What the process shares: of the run's runtime, or of this event loop (`services.local`).
    calls: "Calls"
    stop: list[str] | None = None
    #: What the caller bound or passed: tools, tool_choice, response_format, temperature...
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: None: nobody listens, the answer comes in one piece.
    listen: Listener | None = None
    run_manager: AsyncCallbackManagerForLLMRun | None = None
    #: The attempt that asks; None outside of a run.
    scope: Scope | None = None
    #: Where in the run it is asked; set by the journal.
    place: Place | None = None
    ordinal: int | None = None
    #: Whom the fallback asks at the moment.
    target: Target | None = None
    #: The longest wait, in seconds, for a rate limit at the present target; None: as the settings say.
    patience: float | None = None
    #: How many times a provider was asked for this call, over all targets.
    tries: int = 0
    #: Circuits that were asked already, and since when they were closed: to ask one of them again is a retry, and
    #: counts as one, unless it was open in between.
    asked: frozenset[tuple[str, float]] = frozenset()
    #: What these tries cost; stored together with the answer.
    spent: list[Usage] = field(default_factory=list[Usage])
    #: Chunks that went to `listen`, over all tries, counted by it; what comes behind them in another try restarts.
    streamed: int = 0
    #: The id that the message had in these chunks.
    message_id: str | None = None
    #: Asked by a sync caller outside of a run: the target's sync methods are called, in threads, as the caller would
    #: have called them. Clients of the async ones belong to the event loop that used them first.
    threaded: bool = False
    #: The call's own wishes, where they differ from the settings; see `Wishes`.
    wishes: Wishes = field(default_factory=lambda: NO_WISHES)


Handler: TypeAlias = Callable[[ModelCall], Awaitable[Answer]]
Layer: TypeAlias = Callable[[Handler], Handler]
