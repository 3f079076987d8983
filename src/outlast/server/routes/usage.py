"""What model calls cost, summed by whatever is asked for."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Self, cast
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request

from outlast.admission.names import check_name
from outlast.errors import InvalidInput
from outlast.server.auth.access import Access, allowed
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.usage import Dimension, UsageQuery, UsageRow

router = APIRouter(tags=["usage"], route_class=JsonRoute, responses=DOCUMENTED)

_DEFAULT_RANGE: Final = timedelta(days=30)


def _separate(value: Any) -> Any:
    """Take `by=day,model` for `by=day&by=model`."""
    if not isinstance(value, list):
        return value
    return [
        part for item in cast("list[Any]", value) for part in (item.split(",") if isinstance(item, str) else [item])
    ]


# PostgreSQL's text holds no NUL.
Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]


class UsageParameters(BaseModel):
    """Which usage is wanted. A misspelt parameter is refused: it would widen what is summed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Annotated[
        list[Dimension], BeforeValidator(_separate), Field(max_length=8, description="what is summed by; also by=a,b")
    ] = []
    since: Annotated[
        datetime | None,
        Field(
            alias="from", description="UTC unless it says otherwise; the last 30 days without both, and run or thread"
        ),
    ] = None
    until: Annotated[datetime | None, Field(alias="to", description="up to this moment, which is not in it")] = None
    run_id: UUID | None = None
    thread_id: Text | None = None
    user: Text | None = None
    agent: Text | None = None
    model: Annotated[Text | None, Field(description="by its own name, as gpt-4o, without the provider")] = None
    provider: Text | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000

    def query(self, value: dict[str, Any], access: Access) -> UsageQuery:
        """Return it for the store; raises InvalidInput."""
        since, until = _aware(self.since), _aware(self.until)
        if since is None and until is None and self.run_id is None and self.thread_id is None:
            since = datetime.now(UTC) - _DEFAULT_RANGE
        if since is not None and until is not None and since >= until:
            raise InvalidInput("to has to come after from", field="to")
        return UsageQuery(
            by=tuple(dict.fromkeys(self.by)),
            after=since,
            before=until,
            run_id=self.run_id,
            thread_id=None if self.thread_id is None else _thread_id(self.thread_id),
            user=self.user,
            agent=self.agent,
            model=self.model,
            provider=self.provider,
            access=access,
            metadata=value.get("metadata"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBody:
    """Sums over model calls; a field that was not grouped by is null."""

    day: date | None
    tenant: str | None
    user: str | None
    agent: str | None
    provider: str | None
    model: str | None
    run_id: UUID | None
    thread_id: str | None
    calls: int
    cached: int
    failed: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: str
    saved_usd: str
    unpriced_calls: int

    @classmethod
    def of(cls, row: UsageRow) -> Self:
        """Render it."""
        return cls(
            day=row.day,
            tenant=row.tenant,
            user=row.user,
            agent=row.agent,
            provider=row.provider,
            model=row.model,
            run_id=row.run_id,
            thread_id=row.thread_id,
            calls=row.calls,
            cached=row.cached,
            failed=row.failed,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cache_read_tokens=row.cache_read_tokens,
            cache_write_tokens=row.cache_write_tokens,
            reasoning_tokens=row.reasoning_tokens,
            cost_usd=row.cost_usd,
            saved_usd=row.saved_usd,
            unpriced_calls=row.unpriced,
        )


class UsageReport(BaseModel):
    """The sums, the newest day first, then what cost most; `more` says that there are others beyond the limit."""

    since: Annotated[datetime | None, Field(alias="from")]
    until: Annotated[datetime | None, Field(alias="to")]
    by: list[Dimension]
    rows: list[UsageBody]
    more: bool


@router.get("/usage", response_model=UsageReport)
async def usage(request: Request, runtime: CurrentRuntime, wanted: Annotated[UsageParameters, Query()]) -> Json:
    """Return what model calls used and cost.

    `calls` were answered, `cached` of them out of the cache, which saved `saved_usd`; `failed` counts tries. `cost_usd`
    is a sum without the `unpriced_calls`, whose price nobody knows. What is older than `retention.usage` is known by
    day, not by run or thread. Where the project's auth decides about threads, this is the usage of those that the
    caller may search.
    """
    value, access = await allowed(request, "threads", "search", {"metadata": {}, "limit": wanted.limit, "offset": 0})
    query = wanted.query(value, access)
    found = await runtime.usage.summary(query, limit=wanted.limit + 1)
    rows = [UsageBody.of(row) for row in found[: wanted.limit]]
    more = len(found) > wanted.limit
    return Json({"from": query.after, "to": query.before, "by": query.by, "rows": rows, "more": more})


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _thread_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        return check_name(text, field="thread_id")
