"""The LangChain chat model whose calls survive; `chat_models` makes it.

Messages, chunks, tool calls, usage and what callbacks and tracers see are those of the model that answers. What is
added is in the layers of `chain`: the journal, retries, breakers, limits, fallbacks, the cache, metering and caps.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import SkipValidation

from outlast.calls import bridging, protocol_events, restarts
from outlast.calls.bindings import SCHEMA, GivenTools, Schema, told
from outlast.calls.building import Models
from outlast.calls.call import Answer, Listener, ModelCall, Wishes
from outlast.calls.chain import answer
from outlast.calls.deadline import Deadline
from outlast.calls.scope import Scope, current
from outlast.calls.services import local
from outlast.calls.structured import AnswererParser, reading

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001 - a model that wraps models speaks for them where LangChain asks

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool


class OutlastChatModel(BaseChatModel):
    """Several models in the order of preference, as one; made by `chat_model` and `wrap`.

    Works in LangGraph nodes, `create_agent` and deep agents like any chat model, inside of runs and outside. A sync
    call inside of a run belongs into a sync node: on the event loop itself it raises BlockingCall.
    """

    models: SkipValidation[Models]
    #: As `Wishes`; None: as the settings say.
    timeout: float | None = None
    try_timeout: float | None = None
    keep_answers: bool | None = None
    trim: bool | int | None = None
    #: Sent with every call if given, to whichever model is asked; None: as the model was built.
    temperature: float | None = None
    max_tokens: int | None = None

    # Questions about the model are answered by the one that is preferred.

    @property
    def model_name(self) -> str:
        """The preferred model's name, as its provider knows it."""
        return self.models.first.model

    @property
    def model(self) -> str:
        """The preferred model's name; integrations have it under one of both names."""
        return self.models.first.model

    @property
    def _llm_type(self) -> str:
        return self.models.first.chat._llm_type

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {**self.models.first.chat._identifying_params, **self._own_options()}

    @property
    def _serialized(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.models.first.chat._serialized

    def _resolve_model_profile(self) -> ModelProfile | None:
        # LangChain goes without a profile if this raises: a key may be set later than the model is made.
        return self.models.first.chat.profile

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        first = self.models.first
        return first.chat._get_invocation_params(stop=stop, **told(first, self._options(kwargs)))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        first = self.models.first
        return first.chat._get_ls_params(stop=stop, **told(first, self._options(kwargs)))

    def _get_ls_params_with_defaults(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        first = self.models.first
        return first.chat._get_ls_params_with_defaults(stop=stop, **told(first, self._options(kwargs)))

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.models.first.chat._combine_llm_outputs(llm_outputs)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the preferred model's tokens of a text."""
        return self.models.first.chat.get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        """Return how many tokens the preferred model makes of a text."""
        return self.models.first.chat.get_num_tokens(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return how many tokens the preferred model makes of messages."""
        return self.models.first.chat.get_num_tokens_from_messages(messages, tools)

    # What is bound is kept as it is given: each model formats it by itself when it is asked.

    def bind_tools(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, tools: Sequence[Tool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, which each model that is asked gets in its provider's format."""
        return self.bind(**{**kwargs, "tools": GivenTools(tools, kwargs)})

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return answers in the form of a schema, asked for and read as the model that answers does it."""
        given = Schema(schema, kwargs)
        described = {"kwargs": dict(kwargs), "schema": schema}
        bound = self.bind(**{SCHEMA: given, "ls_structured_output_format": described})
        return reading(bound, AnswererParser(self.models, given), include_raw=include_raw)

    # LangChain streams by itself where somebody listens: as it would for the model that is preferred.

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        first = self.models.first
        return not self._streaming_disabled(**kwargs) and first.chat._should_stream(
            async_api=async_api, run_manager=run_manager, **kwargs
        )

    def _should_use_protocol_streaming(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        first = self.models.first
        return not self._streaming_disabled(**kwargs) and first.chat._should_use_protocol_streaming(
            async_api=async_api, run_manager=run_manager, **kwargs
        )

    def _iter_v2_events(
        self,
        messages: list[BaseMessage],
        *,
        run_manager: Any,
        stream: Any,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        for event in protocol_events.events(self._stream(messages, stop, **kwargs), stream):
            stream.dispatch(event)
            run_manager.on_stream_event(event)
            yield event

    async def _aiter_v2_events(
        self,
        messages: list[BaseMessage],
        *,
        run_manager: Any,
        stream: Any,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        async for event in protocol_events.aevents(self._astream(messages, stop, **kwargs), stream):
            stream.dispatch(event)
            await run_manager.on_stream_event(event)
            yield event

    # The four ways in.

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return (await self._answered(messages, stop, kwargs, run_manager=run_manager)).result

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain tells the callbacks
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        async with aclosing(self._chunks(messages, stop, kwargs)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - belongs to this thread, the call does not
        **kwargs: Any,
    ) -> ChatResult:
        scope = current.get()
        loop = bridging.home_of(scope, "a model")
        answered = self._answered(messages, stop, kwargs, threaded=scope is None)
        return bridging.wait_for(answered, loop).result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - as for `_astream`
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        scope = current.get()
        loop = bridging.home_of(scope, "a model")
        yield from bridging.iterate(self._chunks(messages, stop, kwargs, threaded=scope is None), loop)

    def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any], *, threaded: bool = False
    ) -> AsyncGenerator[ChatGenerationChunk]:
        async def ask(listen: Listener) -> None:
            await self._answered(messages, stop, options, listen=listen, threaded=threaded)

        return bridging.paced(ask)

    async def _answered(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        options: dict[str, Any],
        *,
        listen: Listener | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        threaded: bool = False,
    ) -> Answer:
        """Take the question through the chain, on the loop of the run if it is asked in one."""
        scope = current.get()
        home = asyncio.get_running_loop() if scope is None else scope.loop
        told_here = None if listen is None else bridging.heard_here(listen, home)

        async def ask() -> Answer:
            call = self._call(messages, stop, options, scope)
            call.run_manager, call.threaded = run_manager, threaded
            if told_here is not None:
                call.listen = _counting(call, told_here)
            answered = await answer(call)
            if call.listen is not None and not call.streamed:
                # From the journal or the cache, or by a model that does not stream.
                said = answered.result.generations[0]
                await call.listen(restarts.whole(said.message, said.generation_info))
            return answered

        return await bridging.elsewhere(ask, home)

    def _call(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any], scope: Scope | None
    ) -> ModelCall:
        calls = local() if scope is None else scope.calls
        wishes = Wishes(timeout=self.timeout, try_timeout=self.try_timeout, cache=self.keep_answers, trim=self.trim)
        seconds = calls.settings.timeout.total_seconds() if self.timeout is None else self.timeout
        deadline = Deadline.after(seconds)
        return ModelCall(
            messages=messages,
            targets=self.models.all,
            deadline=deadline if scope is None else deadline.earlier(scope.deadline),
            calls=calls,
            stop=stop,
            options=self._options(options),
            scope=scope,
            wishes=wishes,
        )

    def _options(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        own = self._own_options()
        return {**own, **given} if own else given

    def _own_options(self) -> dict[str, Any]:
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in own.items() if value is not None}


def _counting(call: ModelCall, listen: Listener) -> Listener:
    async def hear(chunk: ChatGenerationChunk) -> None:
        call.streamed += 1
        await listen(chunk)

    return hear
