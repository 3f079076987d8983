"""The innermost layer: one try at one target.

A try is bounded by `calls.try_timeout`, in a stream the pause between two chunks is, and all of it by the deadline;
beyond it raises TimeoutError. Everything else that an SDK or an integration raises goes through unchanged: what it
means is for `kinds` to say.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from outlast.calls import restarts
from outlast.calls.bindings import told
from outlast.calls.call import Answer, Listener, ModelCall, Target
from outlast.telemetry import emit

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001 - a model that wraps models calls what LangChain's own entry points call


async def ask_provider(call: ModelCall) -> Answer:
    """Ask the call's target once."""
    target = call.target or call.targets[0]
    call.tries += 1
    run_id = call.scope.run_id if call.scope is not None else None
    emit("call.before_try", model=target.name, attempt=call.tries, run_id=run_id)
    options = told(target, call.options)
    if call.listen is not None and _streams(call, target, options):
        result = await _streamed(call, call.listen, target, options)
    else:
        result = await _in_one_piece(call, target, options)
    if target is not call.targets[0]:
        _mark(result, {"model": target.name})
    emit("call.answered", model=target.name, attempt=call.tries, run_id=run_id)
    return Answer(result=result, model=target.name)


def _streams(call: ModelCall, target: Target, options: Mapping[str, Any]) -> bool:
    wanted: dict[str, Any] = {**options, "stream": True}
    return target.chat._should_stream(async_api=not call.threaded, **wanted)


async def _in_one_piece(call: ModelCall, target: Target, options: Mapping[str, Any]) -> ChatResult:
    chat = target.chat
    async with asyncio.timeout(_patience(call)):
        if call.threaded:
            # LangChain's default, which calls the sync method in a thread.
            result = await BaseChatModel._agenerate(chat, call.messages, call.stop, **options)
        else:
            result = await chat._agenerate(call.messages, stop=call.stop, run_manager=call.run_manager, **options)
    # As LangChain does behind the chain, but what is kept of an answer and what judges it has to see it, too.
    for generation in result.generations:
        message = generation.message
        message.response_metadata = {**(generation.generation_info or {}), **message.response_metadata}
        if result.llm_output is not None and len(result.generations) == 1:
            message.response_metadata = {**result.llm_output, **message.response_metadata}
    return result


async def _streamed(call: ModelCall, listen: Listener, target: Target, options: Mapping[str, Any]) -> ChatResult:
    chunks: list[ChatGenerationChunk] = []
    async with aclosing(_stream_of(call, target, options)) as stream:
        while (chunk := await _next(call, stream)) is not None:
            if chunk.generation_info:
                # As LangChain does for every chunk before it shows it to anyone.
                message = chunk.message
                message.response_metadata = {**chunk.generation_info, **message.response_metadata}
            if chunks:
                heard = chunk
            else:
                heard, call.message_id = restarts.first(chunk, _first_mark(call, target)), None
            await listen(heard)
            call.message_id = call.message_id or heard.message.id
            chunks.append(heard)
    if not chunks:
        msg = "No generation chunks were returned"
        raise ValueError(msg)
    summed = restarts.total(chunks)
    message = message_chunk_to_message(summed.message)
    message.response_metadata.pop(restarts.MARK, None)
    return ChatResult(generations=[ChatGeneration(message=message, generation_info=summed.generation_info)])


async def _next(call: ModelCall, stream: AsyncGenerator[ChatGenerationChunk]) -> ChatGenerationChunk | None:
    """Return what the target says next; time that passes while nobody asks for it does not count."""
    async with asyncio.timeout(_patience(call)):
        return await anext(stream, None)


def _stream_of(call: ModelCall, target: Target, options: Mapping[str, Any]) -> AsyncGenerator[ChatGenerationChunk]:
    if call.threaded:
        stream = BaseChatModel._astream(target.chat, call.messages, call.stop, **options)
    else:
        # Without the run manager, like LangChain's own stream: the listener tells the callbacks.
        stream = target.chat._astream(call.messages, stop=call.stop, **options)
    return cast("AsyncGenerator[ChatGenerationChunk]", stream)


def _patience(call: ModelCall) -> float:
    own = call.wishes.try_timeout
    patience = call.calls.settings.try_timeout.total_seconds() if own is None else own
    return max(0.0, min(patience, call.deadline.left))


def _first_mark(call: ModelCall, target: Target) -> dict[str, Any]:
    """Return what the first chunk says beyond its own: of a restart, if anything of an earlier try was heard."""
    if call.streamed:
        run_id = call.scope.run_id if call.scope is not None else None
        emit("call.restarted", model=target.name, attempt=call.tries, run_id=run_id)
        return {"restart": True, "attempt": call.tries, "model": target.name, "replaces": call.message_id}
    return {"model": target.name} if target is not call.targets[0] else {}


def _mark(result: ChatResult, mark: Mapping[str, Any]) -> None:
    for generation in result.generations:
        metadata = generation.message.response_metadata
        generation.message.response_metadata = {**metadata, restarts.MARK: {**mark}}
