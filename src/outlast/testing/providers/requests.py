"""What came in, in one form for all wires."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

WireName: TypeAlias = Literal["openai", "openai-responses", "anthropic"]

#: answered: the whole answer left for the client. failed: a fault struck. limited: the rate limit refused it.
#: lost: the client went away before. bad: it was no valid request.
Outcome: TypeAlias = Literal["answered", "failed", "limited", "lost", "bad"]


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One request of a client, and what became of it.

    A request that is refused, reset or timed out is listed like any other: this is what the provider saw.
    """

    #: 1 for the first one since the server started or was reset.
    number: int
    wire: WireName
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    #: Seconds since 1970.
    at: float = field(default_factory=time.time)
    #: None while it is being answered.
    outcome: Outcome | None = None
    #: The kind of fault that struck.
    fault: str | None = None
    ended_at: float | None = None
    #: It stands at a `hold`.
    held: bool = False

    @property
    def model(self) -> str:
        """The model that is asked."""
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        """Whether the answer is wanted in pieces."""
        return bool(self.body.get("stream"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation as the wire has it; the system prompt is in it only where the wire puts it there."""
        if self.wire != "openai-responses":
            return items(self.body, "messages")
        found = self.body.get("input")
        return [{"role": "user", "content": found}] if isinstance(found, str) else items(self.body, "input")

    @property
    def text(self) -> str:
        """The text of the last message, a tool's result included."""
        return text_of(self.messages[-1]) if self.messages else ""

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that the model may call."""
        return tuple(_name_of(tool) for tool in self.tool_schemas)

    @property
    def tool_schemas(self) -> list[dict[str, Any]]:
        """The tools as the wire describes them."""
        return items(self.body, "tools")

    @property
    def after_tool(self) -> bool:
        """Whether the last message is the result of a tool."""
        last = self.messages[-1] if self.messages else {}
        results = any(block.get("type") == "tool_result" for block in blocks_of(last))
        return last.get("role") == "tool" or last.get("type") == "function_call_output" or results

    @property
    def key(self) -> str:
        """The API key that the client sent."""
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def fingerprint(self) -> str:
        """The same for requests that ask the same, whoever sends them."""
        asked = json.dumps([self.wire, self.body], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()

    def part(self, name: str) -> dict[str, Any]:
        """Return a section of the body, empty if it is not there or not a section."""
        return section(self.body, name)

    def end(self, outcome: Outcome) -> None:
        """Note what became of it; the first word counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.ended_at = time.time()
            self.held = False


def section(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object inside of an object, empty if it is not there or no object."""
    found: Any = of.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def items(of: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a list inside of an object, empty if it is not there or no list."""
    found: Any = of.get(name)
    each = cast("list[Any]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", item) for item in each if isinstance(item, dict)]


def blocks_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the content of a message as blocks; plain text has none."""
    return items(message, "content")


def text_of(part: Any) -> str:
    """Return all text in a message, in order."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "".join(text_of(each) for each in cast("list[Any]", part))
    if isinstance(part, dict):
        found = cast("dict[str, Any]", part)
        return text_of(found.get("text") or found.get("content") or found.get("output"))
    return ""


def _name_of(tool: dict[str, Any]) -> str:
    # Chat completions wrap the function; a tool of the provider's own has a type instead of a name.
    described = tool.get("function", tool)
    return str(described.get("name") or tool.get("type", ""))
