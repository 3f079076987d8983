"""Answers that were given before, to the same question of the same tenant.

For calls whose temperature is 0, or whose model was made with `cache=True`. A cache that is down is a miss. What
another model answered in the place of the preferred one is not kept.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage

from outlast.calls import answers
from outlast.calls.cache_keys import CacheKeys, renamed
from outlast.calls.call import Answer, Handler, Layer, ModelCall, Usage
from outlast.calls.encoding import ValueCodec
from outlast.calls.restarts import MARK
from outlast.errors import StateError
from outlast.settings import CacheSettings
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.calls.services import Calls

T = TypeVar("T")

#: After an error the cache is left alone for so long, in seconds: waiting for it would cost each call its timeout.
_REST: Final = 5.0
_PATH: Final = "cached answer"


class CacheBackend(Protocol):
    """Where answers are kept: `CallCacheStore` or `RedisCache`."""

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept, None if nothing is or it has expired."""
        ...

    async def put(self, key: bytes, body: bytes, *, ttl: timedelta, fence: Fence | None = None) -> None:
        """Keep it for so long, in the place of what was kept under the key; nothing if its run is known to be gone."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class AnswerCache:
    """The cache of a process; never raises for the backend's sake."""

    backend: CacheBackend
    codec: ValueCodec
    settings: CacheSettings
    keys: CacheKeys = field(default_factory=CacheKeys)
    #: Questions of this process that are being asked, with the stored form of the answer; None: there is none.
    asking: "dict[bytes, asyncio.Future[bytes | None]]" = field(
        default_factory=dict[bytes, "asyncio.Future[bytes | None]"]
    )
    _rests_until: float = 0.0

    async def get(self, key: bytes) -> bytes | None:
        """Return an answer's stored form."""
        return await self._tried(lambda: self.backend.get(key))

    async def put(self, key: bytes, body: bytes, *, fence: Fence | None = None) -> None:
        """Keep an answer's stored form, unless it is of a run that is gone."""
        await self._tried(lambda: self.backend.put(key, body, ttl=self.settings.ttl, fence=fence))

    def encoded(self, answer: Answer, usage: Usage | None) -> bytes | None:
        """Return the stored form; None: it has none, or is too large."""
        try:
            kept = (answers.encoded(self.codec, answer), asdict(usage) if usage is not None else None)
            body = self.codec.encode(kept, path=_PATH)
        except StateError:
            return None
        return body if len(body) <= self.settings.max_bytes else None

    def decoded(self, body: bytes) -> "Kept | None":
        """Return what was stored, with ids of its own; None: this version cannot read it."""
        try:
            stored, used = self.codec.decode(body, path=_PATH)
            answer = answers.decoded(self.codec, stored, "cache")
            usage = Usage(**used) if used is not None else None
        except (StateError, TypeError, ValueError):
            return None
        for generation in answer.result.generations:
            generation.message = _renewed(generation.message)
        return Kept(answer, usage)

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        now = asyncio.get_running_loop().time()
        if now < self._rests_until:
            return None
        try:
            return await ask()
        # Whatever it is, the model can still be asked.
        except Exception as error:  # noqa: BLE001
            self._rests_until = now + _REST
            emit("call.cache_down", error=type(error).__name__)
            return None


class Kept(NamedTuple):
    """An answer from the cache, and what it cost when it was given."""

    answer: Answer
    usage: Usage | None


def cached(calls: "Calls") -> Layer:
    """Return the layer."""
    cache = calls.cache
    if cache is None:
        return lambda following: following

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            key = cache.keys.key_of(call) if _wanted(call, cache.settings) else None
            if key is None:
                return await following(call)
            while (asking := cache.asking.get(key)) is not None:
                # Somebody here asks the same at this moment; if that fails, the next one asks.
                body = await _awaited(asking, call)
                if body is not None and (kept := cache.decoded(body)) is not None:
                    return _hit(call, kept)
                if not asking.done():
                    return await following(call)
            return await _ask(cache, key, call, following)

        return handle

    return layer


async def _ask(cache: AnswerCache, key: bytes, call: ModelCall, following: Handler) -> Answer:
    asking = cache.asking[key] = asyncio.get_running_loop().create_future()
    body: bytes | None = None
    try:
        found = await cache.get(key)
        kept = cache.decoded(found) if found is not None else None
        if kept is not None:
            body = found
            return _hit(call, kept)
        answer = await following(call)
        # Another model's answer is not the one to this question.
        if answer.model == call.targets[0].name:
            body = cache.encoded(answer, call.spent[-1] if call.spent else None)
    finally:
        del cache.asking[key]
        asking.set_result(body)
    if body is not None:
        run = call.scope
        await cache.put(key, body, fence=None if run is None else Fence(run_id=run.run_id, epoch=run.epoch))
    return answer


async def _awaited(asking: "asyncio.Future[bytes | None]", call: ModelCall) -> bytes | None:
    # Not the future itself: whoever stops waiting must not cancel it for the others.
    await asyncio.wait([asking], timeout=max(0.0, call.deadline.left))
    return asking.result() if asking.done() else None


def _hit(call: ModelCall, kept: Kept) -> Answer:
    target, (answer, usage) = call.targets[0], kept
    saved = usage.cost_micros if usage is not None else None
    metered = usage or Usage(
        provider=target.provider, model=target.model, input_tokens=0, output_tokens=0, cost_micros=0
    )
    call.spent.append(replace(metered, cost_micros=0, outcome="cache", saved_micros=saved, seconds=0.0))
    run_id = call.scope.run_id if call.scope is not None else None
    emit("call.cached", model=answer.model, saved_micros=saved, run_id=run_id)
    return answer


def _wanted(call: ModelCall, settings: CacheSettings) -> bool:
    if call.wishes.cache is not None:
        return call.wishes.cache
    if not settings.enabled:
        return False
    temperature = call.options.get("temperature", getattr(call.targets[0].chat, "temperature", None))
    return temperature == 0


def _renewed(message: BaseMessage) -> BaseMessage:
    """Return the message with other ids: in one thread no two messages or tool calls may have the same."""
    mark = {"source": "cache"}
    # LangChain gives it an id.
    update: dict[str, Any] = {"id": None, "response_metadata": {**message.response_metadata, MARK: mark}}
    tool_calls = message.tool_calls if isinstance(message, AIMessage) else []
    names = {each["id"]: f"call_{uuid4().hex[:24]}" for each in tool_calls if each["id"]}
    if names:
        for name in ("tool_calls", "content", "additional_kwargs"):
            update[name] = renamed(getattr(message, name), names)
    return message.model_copy(update=update)
