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

from outlast.errors import Forbidden, Unauthenticated
from outlast.server.auth.authorize import Decision, decided, has_handlers
from outlast.server.auth.callers import Callers
from outlast.server.auth.users import Caller, User

#: A jsonpath for `metadata @@ %(access)s::jsonpath`; None: no filter.
Access = str | None


def _callers(connection: HTTPConnection) -> Callers | None:
    return cast("Callers | None", connection.app.state.auth)


async def user_of(connection: HTTPConnection) -> User | None:
    """Return the caller, as the guard of the route has found out; None when nobody is asked who they are.

    Also for WebSockets. Raises Unauthenticated where nobody was asked although somebody has to be.
    """
    if _callers(connection) is None:
        return None
    caller = cast("Caller | None", connection.scope.get("outlast.caller"))
    if caller is None:
        raise Unauthenticated
    return caller.user


CurrentUser = Annotated[User | None, Depends(user_of)]


async def allowed(
    connection: HTTPConnection, resource: str, action: str, value: dict[str, Any]
) -> tuple[dict[str, Any], Access]:
    """Return the value to go on with and the filter that what it touches must match.

    What a filter demands is already in the `metadata` of what is created. Raises Forbidden, also for an update that
    would change what a filter demands, and whatever HTTPException the project's handler raises.
    """
    user = await user_of(connection)
    callers = _callers(connection)
    auth = None if callers is None else callers.auth
    if user is None or auth is None:
        return value, None
    decision = await decided(auth, user, resource, action, value)
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
    callers = _callers(connection)
    if callers is not None and callers.auth is not None and has_handlers(callers.auth):
        raise Forbidden(
            "this project's auth decides by resource, which only the Agent Server API (/threads, /runs) asks"
        )
