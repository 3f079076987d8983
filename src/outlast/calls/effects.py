"""`outlast.effect`: a write to the outside that is never silently made twice."""

import asyncio
import inspect
import secrets
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, Final, TypeVar, overload

from outlast.calls import scope as scopes
from outlast.calls.bridging import elsewhere, home_of, wait_for
from outlast.calls.effect_arguments import KEY, Signature, hashed
from outlast.calls.effect_ledger import EffectLedger
from outlast.calls.effect_memory import EffectMemory
from outlast.calls.effect_outcomes import Applied
from outlast.calls.effect_request import Effect, Finished, Key, OnUnknown, Options, Span
from outlast.calls.scope import Scope
from outlast.errors import NotApplied
from outlast.telemetry import spans

__all__ = ["Applied", "NotApplied", "effect"]

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


class _EffectDecorator:
    """`@outlast.effect`, `@outlast.effect(...)`, and `await outlast.effect.call(name, function, ...)`.

    Inside a run, an effect is announced (durably, and only by the run's owner) before its function is called, and its
    outcome is written down before the step goes on. A step that is executed again gets the outcome; the function is
    not called. If the process died, or the call broke, in between, nobody knows whether the receiver has applied it;
    `on_unknown` says what then happens:

        "ask"     a person is asked, and the run waits (the default)
        "retry"   it is called again with the same key: for receivers that honour idempotency keys
        a lookup  `async def lookup(key, ...)` asks the receiver, and returns outlast.Applied(result),
                  outlast.NotApplied() (then it is called again with the same key) or None (then a person is asked);
                  parameters named like the function's own get its arguments

    The key is 64 hexadecimal digits, made of the run, the task and the number of the effect in it: the same for ever,
    whatever is retried, restarted or replayed. A function with a parameter `idempotency_key` gets it. `key=` is for
    effects that are to happen once in all runs: a text, or a function of the arguments that returns one.

    A call that could not connect, an HTTP 4xx, and `outlast.NotApplied` mean that it was certainly not applied; they
    are raised as they are, and the effect may be called again when the attempt is. Anything else is unknown.

    `timeout` (seconds or timedelta; 60 s, see `calls.effects`) is for one call; a sync function cannot be interrupted,
    so give its client one. `key_ttl` is how long the receiver remembers keys: an unknown effect that is older is never
    retried, but looked up or asked about.

    An effect is one write. Ask people before it, not inside of its function. Arguments must be the same when the step
    is executed again (see `outlast.journal`), else `EffectMismatch`. Outside of a run the function is just called, with
    a new key each time.
    """

    @overload
    def __call__(self, function: F, /) -> F: ...

    @overload
    def __call__(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        on_unknown: OnUnknown = "ask",
        key: Key | None = None,
        timeout: Span | None = None,
        key_ttl: Span | None = None,
    ) -> Callable[[F], F]: ...

    def __call__(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        on_unknown: OnUnknown = "ask",
        key: Key | None = None,
        timeout: Span | None = None,
        key_ttl: Span | None = None,
    ) -> Any:
        """Make a function an effect; the name is part of the key, so keep it when the function is renamed."""
        options = Options.of(on_unknown=on_unknown, key=key, timeout=timeout, key_ttl=key_ttl)
        return _decorated(function, name, options) if function is not None else partial(
            _decorated, name=name, options=options
        )  # fmt: skip

    async def call(
        self,
        name: str,
        function: Callable[..., Awaitable[R] | R],
        /,
        *args: Any,
        on_unknown: OnUnknown = "ask",
        key: Key | None = None,
        timeout: Span | None = None,  # noqa: ASYNC109 - of one call of the function
        key_ttl: Span | None = None,
        **kwargs: Any,
    ) -> R:
        """Call a function of somebody else's as the effect `name`; a sync one in a thread. The same promises."""
        options = Options.of(on_unknown=on_unknown, key=key, timeout=timeout, key_ttl=key_ttl)
        signature = Signature.of(function)
        given = signature.bind(args, kwargs)

        async def invoke(its_key: str) -> Any:
            bound = partial(function, *args, **kwargs, **_key(signature, its_key))
            result = bound() if inspect.iscoroutinefunction(function) else await asyncio.to_thread(bound)
            return await result if inspect.isawaitable(result) else result

        return await _performed(_Call(name, given, options), invoke)


effect: Final = _EffectDecorator()


class _Call:
    """An effect as it was asked for, before it is known which one it is."""

    __slots__ = ("arguments", "name", "options")

    def __init__(self, name: str, arguments: dict[str, Any], options: Options) -> None:
        self.name = name
        self.arguments = arguments
        self.options = options

    async def entered(self, scope: Scope) -> tuple[EffectLedger, Effect]:
        """Find out which effect it is; on the run's loop. Calls are numbered in the order in which they come here."""
        ledger = ledger_of(scope)
        execution = ledger.memory.execution()
        # A business key leaves the numbers of the others alone.
        business_key = self.options.business_key(self.arguments)
        ordinal = execution.next_ordinal(self.name) if business_key is None else 0
        found = Effect(
            name=self.name, arguments=self.arguments, options=self.options,
            args_hash=hashed(self.arguments, ledger.codec), execution=execution,
        )  # fmt: skip
        await ledger.enter(found, ordinal, business_key)
        return ledger, found


def _decorated(function: Any, name: str | None, options: Options) -> Any:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        msg = f"{function.__qualname__} yields; an effect is a function that returns its result"
        raise TypeError(msg)
    signature = Signature.of(function)
    name = name or str(function.__name__)

    @wraps(function)
    async def perform(*args: Any, **kwargs: Any) -> Any:
        async def invoke(key: str) -> Any:
            return await function(*args, **kwargs, **_key(signature, key))

        return await _performed(_Call(name, signature.bind(args, kwargs), options), invoke)

    @wraps(function)
    def perform_in_thread(*args: Any, **kwargs: Any) -> Any:
        def invoke(key: str) -> Any:
            return function(*args, **kwargs, **_key(signature, key))

        return _performed_in_thread(_Call(name, signature.bind(args, kwargs), options), invoke)

    wrapper: Any = perform if inspect.iscoroutinefunction(function) else perform_in_thread
    # A model that calls it as a tool must not make up the key.
    wrapper.__signature__ = signature.without_key()
    wrapper.__annotations__ = {name: kind for name, kind in function.__annotations__.items() if name != KEY}
    return wrapper


async def _performed(call: _Call, invoke: Callable[[str], Awaitable[Any]]) -> Any:
    with spans.span("effect", effect=call.name) as told:
        return await _within(call, invoke, told)


async def _within(call: _Call, invoke: Callable[[str], Awaitable[Any]], told: spans.Span) -> Any:
    scope = _scope()
    if scope is None:
        limit = call.options.timeout
        async with asyncio.timeout(None if limit is None else limit.total_seconds()):
            return await invoke(secrets.token_hex(32))
    if asyncio.get_running_loop() is scope.loop:
        ledger, found = await call.entered(scope)
        told.set(key=found.key)
        return await ledger.perform(found, invoke)
    # A sync node that runs an event loop of its own: the function stays there.
    ledger, found = await elsewhere(lambda: call.entered(scope), scope.loop)
    told.set(key=found.key)
    while True:
        begun = await elsewhere(lambda: ledger.begin(found), scope.loop)
        if isinstance(begun, Finished):
            return begun.value
        value, error = await _attempted(invoke(begun.key))
        ending = partial(ledger.end, found, begun, value, error)
        finished = await asyncio.shield(elsewhere(ending, scope.loop))
        if finished is not None:
            return finished.value


def _performed_in_thread(call: _Call, invoke: Callable[[str], Any]) -> Any:
    with spans.span("effect", effect=call.name) as told:
        return _within_thread(call, invoke, told)


def _within_thread(call: _Call, invoke: Callable[[str], Any], told: spans.Span) -> Any:
    scope = _scope()
    if scope is None:
        return invoke(secrets.token_hex(32))
    loop = home_of(scope, f"effect {call.name!r}")
    ledger, found = wait_for(call.entered(scope), loop)
    told.set(key=found.key)
    while True:
        begun = wait_for(ledger.begin(found), loop)
        if isinstance(begun, Finished):
            return begun.value
        value, error = None, None
        try:
            value = invoke(begun.key)
        # Whatever it is: its outcome is written down first, and it is raised again from there.
        except BaseException as raised:  # noqa: BLE001
            error = raised
        finished = wait_for(ledger.end(found, begun, value, error), loop)
        if finished is not None:
            return finished.value


async def _attempted(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    try:
        return await awaitable, None
    # As above; also of a cancellation.
    except BaseException as error:  # noqa: BLE001
        return None, error


def _scope() -> Scope | None:
    """Return the attempt that calls; None outside of a run, and in one without a database."""
    scope = scopes.current.get()
    return scope if scope is not None and scope.calls.effects is not None else None


def ledger_of(scope: Scope) -> EffectLedger:
    """Return the effects of an attempt that has a database."""
    if scope.effects is None:
        store, codec = scope.calls.effects, scope.calls.codec
        assert store is not None  # noqa: S101 - see _scope
        assert codec is not None  # noqa: S101 - given together with the store
        scope.effects = EffectLedger(scope, store, codec, EffectMemory(scope, store))
        scope.closing.append(scope.effects.close)
    return scope.effects


def _key(signature: Signature, key: str) -> dict[str, str]:
    return {KEY: key} if signature.takes_key else {}
