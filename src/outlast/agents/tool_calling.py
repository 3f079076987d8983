"""One call of a tool: in its time, again if it only reads and failed, its result cut to size.

Each in two forms, since LangGraph calls tools on the event loop or in a thread, depending on how the graph was called.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, Final, TypeAlias, TypeVar, cast

from langchain_core.messages import ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from outlast.agents.tool_failures import ToolTimeout, is_worth_repeating
from outlast.calls import scope
from outlast.calls.tool_results import cut, size_of
from outlast.domain.backoff import full_jitter
from outlast.settings import CallSettings
from outlast.telemetry import emit

T = TypeVar("T")
Result: TypeAlias = Any
Handler: TypeAlias = Callable[[ToolCallRequest], Result]
AsyncHandler: TypeAlias = Callable[[ToolCallRequest], Awaitable[Result]]
# Spreads tries; nothing depends on it.
_RNG: Final = Random()  # noqa: S311 - as above


async def within(name: str, seconds: float | None, call: Callable[[], Awaitable[T]]) -> T:
    """Call it; raises ToolTimeout when it takes longer. What it runs in a thread goes on there, unheard."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call()
    except TimeoutError:
        if limit.expired() and seconds is not None:
            raise ToolTimeout(name, seconds) from None
        raise


def within_sync(name: str, seconds: float | None, call: Callable[[], T]) -> T:
    """Do the same in a thread, which nothing can stop: when the time is over it goes on, unheard."""
    if seconds is None:
        return call()
    context, done = copy_context(), list[tuple[bool, Any]]()

    def run() -> None:
        try:
            done.append((True, context.run(call)))
        # Raised again where somebody waits for it.
        except BaseException as error:  # noqa: BLE001
            done.append((False, error))

    thread = threading.Thread(target=run, name=f"outlast-tool-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise ToolTimeout(name, seconds)
    returned, value = done[0]
    if not returned:
        raise value
    return value


async def repeated(tries: int, settings: CallSettings, call: Callable[[], Awaitable[T]]) -> T:
    """Call it until it returns, `tries` times at most; raises the last error, or one that no try would change."""
    for attempt in range(1, tries):
        try:
            return await call()
        # A tool raises what it likes; what no further try would change is raised again.
        except Exception as error:
            delay = _delay(attempt, settings)
            if not is_worth_repeating(error) or not _has_time(delay):
                raise
            await asyncio.sleep(delay)
    return await call()


def repeated_sync(tries: int, settings: CallSettings, call: Callable[[], T]) -> T:
    """Do the same in a thread."""
    for attempt in range(1, tries):
        try:
            return call()
        # See `repeated`.
        except Exception as error:
            if not is_worth_repeating(error):
                raise
            time.sleep(_delay(attempt, settings))
    return call()


def fitting(result: Result, limit_bytes: int, name: str) -> Result:
    """Return the result with what is too long for the model cut, also within a Command; artifacts stay whole."""
    if isinstance(result, list):
        return [fitting(item, limit_bytes, name) for item in cast("list[Any]", result)]
    if isinstance(result, ToolMessage):
        return _cut(result, limit_bytes, name)
    update: Any = cast("Command[Any]", result).update if isinstance(result, Command) else None
    if not isinstance(update, dict):
        return cast("Any", result)
    fitted = {key: _fitted(value, limit_bytes, name) for key, value in cast("dict[str, Any]", update).items()}
    return replace(cast("Command[Any]", result), update=fitted)


def _fitted(value: Any, limit_bytes: int, name: str) -> Any:
    if not isinstance(value, list):
        return value
    items = cast("list[Any]", value)
    return [_cut(item, limit_bytes, name) if isinstance(item, ToolMessage) else item for item in items]


def _cut(message: ToolMessage, limit_bytes: int, name: str) -> ToolMessage:
    content: Any = cast("Any", message).content
    short = cut(content, limit_bytes)
    if short is content:
        return message
    running = scope.current.get()
    emit(
        "tool.cut", run_id=running.run_id if running is not None else None, tool=name, bytes=size_of(content),
        limit_bytes=limit_bytes,
    )  # fmt: skip
    return message.model_copy(update={"content": short})


def _delay(attempt: int, settings: CallSettings) -> float:
    cap: timedelta = settings.retry.cap
    return full_jitter(attempt, base=settings.retry.base, cap=cap, rng=_RNG).total_seconds()


def _has_time(delay: float) -> bool:
    running = scope.current.get()
    return running is None or running.deadline is None or running.deadline.left > delay
