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
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from outlast import setting_files, setting_names
from outlast.errors import ConfigurationError
from outlast.secret import Secret
from outlast.setting_branch import Branch
from outlast.settings_admission import AdmissionSettings, LimitSettings
from outlast.settings_alerts import AlertSettings
from outlast.settings_anomalies import AnomalySettings
from outlast.settings_audit import AuditSettings
from outlast.settings_auth import AuthSettings
from outlast.settings_budgets import BudgetSettings
from outlast.settings_encryption import EncryptionSettings
from outlast.settings_escalation import EscalationSettings
from outlast.settings_inbox import InboxSettings
from outlast.settings_logs import LogSettings
from outlast.settings_metrics import MetricsSettings
from outlast.settings_notifications import NotificationSettings
from outlast.settings_policies import PolicySettings
from outlast.settings_retention import RetentionSettings
from outlast.settings_slo import SloSettings
from outlast.settings_tracing import TracingSettings
from outlast.settings_validation import ValidationSettings


class DatabaseSettings(Branch):
    """Where the state is."""

    url: str = Field(
        default="", repr=False, description="PostgreSQL URL or DSN; empty: a private server in `.outlast/`"
    )
    # Lower case letters only: it goes into search_path, and a quoted name would surprise every other tool.
    schema_name: Annotated[
        str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="the schema that holds everything of ours")
    ] = "outlast"
    pool_size: Annotated[int, Field(ge=1, le=200, description="connections per process for short statements")] = 8
    pool_timeout_seconds: Annotated[float, Field(gt=0, description="wait for a connection before 503")] = 5.0
    statement_timeout_ms: Annotated[int, Field(ge=0, description="longest statement the server may run")] = 15_000
    pooler: bool = Field(default=False, description="a transaction pooler is between: no prepared statements")


class WorkerSettings(Branch):
    """How a worker runs runs, and when it is believed to be dead."""

    concurrency: Annotated[int, Field(ge=1, le=1000, description="runs at the same time in one process")] = 32
    lease: timedelta = Field(default=timedelta(seconds=15), description="silence after which a worker is dead")
    heartbeat: timedelta = Field(default=timedelta(seconds=1), description="how often it says that it lives")
    drain: timedelta = Field(default=timedelta(seconds=25), description="after SIGTERM, for steps to end")
    poll: timedelta = Field(default=timedelta(seconds=1), description="look at the queue at least this often")
    hang: timedelta = Field(default=timedelta(minutes=5), description="event loop silent this long: exit")
    run_timeout: timedelta | None = Field(default=None, description="default limit for one attempt of a run")
    recursion_limit: Annotated[
        int, Field(ge=1, description="steps of one attempt, unless the run or the graph itself sets a limit")
    ] = 25
    isolate_memory_mb: Annotated[int, Field(ge=128, description="address space of a suspect run")] = 4096

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        # Two lost heartbeats must not cost a healthy worker its runs.
        if self.lease < self.heartbeat * 3:
            msg = f"worker.lease ({self.lease}) must be at least three times worker.heartbeat ({self.heartbeat})"
            raise ValueError(msg)
        return self


class RetrySettings(Branch):
    """What happens after an attempt fails or its worker dies."""

    max_attempts: Annotated[int, Field(ge=1, le=100, description="attempts that may end in an error")] = 3
    base: timedelta = Field(default=timedelta(seconds=1), description="backoff ceiling after the first error")
    cap: timedelta = Field(default=timedelta(minutes=5), description="largest backoff")
    max_crashes: Annotated[int, Field(ge=1, le=100, description="dead workers before the run is a dead letter")] = 3


class RecoverySettings(Branch):
    """How dead workers are found."""

    scan: timedelta = Field(default=timedelta(milliseconds=500), description="how often to look")
    batch: Annotated[int, Field(ge=1, description="most runs taken from dead workers per scan")] = 200
    silent: timedelta = Field(
        default=timedelta(minutes=10), description="a run that has saved nothing for so long is reported as stuck"
    )
    replay: tuple[str, ...] = Field(
        default=(), description="errors (as `provider_unavailable`) whose failed runs are replayed without a person"
    )
    replays: Annotated[int, Field(ge=1, le=100, description="most such replays of one run")] = 3
    replay_after: timedelta = Field(
        default=timedelta(minutes=10), description="from the failure to the first of them; twice as long each time"
    )
    replays_per_minute: Annotated[int, Field(ge=1, le=60_000, description="of all runs and all workers")] = 60


class ServerSettings(Branch):
    """The HTTP API."""

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: Annotated[int, Field(ge=0, le=65535, description="0: any free one")] = 8123
    max_body_bytes: Annotated[int, Field(ge=1024, description="larger requests get 413")] = 8 * 1024 * 1024
    max_depth: Annotated[int, Field(ge=4, description="deeper JSON gets 422")] = 64
    max_head_bytes: Annotated[int, Field(ge=1024, description="a larger request line with headers gets 431")] = (
        32 * 1024
    )
    head_timeout: timedelta = Field(default=timedelta(seconds=10), description="a request's headers are there by then")
    stall_timeout: timedelta = Field(
        default=timedelta(seconds=20), description="a client that moves next to nothing for so long is cut"
    )
    min_bytes_per_second: Annotated[
        int, Field(ge=0, description="less of a body that comes, or of an answer that is taken, is next to nothing")
    ] = 256
    keep_alive: timedelta = Field(default=timedelta(seconds=20), description="a connection without a request is closed")
    max_connections: Annotated[int, Field(ge=1, description="more are closed at once")] = 4096
    max_connections_per_address: Annotated[
        int | None, Field(ge=1, description="the same for one address; behind a proxy all are one")
    ] = None
    thread_values_bytes: Annotated[int, Field(ge=0, description="larger states are kept as checkpoints only")] = 2**20
    wait: timedelta = Field(default=timedelta(seconds=60), description="longest time a request waits for a run")
    allow_anonymous: bool = Field(default=False, description="serve other machines without any auth")
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="proxies whose X-Forwarded-For is believed, as 10.0.0.0/8"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="names, besides localhost, by which a server without auth may be called"
    )
    studio: bool = Field(default=False, description="believe whoever says to be LangGraph Studio, without a proof")


class CheckpointSettings(Branch):
    """The checkpointer."""

    max_value_bytes: Annotated[int, Field(ge=1024, description="largest stored value")] = 16 * 1024 * 1024
    cache_bytes: Annotated[int, Field(ge=0, description="stored values kept in memory")] = 64 * 1024 * 1024


class WebhookSettings(Branch):
    """How ends of runs are reported to the addresses that runs name."""

    secret: Secret = Field(default=Secret(), description="whsec_...; empty: a random one, in the table `secrets`")
    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="addresses that are allowed though not public, as 10.0.0.0/8"
    )
    poll: timedelta = Field(default=timedelta(seconds=1), description="look for reports at least this often")
    timeout: timedelta = Field(default=timedelta(seconds=10), description="for one attempt")
    base: timedelta = Field(default=timedelta(seconds=5), description="backoff ceiling after the first attempt")
    cap: timedelta = Field(default=timedelta(hours=6), description="largest backoff")
    give_up: timedelta = Field(default=timedelta(hours=24), description="age of a report that is tried no more")


class RateSettings(Branch):
    """What a provider, or one model of it, allows; None: no limit of ours."""

    requests_per_minute: Annotated[int | None, Field(ge=1, description="requests, of all processes together")] = None
    tokens_per_minute: Annotated[int | None, Field(ge=1, description="tokens, of all processes together")] = None
    burst: timedelta = Field(
        default=timedelta(seconds=1), ge=timedelta(0), le=timedelta(minutes=1),
        description="so much of the rate may pass at once",
    )  # fmt: skip


class BreakerSettings(Branch):
    """When a model is left alone because it fails, for all processes together."""

    failures: Annotated[int, Field(ge=1, description="failures in the window that open it, at least")] = 5
    ratio: Annotated[float, Field(gt=0, le=1, description="share of the window's calls that failed")] = 0.5
    window: timedelta = Field(default=timedelta(seconds=10), description="what is looked back on")
    open: timedelta = Field(default=timedelta(seconds=2), description="until the first probe; doubles with each one")
    longest: timedelta = Field(default=timedelta(seconds=30), description="longest time between probes")


class CallRetrySettings(Branch):
    """Tries of one call at one model, by kind of error; each figure counts the first try."""

    timeout: Annotated[int, Field(ge=1, le=10, description="tries when no answer comes in time")] = 3
    rate_limit: Annotated[int, Field(ge=1, le=50, description="tries when the provider says 429")] = 8
    network: Annotated[int, Field(ge=1, le=10, description="tries after a lost connection, 502, 503 or 504")] = 3
    bad_answer: Annotated[int, Field(ge=1, le=10, description="tries when the answer breaks off or is broken")] = 2
    base: timedelta = Field(default=timedelta(milliseconds=500), description="backoff ceiling after the first error")
    cap: timedelta = Field(default=timedelta(seconds=20), description="largest backoff")
    budget: Annotated[float, Field(ge=0, le=1, description="retries per call, per provider and minute")] = 0.1
    allowance: Annotated[int, Field(ge=0, description="retries per minute that are always allowed")] = 10


class CacheSettings(Branch):
    """Answers of temperature-0 calls, kept for equal questions of the same tenant."""

    enabled: bool = Field(default=False, description="keep them, unless a model says cache=False")
    ttl: timedelta = Field(default=timedelta(hours=24), description="how long an answer is kept")
    redis_url: str = Field(default="", repr=False, description="redis:// or valkey://; empty: in PostgreSQL")
    max_bytes: Annotated[int, Field(ge=1024, description="larger answers are not kept")] = 1024 * 1024


class CapSettings(Branch):
    """Where a run is stopped because it runs away; None: nowhere."""

    turns: Annotated[int | None, Field(ge=1, description="model calls of one run")] = 200
    tokens: Annotated[int | None, Field(ge=1, description="input and output, what is read again included")] = None
    cost_usd: Annotated[float | None, Field(gt=0, description="US dollars; unpriced calls are not in it")] = None
    seconds: Annotated[
        float | None, Field(gt=0, description="since the first claim, or since a person answered or replayed the run")
    ] = None


class AgentCallSettings(Branch):
    """What is different for the calls of one agent; what is not given is as in `calls`."""

    caps: CapSettings = CapSettings()


class PriceSettings(Branch):
    """A price of the project's own, US dollars per million tokens; it wins over the price list."""

    input: Annotated[float, Field(ge=0, description="of the question")]
    output: Annotated[float, Field(ge=0, description="of the answer")]
    cache_read: Annotated[float | None, Field(ge=0, description="read from the provider's cache; none: as input")] = (
        None
    )
    cache_write: Annotated[float | None, Field(ge=0, description="taken into that cache; none: as input")] = None


class ToolSettings(Branch):
    """How tools are called by `outlast.middleware()`."""

    timeout: timedelta = Field(default=timedelta(seconds=60), description="for one call of a tool")
    max_result_bytes: Annotated[int, Field(ge=256, description="longer results are cut, and say so")] = 100_000
    read_tries: Annotated[int, Field(ge=1, le=10, description="tries of tools that only read")] = 3


class EffectSettings(Branch):
    """Writes to the outside by `outlast.effect`."""

    timeout: timedelta = Field(default=timedelta(seconds=60), description="one call, unless the effect says otherwise")
    # Less than a worker that has to stop gives its runs.
    grace: timedelta = Field(default=timedelta(seconds=2), description="for a call in flight when its run is stopped")
    tries: Annotated[int, Field(ge=1, le=20, description="calls with one key in a step, on_unknown='retry'")] = 3
    base: timedelta = Field(default=timedelta(milliseconds=500), description="backoff ceiling after the first try")
    cap: timedelta = Field(default=timedelta(seconds=20), description="largest backoff")


class CallSettings(Branch):
    """Calls of models, tools and effects."""

    timeout: timedelta = Field(default=timedelta(minutes=10), description="a call with all its tries and waits")
    try_timeout: timedelta = Field(default=timedelta(minutes=2), description="one try, or the pause in a stream")
    shortest_try: timedelta = Field(default=timedelta(seconds=1), description="with less left, no try is begun")
    wait: timedelta = Field(default=timedelta(minutes=2), description="longest wait for an open breaker or a limit")
    fallback_price_ratio: Annotated[
        float | None, Field(gt=0, description="fallbacks that cost more, times the preferred model, are skipped")
    ] = None
    mend_history: bool = Field(default=True, description="pair tool calls and results before each model call")
    trim: bool | Annotated[int, Field(ge=256)] = Field(
        default=False, description="leave out the oldest messages: true = to the models' window, or a count of tokens"
    )
    retry: CallRetrySettings = CallRetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    #: By provider (`openai`) or model (`openai:gpt-4o`); both apply.
    limits: dict[str, RateSettings] = Field(default_factory=dict[str, RateSettings])
    cache: CacheSettings = CacheSettings()
    caps: CapSettings = CapSettings()
    agents: dict[str, AgentCallSettings] = Field(
        default_factory=dict[str, AgentCallSettings], description="by name of the agent: what differs for its calls"
    )
    #: By model (`openai:my-model`).
    prices: dict[str, PriceSettings] = Field(default_factory=dict[str, PriceSettings])
    tools: ToolSettings = ToolSettings()
    effects: EffectSettings = EffectSettings()


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
    audit: AuditSettings = AuditSettings()
    calls: CallSettings = CallSettings()
    auth: AuthSettings = AuthSettings()
    admission: AdmissionSettings = AdmissionSettings()
    limits: LimitSettings = LimitSettings()
    policies: PolicySettings = PolicySettings()
    budgets: BudgetSettings = BudgetSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    validation: ValidationSettings = ValidationSettings()
    escalation: EscalationSettings = EscalationSettings()
    notifications: NotificationSettings = NotificationSettings()
    inbox: InboxSettings = InboxSettings()
    slo: SloSettings = SloSettings()
    alerts: AlertSettings = AlertSettings()
    metrics: MetricsSettings = MetricsSettings()
    anomalies: AnomalySettings = AnomalySettings()
    tracing: TracingSettings = TracingSettings()
    logs: LogSettings = LogSettings()
    fault: str = Field(default="", description="fault injection for tests, see outlast.telemetry")


def load(*, project: Mapping[str, Any] | None = None, arguments: Mapping[str, Any] | None = None) -> Settings:
    """Build the tree; raises ConfigurationError that names the setting that is wrong.

    `project` holds the tables of the project file, `arguments` what the command line gave, both shaped like the tree.
    """
    variables = setting_files.from_files(os.environ, _file_names())
    url = variables.get("DATABASE_URL")
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
            return init_settings, _reading(env_settings, variables), *weaker

    unknown = setting_names.unknown_variables(Settings, variables) + setting_names.unknown_tables(Settings, below[1])
    if unknown:
        raise ConfigurationError(f"settings: {'; '.join(unknown)}")
    try:
        return Loaded(**dict(arguments or {}))
    except ValidationError as error:
        problems = "; ".join(setting_names.explained(Settings, item) for item in error.errors())
        raise ConfigurationError(f"settings: {problems}") from error


def _file_names() -> list[str]:
    """Return every variable that a file may give as well, by `X_FILE`."""
    known = (setting.variable for setting in setting_names.settings_of(Settings))
    named = setting_names.named_secrets(Settings, os.environ)
    return ["DATABASE_URL", *(variable for variable in known if variable is not None), *named]


def _reading(source: PydanticBaseSettingsSource, variables: Mapping[str, str]) -> PydanticBaseSettingsSource:
    """Let pydantic's source of environment variables read these."""
    assert isinstance(source, EnvSettingsSource)  # noqa: S101 - what pydantic-settings makes
    source.env_vars = {name.lower(): value for name, value in variables.items()}
    return source


def environment() -> Mapping[str, str]:
    """Return the environment, for what a project's file refers to."""
    return MappingProxyType(os.environ)


def counted_in() -> Path | None:
    """Return where processes of this machine count together, by the variable that all of Prometheus' clients read."""
    given = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(given) if given else None


def count_in(directory: Path) -> None:
    """Have this process, and those that it starts, count there."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


def apply_environment(values: Mapping[str, str]) -> None:
    """Set the project's `env` for user code; what the process was started with wins. Keys in files are read."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
    setting_files.apply_key_files(os.environ)
