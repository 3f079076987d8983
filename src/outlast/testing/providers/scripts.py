"""Who decides what is answered: a list, rules, a function; without any of them, an echo."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeAlias, TypedDict, cast

from outlast.testing.providers.replies import Reply, TokenUsage, ToolCall
from outlast.testing.providers.requests import Request
from outlast.testing.providers.schemas import example_of
from outlast.testing.providers.wires import Wanted

#: A text is a reply that only says it.
Said: TypeAlias = Reply | str
Decide: TypeAlias = Callable[[Request], Said | None]
TakeBack: TypeAlias = Callable[[], None]


class Conditions(TypedDict, total=False):
    """Which requests a rule is for, and for how many of them; see `Rule`."""

    text: str | None
    tool: str | None
    after_tool: bool | None
    model: str | None
    times: int | None


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """Replies to the requests that match; all conditions have to hold.

    `text` is a regular expression that is searched for in the last message. `tool` has to be among the tools offered.
    `after_tool`: whether the last message is a tool's result.
    """

    reply: Said
    text: str | None = None
    tool: str | None = None
    after_tool: bool | None = None
    model: str | None = None
    #: How many requests it replies to; None: all.
    times: int | None = None
    used: int = 0

    def matches(self, request: Request) -> bool:
        """Tell whether it replies to this request."""
        return (
            (self.times is None or self.used < self.times)
            and (self.text is None or re.search(self.text, request.text) is not None)
            and (self.tool is None or self.tool in request.tools)
            and (self.after_tool is None or self.after_tool == request.after_tool)
            and self.model in {None, request.model}
        )

    def take_back(self) -> None:
        """Undo one use."""
        self.used -= 1


class Script:
    """Asked in this order: the list, the rules as they were made, the function, the echo."""

    def __init__(self) -> None:
        #: A heap of places and replies: what is taken back goes where it came from, in whatever order that happens.
        self.queue: list[tuple[int, Said]] = []
        self._places = count()
        self.rules: list[Rule] = []
        self.decide: Decide | None = None

    def add(self, replies: Iterable[Said]) -> None:
        """Append to the list; each is for one request."""
        for reply in replies:
            heappush(self.queue, (next(self._places), reply))

    def take(self, request: Request, wanted: list[Wanted]) -> tuple[Reply, TakeBack]:
        """Return the reply, and what takes it back if the request does not get all of it.

        So the n-th entry of the list is the n-th complete answer, whatever fails in between.
        """
        said, take_back = self._said(request)
        reply = Reply(said) if isinstance(said, str) else said
        return fitted(reply or echo(request, wanted), wanted), take_back

    def _said(self, request: Request) -> tuple[Said | None, TakeBack]:
        if self.queue:
            taken = heappop(self.queue)
            return taken[1], lambda: heappush(self.queue, taken)
        if rule := next((rule for rule in self.rules if rule.matches(request)), None):
            rule.used += 1
            return rule.reply, rule.take_back
        return (self.decide(request) if self.decide else None), lambda: None


def echo(request: Request, wanted: list[Wanted]) -> Reply:
    """Say what the last message said, or give an example of the schema that the answer has to fit."""
    if wanted:
        # An agent puts the tool of its final answer last; calling another one for ever would never end.
        return fitted(Reply(structured=example_of(wanted[-1].schema)), wanted[-1:])
    return Reply(f"You said: {request.text}")


def fitted(reply: Reply, wanted: list[Wanted]) -> Reply:
    """Give structured output the form that the request asks for: arguments of a tool, or text."""
    if reply.structured is None:
        return reply
    tool = next((each.tool for each in wanted if each.tool is not None and _fits(reply.structured, each.schema)), None)
    if tool is None:
        return replace(reply, text=json.dumps(reply.structured), structured=None)
    return replace(reply, structured=None, tool_calls=(*reply.tool_calls, ToolCall(tool, reply.structured)))


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    if not isinstance(value, Mapping):
        return False
    given = set(cast("Mapping[str, Any]", value))
    return set(schema.get("required", ())) <= given <= set(schema.get("properties", given))


def reserved_tokens(request: Request) -> int:
    """Return how many tokens a provider sets aside for a request before it answers."""
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    return counted(request, Reply()).input_tokens + max(int(request.body.get(name) or 0) for name in names)


def counted(request: Request, reply: Reply) -> TokenUsage:
    """Count what a reply would cost, at four characters a token as English has it."""
    asked: Any = [request.messages, request.body.get("system"), request.body.get("tools")]
    said = reply.text + reply.refusal + reply.thinking + "".join(str(call) for call in reply.tool_calls)
    return TokenUsage(
        input_tokens=max(1, len(json.dumps(asked)) // 4),
        output_tokens=max(1, len(said) // 4),
        reasoning_tokens=len(reply.thinking) // 4,
    )
