"""A model that says what it used, and its price, for tests of budgets in this process and in others."""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

#: A dollar per million tokens: a micro each.
PRICES = {"test:plain": {"input": 1, "output": 1}, "test:dear": {"input": 10, "output": 10}}


class Model(BaseChatModel):
    """Says what it used: `takes` in and out, or raises; stops at `gate`, if it has one."""

    takes: tuple[int, int] = (5, 7)
    limits: list[int | None] = Field(default_factory=list[int | None])
    raises: list[Exception] = Field(default_factory=list[Exception])
    gate: Any = None
    max_tokens: int | None = None

    @property
    def _llm_type(self) -> str:
        return "test"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.limits.append(kwargs.get("max_tokens"))
        if self.gate is not None:
            await self.gate()
        if self.raises:
            raise self.raises.pop(0)
        read, written = self.takes
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        message = AIMessage("yes", usage_metadata=usage, response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])
