"""What is left out of a long conversation so that the rest fits the model.

Kept are the system messages at the beginning, the newest messages, and the person's message that the oldest of them
answers to; a call of a tool and its results stay or go together. What is left out is a multiple of a quarter of the
limit, so that the beginning of what the model is shown stays the same over many turns: providers' own caches of prompts
go by that.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar, cast

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from outlast.calls.call import ModelCall

M = TypeVar("M", bound=BaseMessage)
# Of a model's window, since tokens are counted approximately and some providers count the answer in.
_SHARE: Final = 0.9
_STEPS: Final = 4
_LEADING: Final = frozenset({"system", "developer"})
_RESULTS: Final = frozenset({"tool", "ToolMessageChunk"})


def limit_of(call: ModelCall) -> int | None:
    """Return the tokens that the call's messages and tools may have; None: any number.

    The smallest window counts, so that each of the call's models can answer. A model that does not say its window
    (LangChain's `profile`) has none.
    """
    wish = call.wishes.trim if call.wishes.trim is not None else call.calls.settings.trim
    if wish is False:
        return None
    if wish is not True:
        return wish
    windows = [_window(target.chat.profile) for target in call.targets]
    known = [window for window in windows if window is not None]
    return int(min(known) * _SHARE) if known else None


def trimmed(messages: list[M], limit: int, *, tools: Sequence[Any] = ()) -> list[M]:
    """Return the messages without the oldest ones that do not fit; the list itself when all do.

    The messages have to be paired already (`history.mended`). The newest message, with the calls that it belongs to,
    and the question before it stay even when they alone are too long: it is for the provider to say so.
    """
    counted = count_tokens_approximately(messages, tools=_countable(tools), use_usage_metadata_scaling=True)
    if counted <= limit:
        return messages
    head = next((at for at, message in enumerate(messages) if message.type not in _LEADING), len(messages))
    groups = list(_groups(messages[head:]))
    sizes = [count_tokens_approximately(group) for group in groups]
    # Providers' own counts say how far the approximation is off; tools and head are part of what has no group.
    scale = counted / max(1, count_tokens_approximately(messages, tools=_countable(tools)))
    budget = limit / scale - (counted / scale - sum(sizes))
    first = _first_kept(groups, sizes, budget)
    kept = [message for group in groups[first:] for message in group]
    return [*messages[:head], *_question(groups, first), *kept]


def _window(profile: Any) -> int | None:
    return cast("dict[str, Any]", profile or {}).get("max_input_tokens")


def _countable(tools: Sequence[Any]) -> list[BaseTool | dict[str, Any]]:
    return [tool if isinstance(tool, BaseTool | dict) else convert_to_openai_tool(tool) for tool in tools]


def _groups(messages: Sequence[M]) -> Iterable[list[M]]:
    """Yield what stays or goes together: a message and the results behind it."""
    group: list[M] = []
    for message in messages:
        if group and message.type not in _RESULTS:
            yield group
            group = []
        group.append(message)
    if group:
        yield group


def _first_kept(groups: Sequence[Sequence[BaseMessage]], sizes: Sequence[int], budget: float) -> int:
    step = max(1.0, budget / _STEPS)
    excess = math.ceil((sum(sizes) - budget) / step) * step
    first, left_out = 0, 0
    while first < len(groups) - 1 and (left_out < excess or _size_with_question(groups, sizes, first) > budget):
        left_out += sizes[first]
        first += 1
    return first


def _size_with_question(groups: Sequence[Sequence[BaseMessage]], sizes: Sequence[int], first: int) -> int:
    question = _question_at(groups, first)
    return sum(sizes[first:]) + (sizes[question] if question is not None else 0)


def _question(groups: Sequence[list[M]], first: int) -> list[M]:
    at = _question_at(groups, first)
    return groups[at] if at is not None else []


def _question_at(groups: Sequence[Sequence[BaseMessage]], first: int) -> int | None:
    """Return where the person's message is that the first kept group answers to; None when that is the group itself."""
    if groups[first][0].type == "human":
        return None
    return next((at for at in range(first - 1, -1, -1) if groups[at][0].type == "human"), None)
