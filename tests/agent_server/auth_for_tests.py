"""The auth of a test project; read as a file of that project. `Authorization: Bearer <name>[:<mode>]`."""

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def who(authorization: str | None, headers: dict, request: object, path_params: dict, body: object):
    assert headers.get("authorization") == headers.get(b"authorization")
    assert path_params is not None
    assert request is not None
    if authorization is None:
        raise Auth.exceptions.HTTPException(detail="say who you are", headers={"WWW-Authenticate": "Bearer"})
    name, _, mode = authorization.removeprefix("Bearer ").partition(":")
    if mode == "body":
        return {"identity": f"body-{body['name']}" if isinstance(body, dict) and "name" in body else "nobody"}
    if mode == "broken-who":
        msg = "the identity provider does not answer"
        raise RuntimeError(msg)
    return {"identity": name, "permissions": [mode] if mode else [], "team": "blue"} if name else None


def refuse(mode: str) -> None:
    if mode == "assert":
        raise AssertionError
    if mode == "teapot":
        raise Auth.exceptions.HTTPException(status_code=418, detail="no coffee")
    if mode == "broken":
        msg = "a bug of a handler"
        raise RuntimeError(msg)


@auth.on
async def owned(ctx: Auth.types.AuthContext, value: dict):
    [mode] = ctx.permissions or [""]
    refuse(mode)
    filters = {"wrong": {"owner": {"$like": "a%"}}, "member": {"members": {"$contains": ctx.user.identity}}}
    if mode in {"deny", "admin"}:
        return mode == "admin"
    if ctx.resource == "store" and mode not in filters:
        if "namespace" in value:
            value["namespace"] = (ctx.user.identity, *(value["namespace"] or ()))
        return None
    return filters.get(mode, {"owner": ctx.user.identity})


@auth.on.threads.delete
async def only_some_delete(ctx: Auth.types.AuthContext, value: dict):
    # The most specific handler wins: this one and no other.
    if "deny" in ctx.user.permissions or ctx.user["team"] != "blue" or ctx.user.team != "blue":
        return False
    return await owned(ctx, value)


@auth.on.assistants.create
async def named(ctx: Auth.types.AuthContext, value: dict):
    if "rewrite" in ctx.permissions:
        value["name"] = f"{value['name']} of {ctx.user.identity}"
        value.setdefault("metadata", {})["rewritten"] = True
        return None
    return await owned(ctx, value)
