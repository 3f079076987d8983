"""Structured output that is read by the parser of the model that answered."""

from collections.abc import AsyncIterator, Iterator
from operator import itemgetter
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableMap, RunnablePassthrough

from outlast.calls.bindings import Schema, structure
from outlast.calls.building import Models
from outlast.calls.restarts import MARK
from outlast.calls.tries import AsyncTries, Tries

Parser = Runnable[Any, Any]


class AnswererParser(Runnable[Any, Any]):
    """Reads an answer as its own model's integration would: by the mark of a fallback, else by the first model's."""

    def __init__(self, models: Models, schema: Schema) -> None:
        self._models = models
        self._schema = schema

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002 - LangChain's name
        """Parse a whole answer."""
        return self._of(input).invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002 - as above
        """Parse a whole answer."""
        return await self._of(input).ainvoke(input, config, **kwargs)

    def transform(self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002 - as above
        """Parse an answer as it grows, and anew where it begins anew."""
        tries = Tries(input)
        while tries.ahead is not None:
            parser = self._of(tries.ahead)
            try:
                yield from parser.transform(tries.each(), config, **kwargs)
            # Half an answer is not what a parser expects; the try does not count, nor what is said of it.
            except Exception:
                if not tries.cut:
                    raise

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002 - as above
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Parse an answer as it grows, and anew where it begins anew."""
        tries = AsyncTries(input)
        await tries.begin()
        while tries.ahead is not None:
            parser = self._of(tries.ahead)
            try:
                async for parsed in parser.atransform(tries.each(), config, **kwargs):
                    yield parsed
            # As above.
            except Exception:
                if not tries.cut:
                    raise

    def _of(self, message: Any) -> Parser:
        mark = message.response_metadata.get(MARK) if isinstance(message, BaseMessage) else None
        name = cast("dict[str, Any]", mark).get("model") if isinstance(mark, dict) else None
        target = self._models.first
        if name is not None:
            target = next((target for target in self._models.all if target.name == name), target)
        return structure(target, self._schema).parser


def reading(model: Runnable[Any, Any], parser: Parser, *, include_raw: bool) -> Runnable[Any, Any]:
    """Return the model with its parser behind it, and the raw answer beside the parsed one if that is wanted."""
    if not include_raw:
        return model | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=RunnableLambda(_nothing))
    failed = RunnablePassthrough.assign(parsed=RunnableLambda(_nothing))
    return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _nothing(_: Any) -> None:
    return None
