"""What creates and changes a cron, and how one is shown: every field that either SDK can send."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field

from outlast.domain.cron import Cron
from outlast.domain.options import Multitask
from outlast.server.paging import Limit, Offset, SortOrder
from outlast.server.run_bodies import Body, ConfigBody, Name, Names, RunBody, StreamMode
from outlast.storage.postgres.crons import CronSort


def _moment(value: object) -> object:
    """Read ISO 8601; a time without an offset is UTC."""
    if not isinstance(value, str):
        msg = "a time is a text in ISO 8601, as in 2030-01-01T00:00:00Z"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports a ValueError as the field's own
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        msg = f"{value[:100]!r} is no time in ISO 8601"
        raise ValueError(msg) from error


Moment = Annotated[datetime, BeforeValidator(_moment, json_schema_input_type=str)]
Schedule = Annotated[str, Field(min_length=1, max_length=256, description="minute hour day month weekday")]
Zone = Annotated[str, Field(max_length=255, description="a name of the IANA database; UTC without one")]
SelectCron = Literal[
    "cron_id", "assistant_id", "thread_id", "end_time", "schedule", "timezone", "created_at", "updated_at", "user_id",
    "payload", "next_run_date", "metadata", "now", "on_run_completed", "enabled",
]  # fmt: skip


class _CronFields(Body):
    timezone: Zone | None = None
    end_time: Annotated[Moment | None, Field(description="no tick after this")] = None
    enabled: bool | None = None
    on_run_completed: Annotated[
        Literal["delete", "keep"] | None, Field(description="what becomes of a tick's own thread")
    ] = None
    input: Any = None
    metadata: dict[str, Any] | None = None
    config: ConfigBody | None = None
    context: dict[str, Any] | None = None
    webhook: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    interrupt_before: Literal["*"] | Names | None = None
    interrupt_after: Literal["*"] | Names | None = None
    multitask_strategy: Multitask | None = None
    stream_mode: StreamMode | Annotated[list[StreamMode], Field(max_length=50)] | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    checkpoint_during: bool | None = None


class CronBody(_CronFields):
    """A cron that is wanted."""

    schedule: Schedule
    assistant_id: Annotated[Name, Field(description="an assistant's id, or a graph's name for its default assistant")]


class CronPatch(_CronFields):
    """A change of a cron: what is left out stays, null is as if it had never been set, metadata is merged."""

    schedule: Schedule | None = None


class CronFilter(Body):
    """Which crons."""

    assistant_id: Annotated[Name, Field(description="an assistant's id, or a graph's name")] | None = None
    thread_id: Name | None = None
    enabled: bool | None = None
    metadata: Annotated[dict[str, Any] | None, Field(description="what a cron's metadata has to contain")] = None


class CronSearch(CronFilter):
    """Which crons, and which part of them."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: CronSort | None = None
    sort_order: SortOrder | None = None
    select: Annotated[list[SelectCron], Field(max_length=50)] | None = None


class CronShown(BaseModel):
    """A cron. `next_run_date` is null when there is no further tick."""

    cron_id: str
    assistant_id: str
    thread_id: str | None
    user_id: str | None
    schedule: str
    timezone: str | None
    end_time: datetime | None
    enabled: bool
    payload: dict[str, Any]
    next_run_date: datetime | None
    metadata: dict[str, Any]
    on_run_completed: Literal["delete", "keep"] | None
    created_at: datetime
    updated_at: datetime


#: The fields that are the run's own.
RUN_FIELDS: Final = tuple(name for name in CronBody.model_fields if name in RunBody.model_fields)


def run_fields(body: _CronFields) -> dict[str, Any]:
    """Return what a body says of the run, null included where it was sent."""
    return body.model_dump(include=set(RUN_FIELDS), exclude_unset=True)


def payload_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept and shown of the run: what was set."""
    return {name: value for name, value in fields.items() if value is not None}


def cron_shown(cron: Cron) -> dict[str, Any]:
    """Return a cron as clients see it."""
    return {
        "cron_id": cron.id,
        "assistant_id": cron.assistant_id,
        "thread_id": cron.thread_id,
        "user_id": cron.user_id,
        "schedule": cron.timing.schedule,
        "timezone": cron.timing.timezone,
        "end_time": cron.timing.end_at,
        "enabled": cron.timing.enabled,
        "payload": cron.payload,
        "next_run_date": cron.next_run_at,
        "metadata": cron.metadata,
        "on_run_completed": cron.on_run_completed,
        "created_at": cron.created_at,
        "updated_at": cron.updated_at,
    }
