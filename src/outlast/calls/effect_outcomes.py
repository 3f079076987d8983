"""What an error says about an effect, and how errors are kept.

Only two things are certain: the receiver was never reached, or it has refused. Everything else (a timeout, a reset, a
server error, a surprise in the function itself) leaves the outcome unknown.
"""

import sys
from dataclasses import dataclass
from socket import gaierror
from typing import Any, Final

from outlast.calls.encoding import ValueCodec
from outlast.errors import NotApplied, StateNotSerializable, StateTooLarge, StateUnreadable

# By package and name, since none of these clients has to be installed. They could not connect, so nothing was sent.
_UNREACHED: Final = frozenset(
    {
        ("httpx", "ConnectError"), ("httpx", "ConnectTimeout"), ("httpx", "PoolTimeout"),
        ("httpx", "UnsupportedProtocol"), ("httpx", "InvalidURL"),
        ("httpcore", "ConnectError"), ("httpcore", "ConnectTimeout"), ("httpcore", "PoolTimeout"),
        ("aiohttp", "ClientConnectorError"), ("aiohttp", "ClientConnectorDNSError"), ("aiohttp", "InvalidURL"),
        ("requests", "ConnectTimeout"), ("requests", "InvalidURL"), ("requests", "MissingSchema"),
    }
)  # fmt: skip
_FIRST_REFUSAL: Final = 400
_FIRST_SERVER_ERROR: Final = 500
_REQUEST_TIMEOUT: Final = 408
_CONFLICT: Final = 409
_LONGEST_MESSAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Applied:
    """What a lookup returns for an effect that its receiver knows: it was applied, with this result."""

    result: Any = None


def is_not_applied(error: BaseException, *, doubtful: bool, again: bool) -> bool:
    """Whether the error proves that the receiver has not applied the effect.

    `again`: it was called with this key before; `doubtful`: and one of those calls may have been applied, which no
    refusal of a later one undoes, unless the function itself says so with NotApplied.
    """
    if isinstance(error, NotApplied):
        return True
    if doubtful:
        return False
    if isinstance(error, ConnectionRefusedError | gaierror) or _is_unreached(type(error)):
        return True
    status = _status(error)
    if status is None or not _FIRST_REFUSAL <= status < _FIRST_SERVER_ERROR or status == _REQUEST_TIMEOUT:
        return False
    # A receiver says 409 of a key that it is working on.
    return not (again and status == _CONFLICT)


def describe(error: BaseException) -> str:
    """Name the error for people."""
    return f"{type(error).__name__}: {_text(error)}"[:_LONGEST_MESSAGE]


def encode_error(error: BaseException, codec: ValueCodec) -> bytes:
    """Return what `decode_error` makes an equal error of: class, arguments, and attributes of plain data."""
    kind = type(error)
    attributes = {name: value for name, value in vars(error).items() if _is_plain(value)}
    arguments = list(error.args) if all(map(_is_plain, error.args)) else [_text(error)]
    try:
        return codec.encode([kind.__module__, kind.__qualname__, arguments, attributes, describe(error)], path="error")
    except (StateNotSerializable, StateTooLarge):
        return codec.encode(
            [kind.__module__, kind.__qualname__, [describe(error)], None, describe(error)], path="error"
        )


def decode_error(data: bytes, codec: ValueCodec) -> Exception:
    """Return the error again, so that the same `except` catches it; NotApplied where its class is not to be found.

    The class is taken from the modules that are loaded, and its constructor is not called.
    """
    try:
        module, name, arguments, attributes, description = codec.decode(data, path="error")
    except (StateUnreadable, ValueError, TypeError):
        return NotApplied("it was certainly not applied; why cannot be read any more")
    kind: Any = sys.modules.get(module)
    for part in name.split("."):
        kind = getattr(kind, part, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return NotApplied(description)
    error = kind.__new__(kind, *arguments)
    error.args = tuple(arguments)
    error.__dict__.update(attributes or {})
    return error


def _is_unreached(kind: type[BaseException]) -> bool:
    return any((base.__module__.partition(".")[0], base.__name__) in _UNREACHED for base in kind.__mro__)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of httpx, requests, aiohttp, urllib or an SDK on them carries."""
    response = getattr(error, "response", None)
    for owner, name in (
        (response, "status_code"), (response, "status"), (error, "status_code"), (error, "http_status"),
        (error, "status"), (error, "code"),
    ):  # fmt: skip
        status = getattr(owner, name, None)
        if isinstance(status, int) and not isinstance(status, bool):
            return status
    return None


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    # An error that cannot even be told must not take the news of itself away.
    except Exception:  # noqa: BLE001
        return ""
