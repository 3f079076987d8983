"""Load the `langgraph_sdk.Auth` that the project names as `auth.path`."""

from langgraph_sdk import Auth

from outlast.agents.loading import load_attribute
from outlast.agents.project import Project
from outlast.errors import AgentLoadError
from outlast.server.auth.authenticate import Authenticator, parameters_of
from outlast.server.auth.cache import UserCache


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
