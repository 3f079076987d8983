"""The settings of a process, read once.

Only this module reads the environment. `load()` builds one frozen tree; each part of the program
receives its own branch as an argument. Values come from, first match wins: arguments (the command
line), environment variables `OUTLAST_<BRANCH>__<FIELD>` and `DATABASE_URL`, the project file's
tables of the same names, the defaults below.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from outlast.errors import ConfigurationError


class _Branch(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Branch):
    """Where the state is."""

    url: str = Field(default="", description="PostgreSQL URL or DSN; empty: a private server in `.outlast/`")
    # Lower case letters only: it goes into search_path, and a quoted name would surprise every other tool.
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "outlast"
    pool_size: Annotated[int, Field(ge=1, le=200, description="connections per process for short statements")] = 8
    pool_timeout_seconds: Annotated[float, Field(gt=0, description="wait for a connection before 503")] = 5.0
    statement_timeout_ms: Annotated[int, Field(ge=0, description="longest statement the server may run")] = 15_000
    pooler: bool = Field(default=False, description="a transaction pooler is between: no prepared statements")


class WorkerSettings(_Branch):
    """How a worker runs runs, and when it is believed to be dead."""

    concurrency: Annotated[int, Field(ge=1, le=1000, description="runs at the same time in one process")] = 32
    lease: timedelta = Field(default=timedelta(seconds=15), description="silence after which a worker is dead")
    heartbeat: timedelta = Field(default=timedelta(seconds=1), description="how often it says that it lives")
    drain: timedelta = Field(default=timedelta(seconds=25), description="after SIGTERM, for steps to end")
    poll: timedelta = Field(default=timedelta(seconds=1), description="look at the queue at least this often")
    hang: timedelta = Field(default=timedelta(minutes=5), description="event loop silent this long: exit")
    run_timeout: timedelta | None = Field(default=None, description="default limit for one attempt of a run")
    isolate_memory_mb: Annotated[int, Field(ge=128, description="address space of a suspect run")] = 4096

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        # Two lost heartbeats must not cost a healthy worker its runs.
        if self.lease < self.heartbeat * 3:
            msg = f"worker.lease ({self.lease}) must be at least three times worker.heartbeat ({self.heartbeat})"
            raise ValueError(msg)
        return self


class RetrySettings(_Branch):
    """What happens after an attempt fails or its worker dies."""

    max_attempts: Annotated[int, Field(ge=1, le=100, description="attempts that may end in an error")] = 3
    base: timedelta = Field(default=timedelta(seconds=1), description="backoff ceiling after the first error")
    cap: timedelta = Field(default=timedelta(minutes=5), description="largest backoff")
    max_crashes: Annotated[int, Field(ge=1, le=100, description="dead workers before the run is a dead letter")] = 3


class RecoverySettings(_Branch):
    """How dead workers are found."""

    scan: timedelta = Field(default=timedelta(milliseconds=500), description="how often to look")
    batch: Annotated[int, Field(ge=1, description="most runs taken from dead workers per scan")] = 200


class ServerSettings(_Branch):
    """The HTTP API."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8123
    max_body_bytes: Annotated[int, Field(ge=1024, description="larger requests get 413")] = 8 * 1024 * 1024
    max_depth: Annotated[int, Field(ge=4, description="deeper JSON gets 422")] = 64
    thread_values_bytes: Annotated[int, Field(ge=0, description="larger states are kept as checkpoints only")] = 2**20
    wait: timedelta = Field(default=timedelta(seconds=60), description="longest time a request waits for a run")
    allow_anonymous: bool = Field(default=False, description="serve other machines without any auth")
    studio: bool = Field(default=False, description="believe whoever says to be LangGraph Studio, without a proof")


class CheckpointSettings(_Branch):
    """The checkpointer."""

    max_value_bytes: Annotated[int, Field(ge=1024, description="largest stored value")] = 16 * 1024 * 1024
    cache_bytes: Annotated[int, Field(ge=0, description="stored values kept in memory")] = 64 * 1024 * 1024


class WebhookSettings(_Branch):
    """How ends of runs are reported to the addresses that runs name."""

    secret: str = Field(default="", description="whsec_...; empty: a random one, in the table `secrets`")
    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="addresses that are allowed though not public, as 10.0.0.0/8"
    )
    poll: timedelta = Field(default=timedelta(seconds=1), description="look for reports at least this often")
    timeout: timedelta = Field(default=timedelta(seconds=10), description="for one attempt")
    base: timedelta = Field(default=timedelta(seconds=5), description="backoff ceiling after the first attempt")
    cap: timedelta = Field(default=timedelta(hours=6), description="largest backoff")
    give_up: timedelta = Field(default=timedelta(hours=24), description="age of a report that is tried no more")


class RetentionSettings(_Branch):
    """What is deleted by age."""

    sweep: timedelta = Field(default=timedelta(seconds=30), description="how often to look")
    temporary: timedelta = Field(default=timedelta(minutes=5), description="threads of stateless runs, after the end")
    outputs: timedelta = Field(default=timedelta(hours=1), description="a run's own values, once its thread has them")
    events: timedelta = Field(default=timedelta(minutes=2), description="what a run streamed, after its end")
    resumable_events: timedelta = Field(default=timedelta(hours=1), description="the same, if stream_resumable")


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="OUTLAST_",
        env_nested_delimiter="__",
        extra="ignore",
        nested_model_default_partial_update=True,
    )

    database: DatabaseSettings = DatabaseSettings()
    worker: WorkerSettings = WorkerSettings()
    retry: RetrySettings = RetrySettings()
    recovery: RecoverySettings = RecoverySettings()
    server: ServerSettings = ServerSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    webhooks: WebhookSettings = WebhookSettings()
    retention: RetentionSettings = RetentionSettings()
    fault: str = Field(default="", description="fault injection for tests, see outlast.telemetry")


def load(*, project: Mapping[str, Any] | None = None, arguments: Mapping[str, Any] | None = None) -> Settings:
    """Build the tree; raises ConfigurationError that names the setting that is wrong.

    `project` holds the tables of the project file, `arguments` what the command line gave, both shaped like the tree.
    """
    url = os.environ.get("DATABASE_URL")
    below: tuple[dict[str, Any], ...] = ({"database": {"url": url}} if url else {}, dict(project or {}))

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            weaker = (InitSettingsSource(settings_cls, init_kwargs=source) for source in below)
            return init_settings, env_settings, *weaker

    try:
        return Loaded(**dict(arguments or {}))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        msg = f"settings: {problems}"
        raise ConfigurationError(msg) from error


def environment() -> Mapping[str, str]:
    """Return the environment, for what a project's file refers to."""
    return MappingProxyType(os.environ)


def apply_environment(values: Mapping[str, str]) -> None:
    """Set the project's `env` for user code; what the process was started with wins."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
