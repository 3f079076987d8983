"""`outlast.journal`: what a step reads is the same when the step is executed again.

    rate = await outlast.journal("rate", fetch_rate, "EUR")     # async node; fetch_rate may be async or sync
    rate = outlast.journal("rate", fetch_rate, "EUR")           # the same in a sync node

    @outlast.journal
    async def fetch_rate(currency: str) -> float: ...

    started = await outlast.journal.now()                       # and .uuid(), .random()

A value is durable before the step gets it, so it is durable before anything that depends on it leaves the process.
Outside of a run, and between the tasks of one, the function is simply called.
"""

import asyncio
import inspect
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast, overload

from outlast.calls import memory
from outlast.calls.bridging import running_loop, wait_for
from outlast.calls.encoding import ValueCodec
from outlast.calls.fingerprints import hashed
from outlast.calls.memory import Asked, Memory
from outlast.calls.scope import Scope, current
from outlast.errors import BlockingCall, InvalidInput, StateError, StateUnreadable
from outlast.telemetry import emit

P = ParamSpec("P")
T = TypeVar("T")
_LONGEST_NAME: Final = 200
# What needs no thread of its own on the event loop.
_QUICK: Final = (uuid.uuid4, random.random, datetime.now)


class Journal:
    """`outlast.journal`; see the module."""

    @overload
    def __call__(self, name: Callable[P, T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, name: str, /) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
    @overload
    def __call__(self, name: str, read: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any: ...

    def __call__(self, name: Any, read: Callable[..., Any] | None = None, /, *args: Any, **kwargs: Any) -> Any:
        """Return what `read(*args, **kwargs)` returned when this step was executed first.

        With a name and a function: await the result in an async node, take it in a sync one. With a function alone, or
        a name alone, it is a decorator; without a name it is the function's own. A read is known by its name, its
        arguments and its place in the order of reads of that name in the task.

        The value is stored before it is returned; what raises is not stored, and the read is made again. The last thing
        that a task has read or asked is read anew after an error of the run, since the error may have come from it.

        Raises StateNotSerializable or StateTooLarge when the value cannot be stored, InvalidInput for a name that is
        empty or too long, BlockingCall when a decorated sync function is called on the event loop.
        """
        if read is None:
            return _decorated(name) if not isinstance(name, str) else partial(_decorated, name=_checked(name))
        return _value(f"value:{_checked(name)}", read, args, kwargs)

    def now(self) -> Any:
        """Return the time (UTC) at which this step came here first; await it in an async node."""
        return _value("clock", partial(datetime.now, UTC), (), {})

    def uuid(self) -> Any:
        """Return a random UUID, the same one for each execution of this step; await it in an async node."""
        return _value("uuid", uuid.uuid4, (), {})

    def random(self) -> Any:
        """Return a random number in [0, 1), the same one for each execution of this step; await it in an async node."""
        return _value("random", random.random, (), {})


class _Promised(Generic[T]):
    """What an async node gets: to be awaited, and nothing else."""

    def __init__(self, what: str, value: Coroutine[Any, Any, T]) -> None:
        self._what = what
        self._coroutine = value

    def __await__(self) -> Generator[Any, None, T]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        self._coroutine.close()
        raise BlockingCall(self._what)

    def __str__(self) -> str:
        return self.__getattr__("__str__")


def _value(series: str, read: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the value in a thread of its own, what is to be awaited on an event loop."""
    if running_loop() is None:
        return _in_thread(series, read, args, kwargs)
    scope = current.get()
    known, asked = _begun(scope, series, args, kwargs)
    return _Promised(f"outlast.journal ({series})", _on_loop(scope, known, asked, partial(read, *args, **kwargs)))


def _begun(
    scope: Scope | None, series: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Memory | None, Asked | None]:
    known = memory.of(scope)
    return known, None if known is None else known.begin(series, _fingerprint(known.codec, args, kwargs))


async def _on_loop(scope: Scope | None, known: Memory | None, asked: Asked | None, read: Callable[[], Any]) -> Any:
    if scope is None or known is None or asked is None:
        return await _called(read)
    found = await _at_home(scope, _found(known, asked))
    if found is not None:
        return found[0]
    value = await _called(read)
    body = _encoded(known.codec, asked, value)
    await _at_home(scope, known.keep(asked, body))
    return value


def _in_thread(series: str, read: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    scope = current.get()
    known, asked = _begun(scope, series, args, kwargs)
    if scope is None or known is None or asked is None:
        value = read(*args, **kwargs)
        return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value
    found = wait_for(_found(known, asked), scope.loop)
    if found is not None:
        return found[0]
    # In the node's own thread: the pool of threads may be full of nodes that wait like this one.
    value = read(*args, **kwargs)
    if inspect.isawaitable(value):
        value = wait_for(_awaited(value), scope.loop)
    wait_for(known.keep(asked, _encoded(known.codec, asked, value)), scope.loop)
    return value


async def _found(known: Memory, asked: Asked) -> tuple[Any] | None:
    body = await known.find(asked)
    if body is None:
        return None
    try:
        return (known.codec.decode(body, path=f"journaled {asked.series}"),)
    except StateUnreadable as error:
        emit("call.not_kept", series=asked.series, error=str(error))
        return None


async def _called(read: Callable[[], Any]) -> Any:
    if _is_quick(read):
        return read()
    value = read() if _is_async(read) else await asyncio.to_thread(read)
    return await value if inspect.isawaitable(value) else value


def _is_async(read: Callable[[], Any]) -> bool:
    target = cast("partial[Any]", read).func
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None))  # noqa: B004 - whether it is async, not whether it can be called


def _is_quick(read: Callable[[], Any]) -> bool:
    target = cast("partial[Any]", read).func
    return target in _QUICK


async def _at_home(scope: Scope, work: Coroutine[Any, Any, T]) -> T:
    """Do it on the run's loop, which may not be the one that a sync node has started for itself."""
    if asyncio.get_running_loop() is scope.loop:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, scope.loop))


async def _awaited(value: Awaitable[T]) -> T:
    return await value


def _encoded(codec: ValueCodec, asked: Asked, value: object) -> bytes:
    return codec.encode(value, path=f"journaled {asked.series.removeprefix('value:')!r}")


def _fingerprint(codec: ValueCodec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    if not args and not kwargs:
        return hashed(None)
    try:
        return codec.fingerprint([*args, *sorted(kwargs.items())])
    except StateError:
        # A client, an open file: of those only the type can be told from another.
        return hashed([*map(_told, args), *((name, _told(value)) for name, value in sorted(kwargs.items()))])


def _told(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else type(value).__qualname__


def _checked(name: str) -> str:
    if not name or len(name) > _LONGEST_NAME or "\x00" in name:
        msg = f"journal({name[:40]!r}...): a name has 1 to {_LONGEST_NAME} characters, none of them NUL"
        raise InvalidInput(msg, field="name")
    return name


def _decorated(read: Callable[P, T], *, name: str | None = None) -> Callable[P, T]:
    series = f"value:{name or _checked(read.__qualname__)}"
    if inspect.iscoroutinefunction(read):

        @wraps(read)
        async def reading(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await _value(series, read, args, kwargs)

        return cast("Callable[P, T]", reading)

    @wraps(read)
    def read_in_thread(*args: P.args, **kwargs: P.kwargs) -> T:
        scope = current.get()
        if scope is not None and running_loop() is scope.loop:
            raise BlockingCall(f"{read.__qualname__} (a sync function with @outlast.journal)")
        return _in_thread(series, read, args, kwargs)

    return read_in_thread


journal: Final = Journal()
