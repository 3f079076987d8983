"""What every wire format can do: read the way to it, answer in one piece or in many, and say no."""

import json
from dataclasses import dataclass
from typing import Any, Protocol

from outlast.testing.providers.replies import Reply, TokenUsage
from outlast.testing.providers.requests import Request, WireName


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event; `content` if it carries a piece of what the model says."""

    data: bytes
    content: bool = False


class Wire(Protocol):
    """A provider's format. `usage` is what the answer says it cost; None: it does not say."""

    name: WireName
    path: str

    def whole(self, request: Request, reply: Reply, usage: TokenUsage | None) -> dict[str, Any]:
        """Return the body of an answer in one piece."""
        ...

    def frames(self, request: Request, reply: Reply, usage: TokenUsage | None) -> list[Frame]:
        """Return the events of a streamed answer, whatever ends the stream included."""
        ...

    def error(self, status: int, code: str, message: str) -> dict[str, Any]:
        """Return the body of a refusal."""
        ...

    def error_frame(self, status: int, code: str, message: str) -> Frame:
        """Return the event that says in mid-stream that something went wrong."""
        ...

    def rate_headers(self, limit: int, remaining: int, reset_seconds: float) -> dict[str, str]:
        """Return the headers that tell of the rate limit."""
        ...

    def problem(self, request: Request) -> str | None:
        """Return what is wrong with a request, as this provider would say it; None: nothing."""
        ...

    def wanted(self, request: Request) -> "list[Wanted]":
        """Return what the answer has to be one of; empty if it is free."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A schema that the answer has to fit: as the arguments of a forced tool, or as its text if there is no tool."""

    schema: dict[str, Any]
    tool: str | None = None


def event(data: dict[str, Any] | str, *, name: str | None = None, content: bool = False) -> Frame:
    """Return a server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    head = f"event: {name}\n" if name else ""
    return Frame(f"{head}data: {text}\n\n".encode(), content)
