"""What the provider answers: text, tool calls, structured output, and what it says it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

#: Why the model stopped, in neither provider's words; each wire has its own.
Finish: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """What an answer cost. `input_tokens` counts what came from or went into a cache, too."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants called. `arguments` as text goes out as it is, so it need not be JSON."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    #: None: one is made up, different for each call.
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model.

    `structured` is given in the way the request asks for it: as JSON text, or as arguments of the tool that it forces.
    Without `usage` a plausible one is counted from the text. `chunk_characters` is the size of a streamed piece.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    structured: Any = None
    #: Shown before the text where the wire has a place for it.
    thinking: str = ""
    #: Why the model says no (OpenAI's structured output).
    refusal: str = ""
    usage: TokenUsage | None = None
    #: None: `tool_calls` if there are any, else `stop`.
    finish: Finish | None = None
    chunk_characters: int = 8
    #: How long the model thinks before it says anything, and between two streamed pieces.
    delay_seconds: float = 0.0
    chunk_delay_seconds: float = 0.0

    @property
    def finished(self) -> Finish:
        """Why the model stopped."""
        return self.finish or ("tool_calls" if self.tool_calls else "stop")


def pieces(text: str, characters: int) -> list[str]:
    """Cut a text into what is streamed at a time."""
    return [text[start : start + characters] for start in range(0, len(text), max(1, characters))]
