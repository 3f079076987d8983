"""The arguments of an effect: what they are called, whether they are the same again, and what people see of them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from outlast.calls.encoding import ValueCodec
from outlast.errors import StateNotSerializable

KEY: Final = "idempotency_key"
# What LangChain and LangGraph hand to tools and nodes beside their arguments: other objects at each execution.
_INJECTED: Final = frozenset({"RunnableConfig", "ToolRuntime", "Runtime", "StreamWriter", "BaseStore"})
_SECRET: Final = ("secret", "password", "passwd", "token", "api_key", "apikey", "authorization", "credential")
_LONGEST_SHOWN: Final = 2000
_LONGEST_VALUE: Final = 500


@dataclass(frozen=True, slots=True)
class Signature:
    """What there is to know of an effect's function; read once."""

    parameters: inspect.Signature | None
    takes_key: bool
    left_out: frozenset[str]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Signature":
        """Read it; a function without a readable signature gets its arguments by position only."""
        try:
            parameters = inspect.signature(function)
        except (TypeError, ValueError):
            return cls(None, takes_key=False, left_out=frozenset())
        left_out = {KEY} | {item.name for item in parameters.parameters.values() if _is_injected(item)}
        first = next(iter(parameters.parameters), None)
        if first in {"self", "cls"}:
            left_out.add(first)
        return cls(parameters, takes_key=KEY in parameters.parameters, left_out=frozenset(left_out))

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, defaults included; raises TypeError as the call itself would."""
        if self.parameters is None:
            return {**{f"argument {number}": value for number, value in enumerate(args)}, **kwargs}
        given = {**kwargs, KEY: ""} if self.takes_key else kwargs
        bound = self.parameters.bind(*args, **given)
        bound.apply_defaults()
        return {name: value for name, value in bound.arguments.items() if name not in self.left_out}

    def without_key(self) -> inspect.Signature | None:
        """Return the signature that callers, and models that call it as a tool, are to see."""
        if self.parameters is None:
            return None
        kept = [item for item in self.parameters.parameters.values() if item.name != KEY]
        return self.parameters.replace(parameters=kept)


def hashed(arguments: Mapping[str, Any], codec: ValueCodec) -> bytes:
    """Return 16 bytes that are equal when the arguments are; what cannot be stored is compared by its type only."""
    return codec.fingerprint([[name, _comparable(value, codec)] for name, value in sorted(arguments.items())])


def shown(arguments: Mapping[str, Any]) -> bytes:
    """Return JSON for people: long values are cut, and what looks like a secret by its name is left out."""
    data = orjson.dumps({name: _shown(name, value) for name, value in arguments.items()}, default=_brief)
    if len(data) <= _LONGEST_SHOWN:
        return data
    short = {name: _brief(value)[:80] for name, value in arguments.items() if not _is_secret(name)}
    data = orjson.dumps(short)
    return data if len(data) <= _LONGEST_SHOWN else orjson.dumps({"...": f"{len(arguments)} arguments"})


def _comparable(value: Any, codec: ValueCodec) -> list[Any]:
    try:
        return ["value", codec.fingerprint(value)]
    except StateNotSerializable:
        return ["type", f"{type(value).__module__}.{type(value).__qualname__}"]


def _shown(name: str, value: Any) -> Any:
    if _is_secret(name):
        return "***"
    try:
        small = len(orjson.dumps(value, default=_brief)) <= _LONGEST_VALUE
    except (orjson.JSONEncodeError, RecursionError):
        small = False
    return value if small else _brief(value)


def _brief(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    # An object of the user's that cannot even be named.
    except Exception:  # noqa: BLE001
        text = f"<{type(value).__name__}>"
    cut = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
    return cut.encode("utf-8", "replace").decode()


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET)


def _is_injected(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
    return any(name in text for name in _INJECTED)
