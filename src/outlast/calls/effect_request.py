"""What a call of an effect asks for."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from outlast.calls.effect_memory import Execution
from outlast.calls.effect_outcomes import Applied
from outlast.domain.effect import EffectRow
from outlast.errors import InvalidInput, NotApplied

Lookup: TypeAlias = Callable[..., Awaitable[Applied | NotApplied | type[NotApplied] | None]]
OnUnknown: TypeAlias = Literal["ask", "retry"] | Lookup
Key: TypeAlias = str | Callable[..., str]
Span: TypeAlias = timedelta | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an effect was declared."""

    on_unknown: OnUnknown = "ask"
    key: Key | None = None
    timeout: timedelta | None = None
    key_ttl: timedelta | None = None

    @classmethod
    def of(
        cls, *, on_unknown: OnUnknown = "ask", key: Key | None = None, timeout: Span | None, key_ttl: Span | None
    ) -> "Options":
        """Read what was declared, times as seconds or timedelta; raises InvalidInput that names the option."""
        if not callable(on_unknown) and on_unknown not in ("ask", "retry"):
            msg = f"on_unknown is {on_unknown!r}; give 'ask', 'retry' or an async function that looks the key up"
            raise InvalidInput(msg, field="on_unknown")
        return cls(on_unknown=on_unknown, key=key, timeout=_span("timeout", timeout), key_ttl=_span("key_ttl", key_ttl))

    def business_key(self, arguments: Mapping[str, Any]) -> str | None:
        """Return the project's own key for these arguments; None: it leaves that to Outlast."""
        key: Any = by_name(self.key, arguments) if callable(self.key) else self.key
        if key is not None and (not isinstance(key, str) or not key):
            msg = f"an effect's key is a text that is not empty; got {key!r}"
            raise InvalidInput(msg, field="key")
        return key

    async def look_up(self, key: str, arguments: Mapping[str, Any]) -> Applied | NotApplied | None:
        """Ask the receiver about the key; None: it does not know either. Raises whatever the lookup raises."""
        try:
            found = await by_name(cast("Lookup", self.on_unknown), arguments, key)
        except NotApplied as error:
            return error
        if found is NotApplied:
            return NotApplied()
        if found is not None and not isinstance(found, Applied | NotApplied):
            msg = f"a lookup returns outlast.Applied(result), outlast.NotApplied() or None; got {found!r:.100}"
            raise InvalidInput(msg, field="on_unknown")
        return found


class Finished(NamedTuple):
    """The effect has a result."""

    value: Any


@dataclass(slots=True, kw_only=True)
class Effect:
    """One call of an effect, on its way."""

    name: str
    arguments: dict[str, Any]
    options: Options
    args_hash: bytes
    execution: Execution
    key: str = ""
    ordinal: int | None = None
    business_key: str | None = None
    row: EffectRow | None = None
    #: How often this one has called the receiver, and what the last time raised.
    tries: int = 0
    error: BaseException | None = None


def by_name(function: Callable[..., Any], arguments: Mapping[str, Any], *first: Any) -> Any:
    """Call a function with those of the arguments that it has parameters for, after the `first` ones."""
    parameters = list(inspect.signature(function).parameters.values())[len(first) :]
    if any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters):
        return function(*first, **arguments)
    return function(*first, **{item.name: arguments[item.name] for item in parameters if item.name in arguments})


def _span(name: str, span: Span | None) -> timedelta | None:
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if seconds is None:
        return None
    if not seconds > 0:
        raise InvalidInput(f"{name} is {span}; it has to be more than 0 seconds", field=name)
    return timedelta(seconds=seconds)
