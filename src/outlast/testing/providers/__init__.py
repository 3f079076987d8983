"""A provider of models for tests: it speaks OpenAI's and Anthropic's wire formats and fails on demand.

    async with ProviderServer() as server:
        server.script(["Hello", Reply(tool_calls=(ToolCall("search", {"query": "x"}),))])
        server.fail(faults.rate_limited(retry_after=2), times=1)
        model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key="test")

Real SDKs talk to it over a real socket, so a reset is a reset. `python -m outlast.testing.providers` is the same as a
process of its own.
"""

from outlast.testing.providers import faults
from outlast.testing.providers.counts import Counts, Window, busiest, counts, repeated, windows
from outlast.testing.providers.faults import Fault, Incident
from outlast.testing.providers.limits import RateLimit
from outlast.testing.providers.process import ProviderProcess
from outlast.testing.providers.replies import Reply, TokenUsage, ToolCall
from outlast.testing.providers.requests import Request
from outlast.testing.providers.scripts import Rule
from outlast.testing.providers.server import ProviderServer

__all__ = [
    "Counts",
    "Fault",
    "Incident",
    "ProviderProcess",
    "ProviderServer",
    "RateLimit",
    "Reply",
    "Request",
    "Rule",
    "TokenUsage",
    "ToolCall",
    "Window",
    "busiest",
    "counts",
    "faults",
    "repeated",
    "windows",
]
