"""Which handler decides, and what its answer means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import UUID

from langgraph_sdk import Auth

from outlast.errors import ConfigurationError, Forbidden
from outlast.server.auth.authenticate import as_http
from outlast.server.auth.filters import broken_by, compiled, stamped
from outlast.server.auth.users import User

# What a handler gets as UUIDs, as its types promise.
_IDS: Final = ("thread_id", "run_id", "assistant_id", "cron_id")
_CREATING: Final = ("create", "create_run")


@dataclass(frozen=True, slots=True)
class Decision:
    """The value to go on with, the filter of what may be touched, and what the filter puts on what is created."""

    value: dict[str, Any]
    access: str | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict[str, Any])


async def decided(auth: Auth, user: User, resource: str, action: str, value: dict[str, Any]) -> Decision:
    """Ask the most specific handler; without one everything is allowed.

    Raises Forbidden for False, and for an update that changes metadata which the handler's own filter demands.
    """
    handler = _handler(auth, resource, action)
    if handler is None:
        return Decision(value)
    seen = _with_uuids(value)
    context = Auth.types.AuthContext(
        permissions=user.permissions, user=user.given, resource=cast("Any", resource), action=cast("Any", action)
    )
    try:
        answer: object = await handler(ctx=context, value=seen)
    except Auth.exceptions.HTTPException as error:
        raise as_http(error) from error
    except AssertionError as error:
        # `assert ctx.user.identity == ...` is how many handlers refuse.
        raise Forbidden(_refusal(resource, action)) from error
    return _decision(answer, _with_texts(seen), resource, action)


def has_handlers(auth: Auth) -> bool:
    """Whether anything is decided beyond who is calling."""
    return bool(cast("Any", auth)._handlers or cast("Any", auth)._global_handlers)  # noqa: SLF001


def _handler(auth: Auth, resource: str, action: str) -> Any:
    # These names are the SDK's promise to servers.
    handlers = cast("Any", auth)._handlers  # noqa: SLF001
    for key in ((resource, action), (resource, "*"), ("*", action)):
        if handlers.get(key):
            return handlers[key][-1]
    everything = cast("Any", auth)._global_handlers  # noqa: SLF001
    return everything[-1] if everything else None


def _decision(answer: object, value: dict[str, Any], resource: str, action: str) -> Decision:
    if answer is None or answer is True:
        return Decision(value)
    if answer is False:
        raise Forbidden(_refusal(resource, action))
    if not isinstance(answer, Mapping):
        raise ConfigurationError(
            f"the auth handler of {resource}.{action} answered {type(answer).__name__}; "
            "it may answer None or True (allowed), False (refused) or a filter"
        )
    conditions = cast("Mapping[str, Any]", answer)
    if conditions and resource == "store":
        raise Forbidden(
            "the auth handler answered a filter, and items of the store have no metadata to filter by; "
            'let a handler of auth.on.store rewrite value["namespace"] instead'
        )
    metadata = cast("Mapping[str, Any]", value.get("metadata") or {})
    if action in _CREATING and conditions:
        value["metadata"] = stamped(conditions, metadata)
    if action == "update" and (key := broken_by(conditions, metadata)) is not None:
        raise Forbidden(f"metadata {key!r} decides who may see {resource}; it cannot be changed like that")
    return Decision(value, compiled(conditions), stamped(conditions, {}))


def _refusal(resource: str, action: str) -> str:
    return f"{action} on {resource} is not allowed for this user"


def _with_uuids(value: dict[str, Any]) -> dict[str, Any]:
    return value | {name: _uuid(value[name]) for name in _IDS if isinstance(value.get(name), str)}


def _with_texts(value: dict[str, Any]) -> dict[str, Any]:
    return value | {name: str(value[name]) for name in _IDS if isinstance(value.get(name), UUID)}


def _uuid(text: str) -> UUID | str:
    try:
        return UUID(text)
    except ValueError:
        return text
