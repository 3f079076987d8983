"""How callers are known in a process: by the project's `langgraph_sdk.Auth`, by API keys, by an identity provider."""

from langgraph_sdk import Auth

from outlast.agents.loading import load_attribute
from outlast.agents.project import Project
from outlast.errors import AgentLoadError
from outlast.runtime import Runtime
from outlast.server.auth.authenticate import Authenticator, parameters_of
from outlast.server.auth.cache import UserCache
from outlast.server.auth.callers import Callers
from outlast.server.auth.keyring import KeyRing
from outlast.server.auth.throttle import Throttle
from outlast.server.auth.tokens import Tokens
from outlast.storage.postgres.api_keys import ApiKeyStore


def load_callers(runtime: Runtime) -> Callers | None:
    """Return all ways to be known that the project and the settings name; None when nobody is asked.

    Raises ConfigurationError for whatever is wrong with one: without the auth it was given, a server must not start.
    """
    server, settings = runtime.settings.server, runtime.settings.auth
    project = load_auth(runtime.project, studio=server.studio)
    if project is None and not settings.keys and not settings.jwt.issuer:
        return None
    return Callers(
        settings=settings,
        project=project,
        keys=KeyRing(ApiKeyStore(runtime.pool), seconds=settings.key_cache.total_seconds()) if settings.keys else None,
        tokens=Tokens(settings.jwt) if settings.jwt.issuer else None,
        throttle=Throttle(settings.failures_per_minute),
        audit=runtime.audit,
        proxies=server.trusted_proxies,
    )


def load_auth(project: Project, *, studio: bool) -> Authenticator | None:
    """Return the project's auth, or None when it names none.

    Raises ConfigurationError for whatever is wrong with it: without the auth it was given, a server must not start.
    """
    settings = project.sections.auth
    if settings is None:
        return None
    target = project.target("auth.path", settings.path)
    _, auth = load_attribute(project, target)
    where = f"{target.path or target.module}:{target.attribute}"
    if not isinstance(auth, Auth):
        raise AgentLoadError(f"auth.path: {where} is of type {type(auth).__name__!r}, not a langgraph_sdk.Auth")
    handler = auth._authenticate_handler  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the SDK's promise to servers
    if handler is None:
        raise AgentLoadError(
            f"auth.path: {where} has no @auth.authenticate handler, so nobody could be told from anybody; add one"
        )
    return Authenticator(
        auth=auth,
        handler=handler,
        parameters=parameters_of(handler),
        studio=studio and not settings.disable_studio_auth,
        cache=None if settings.cache is None else UserCache(settings.cache),
    )
