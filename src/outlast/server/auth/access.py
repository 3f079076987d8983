"""What a route asks: who is calling, and may they do this.

    value, access = await allowed(request, "threads", "update", {"thread_id": thread_id, "metadata": metadata})

`value` is what the project's handler made of it: it counts, and no longer what the client sent. `access` is a jsonpath
that the metadata of everything this request touches has to match; None when everything is allowed. What it does not
match does not exist for this caller: 404.
"""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from outlast.errors import Forbidden
from outlast.server.auth.authenticate import Authenticator
from outlast.server.auth.authorize import Decision, decided, has_handlers
from outlast.server.auth.users import User

#: A jsonpath for `metadata @@ %(access)s::jsonpath`; None: no filter.
Access = str | None


def _authenticator(connection: HTTPConnection) -> Authenticator | None:
    return cast("Authenticator | None", connection.app.state.auth)


async def user_of(connection: HTTPConnection) -> User | None:
    """Return the caller, asked for once in a request; None when the project has no auth.

    Also for WebSockets. Raises Unauthenticated, or the HTTPException that the project's handler raised.
    """
    authenticator = _authenticator(connection)
    if authenticator is None:
        return None
    known = cast("User | None", connection.scope.get("outlast.user"))
    if known is None:
        known = connection.scope["outlast.user"] = await authenticator.user_of(connection)
    return known


CurrentUser = Annotated[User | None, Depends(user_of)]


async def allowed(
    connection: HTTPConnection, resource: str, action: str, value: dict[str, Any]
) -> tuple[dict[str, Any], Access]:
    """Return the value to go on with and the filter that what it touches must match.

    What a filter demands is already in the `metadata` of what is created. Raises Forbidden, also for an update that
    would change what a filter demands, and whatever HTTPException the project's handler raises.
    """
    user = await user_of(connection)
    if user is None:
        return value, None
    authenticator = cast("Authenticator", connection.app.state.auth)
    decision = await decided(authenticator.auth, user, resource, action, value)
    connection.scope["outlast.decision"] = decision
    return decision.value, decision.access


def stamps(connection: HTTPConnection) -> Mapping[str, Any]:
    """Return the metadata that the last `allowed` of this request puts on what is created besides `value`.

    For a thread that a run creates: its `create_run` value is the run.
    """
    decision = cast("Decision | None", connection.scope.get("outlast.decision"))
    return {} if decision is None else decision.stamps


def require_no_owners(connection: HTTPConnection) -> None:
    """Raise Forbidden when the project's auth has handlers that decide about threads: these routes ask none."""
    authenticator = _authenticator(connection)
    if authenticator is not None and has_handlers(authenticator.auth):
        raise Forbidden(
            "this project's auth decides by resource, which only the Agent Server API (/threads, /runs) asks"
        )
