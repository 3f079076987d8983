"""The sections of `langgraph.json` beside the graphs: what they may hold, and what they mean when left out.

A key that nobody knows is an error, so that a misspelt `disable_meta` does not leave open what it should close. What
Outlast does not do is an error, too, where leaving it out would be dangerous (`encryption`), else a note that the
server logs at its start.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from outlast.domain.webhook import WebhookPolicy
from outlast.errors import AgentLoadError

#: Read by `project.py` itself.
_OWN: Final = ("graphs", "dependencies", "env")
# How an image is built and what an editor does with the file; nothing of it concerns the server.
_BUILD: Final = (
    *("$schema", "python_version", "node_version", "api_version", "base_image", "image_distro", "pip_config_file"),
    *("pip_installer", "dockerfile_lines", "keep_pkg_tools", "source", "_INTERNAL_docker_tag"),
)
_NOT_SERVED: Final[Mapping[str, str]] = {
    "ui": "components of generative UI are not bundled or served; serve them from your front end",
    "ui_config": "it belongs to `ui`, which is not served",
    "priority": "runs are taken in order of their age",
}
_REFUSED: Final[Mapping[str, str]] = {
    "encryption": "values are stored as they are, so a project that asks for encryption must not run here; "
    "encrypt the database's disk instead and remove this section",
}
_TEMPLATE: Final = re.compile(r"\$\{\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Minutes = Annotated[float, Field(gt=0, allow_inf_nan=False, le=5_256_000)]


class StoreIndex(_Section):
    """How items of the store are embedded."""

    dims: Annotated[int, Field(ge=1, le=16_000)]
    embed: str
    fields: tuple[str, ...] | None = None


class StoreTtl(_Section):
    """How long items of the store live."""

    refresh_on_read: bool = True
    default_ttl: Minutes | None = None
    sweep_interval_minutes: Annotated[int, Field(ge=1)] | None = None


class StoreSection(_Section):
    """The long-term memory."""

    index: StoreIndex | None = None
    ttl: StoreTtl | None = None


class ThreadTtl(_Section):
    """How long threads live that say nothing of their own; `sweep_limit` threads per sweep."""

    strategy: Literal["delete", "keep_latest"] = "delete"
    default_ttl: Minutes | None = None
    sweep_interval_minutes: Annotated[int, Field(ge=1)] | None = None
    sweep_limit: Annotated[int, Field(ge=1)] = 1000


class Serde(_Section):
    """Stored types: only what holds here anyway may be asked for."""

    pickle_fallback: Literal[False] = False


class CheckpointerSection(_Section):
    """The checkpointer; another one than Outlast's own (`path`) cannot be used."""

    ttl: ThreadTtl | None = None
    serde: Serde | None = None


class AuthCache(_Section):
    """For how long a caller with the same headers is not asked for again."""

    cache_keys: Annotated[tuple[str, ...], Field(min_length=1)]
    ttl_seconds: Annotated[int, Field(ge=1)] = 3600
    max_size: Annotated[int, Field(ge=1)] = 1000


class AuthOpenApi(_Section):
    """What the API's description says about signing in."""

    security_schemes: dict[str, dict[str, Any]] = Field(default={}, alias="securitySchemes")
    security: tuple[dict[str, list[str]], ...] = ()
    paths: dict[str, dict[str, list[dict[str, list[str]]]]] = {}


class AuthSection(_Section):
    """Where the project's `langgraph_sdk.Auth` is."""

    path: str
    disable_studio_auth: bool = False
    openapi: AuthOpenApi | None = None
    cache: AuthCache | None = None


class CorsSection(_Section):
    """Which web pages may call the API."""

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
    allow_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    allow_origin_regex: str | None = None
    expose_headers: tuple[str, ...] = ()
    max_age: Annotated[int, Field(ge=0)] = 600


class HeaderRules(_Section):
    """Which headers are meant: patterns with `*`; what is excluded stays excluded."""

    includes: tuple[str, ...] | None = Field(default=None)
    excludes: tuple[str, ...] | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None

    def chosen(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that are meant, by their names in lower case."""
        includes = [*(self.includes or ()), *(self.include or ())]
        excludes = [*(self.excludes or ()), *(self.exclude or ())]
        return {
            name: value
            for name, value in ((name.lower(), value) for name, value in headers.items())
            if any(_like(name, pattern) for pattern in includes) and not any(_like(name, p) for p in excludes)
        }


class HttpSection(_Section):
    """What the server serves besides the API, what of the API it does not, and to whom."""

    app: str | None = None
    disable_assistants: bool = False
    disable_threads: bool = False
    disable_runs: bool = False
    disable_store: bool = False
    disable_mcp: bool = False
    disable_a2a: bool = False
    disable_meta: bool = False
    disable_ui: bool = False
    disable_webhooks: bool = False
    cors: CorsSection | None = None
    configurable_headers: HeaderRules | None = None
    logging_headers: HeaderRules | None = None
    middleware_order: Literal["auth_first", "middleware_first"] = "middleware_first"
    enable_custom_route_auth: bool = False
    mount_prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$")] | None = None


class WebhookUrls(_Section):
    """Which addresses runs may name."""

    require_https: bool = False
    allowed_domains: tuple[str, ...] = ()
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()
    max_url_length: Annotated[int, Field(ge=1, le=8192)] = 2048
    disable_loopback: bool = False


class WebhooksSection(_Section):
    """How ends of runs are reported."""

    env_prefix: Annotated[str, Field(min_length=1)] = "LG_WEBHOOK_"
    url: WebhookUrls = WebhookUrls()
    headers: dict[str, str] = {}

    def resolved_headers(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the headers with `${{ env.NAME }}` filled in; raises AgentLoadError for a name that cannot be."""

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if not name.startswith(self.env_prefix):
                raise AgentLoadError(f"webhooks.headers: {name} does not begin with env_prefix {self.env_prefix!r}")
            if name not in environment:
                raise AgentLoadError(f"webhooks.headers: the environment variable {name} is not set")
            return environment[name]

        return {header: _TEMPLATE.sub(value, text) for header, text in self.headers.items()}


class Sections(_Section):
    """All of them; `notes` say what the file asks for that is not done."""

    store: StoreSection = StoreSection()
    checkpointer: CheckpointerSection = CheckpointerSection()
    auth: AuthSection | None = None
    http: HttpSection = HttpSection()
    webhooks: WebhooksSection = WebhooksSection()
    notes: tuple[str, ...] = ()

    @property
    def webhook_policy(self) -> WebhookPolicy:
        """What holds for the webhook of each run."""
        return WebhookPolicy(**self.webhooks.url.model_dump(), disabled=self.http.disable_webhooks)


def read_sections(file: Path, table: Mapping[str, object]) -> Sections:
    """Return the sections of a `langgraph.json`; raises AgentLoadError that names the key that is wrong."""
    for key in table:
        if key in _REFUSED:
            raise AgentLoadError(f"{file}: {key!r} is not supported: {_REFUSED[key]}")
        if key not in (*_OWN, *_BUILD, *_NOT_SERVED, *_KEYS):
            raise AgentLoadError(f"{file}: unknown key {key!r}{_meant(key, (*_OWN, *_KEYS))}. Remove or correct it.")
    notes = tuple(f"{file.name}: {key!r} has no effect: {why}" for key, why in _NOT_SERVED.items() if key in table)
    # Null is a section that is not there.
    given = {key: table[key] for key in _KEYS if table.get(key) is not None}
    try:
        # From JSON, where pydantic's strict mode takes a list for a tuple.
        return Sections.model_validate_json(orjson.dumps({**given, "notes": notes}))
    except ValidationError as error:
        raise AgentLoadError(f"{file}: {'; '.join(_explained(item) for item in error.errors()[:3])}") from error


_KEYS: Final = tuple(name for name in Sections.model_fields if name != "notes")


def _explained(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    if place == "checkpointer.path":
        return "checkpointer.path: another checkpointer cannot be used; Outlast's own is what makes runs durable"
    if place.startswith("checkpointer.serde"):
        return f"{place}: Outlast stores types by its own rules and never pickles; remove it"
    if item["type"] == "extra_forbidden":
        return f"{place}: there is no such key"
    return f"{place}: {item['msg']}"


def _meant(wrong: str, known: tuple[str, ...]) -> str:
    matches = get_close_matches(wrong, known, n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _like(name: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern.lower()).replace(r"\*", ".*"), name) is not None
