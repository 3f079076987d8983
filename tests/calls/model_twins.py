"""A bare model of an integration and ours for the same provider, and what is the same about what they say."""

import re
from typing import Any
from uuid import UUID, uuid4

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

import outlast
from outlast.calls.model import OutlastChatModel
from outlast.testing.providers import ProviderServer

_TIMES = {"created_at", "completed_at", "created"}
WIRES = ["openai", "openai-responses", "anthropic"]
# What differs between any two calls of one model.
_PASSING = re.compile(r"(chatcmpl|msg|req|resp|rs|fc|toolu|call)[-_][\w-]+|[0-9a-f]{8}-[0-9a-f-]{27}")


class City(BaseModel):
    """Where something is."""

    name: str = Field(description="the city's name")
    people: int


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


def bare(provider: ProviderServer, wire: str, **options: Any) -> BaseChatModel:
    if wire != "anthropic":
        return ChatOpenAI(
            model="gpt-4o", base_url=provider.openai_url, api_key="k", max_retries=0, stream_usage=True,
            use_responses_api=wire == "openai-responses", **options,
        )  # fmt: skip
    return ChatAnthropic(
        model="claude-sonnet-4-6", base_url=provider.anthropic_url, api_key="k", max_retries=0, **options
    )


def ours(provider: ProviderServer, wire: str, **options: Any) -> OutlastChatModel:
    if wire != "anthropic":
        return outlast.chat_model(
            "openai:gpt-4o", base_url=provider.openai_url, api_key="k", use_responses_api=wire == "openai-responses",
            **options,
        )  # fmt: skip
    return outlast.chat_model("anthropic:claude-sonnet-4-6", base_url=provider.anthropic_url, api_key="k", **options)


def plain(value: Any) -> Any:
    """Return what was said as data that can be compared: without ids that are new each time, with the types' names."""
    if isinstance(value, BaseModel):
        return {"type": type(value).__name__, **{name: plain(field) for name, field in vars(value).items()}}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in _TIMES}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, UUID):
        return "uuid"
    return _PASSING.sub("ID", value) if isinstance(value, str) else value


def as_run(run_id: UUID | None = None, **more: Any) -> Any:
    return {"run_id": run_id or uuid4(), **more}
