"""What happens at this moment, for people who watch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("top")
_METRICS, _WORKERS, _BREAKERS = Queries("metrics"), Queries("workers"), Queries("breakers")
#: In this order; sent together, in one round trip.
_FIGURES: Final = (
    _METRICS.runs, _METRICS.dead_letters, _SQL.ended, _SQL.running, _SQL.calls, _WORKERS.live, _METRICS.questions,
    _BREAKERS.states, _SQL.alerts, _SQL.anomalies,
)  # fmt: skip
#: The seconds over which what has ended is counted.
MINUTE: Final = 60

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Runs that ended in the last minute, and in each second of it, the oldest first."""

    good: int
    failed: int
    cancelled: int
    by_second: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCalls:
    """Calls of models in the last minute; `cached` of the answered ones came from the cache."""

    answered: int
    failed: int
    cached: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedWorker:
    """A process that executes runs."""

    host: str
    pid: int
    state: str
    running: int
    concurrency: int
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that is not as it should be."""

    severity: str
    #: The rule of an alert, the kind of an anomaly.
    name: str
    #: What of: of an alert as `agent=support`; of an anomaly, the agent.
    subject: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFigures:
    """Runs of an agent that ended in the last five minutes."""

    #: None: of all agents.
    agent: str | None
    runs: int
    errors: int
    p50_seconds: float
    p95_seconds: float
    first_byte_p95_seconds: float | None
    tokens: int
    cost_usd: float
    tool_calls: int
    tool_errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything, of the tenant on whose behalf the context acts, or of all; workers and models are of all."""

    #: Of runs that have not ended, by status; later: queued, and not due yet.
    runs: Mapping[str, int]
    oldest_queued_seconds: float
    dead_letters: int
    ended: Ended
    #: By agent.
    running: Mapping[str, int]
    calls: ModelCalls
    workers: Sequence[WatchedWorker]
    #: Open questions, by kind.
    questions: Mapping[str, int]
    oldest_question_seconds: float
    #: Models that are left alone because they fail.
    left_alone: Sequence[str]
    alerts_firing: int
    #: The five worst ones.
    alerts: Sequence[Notice]
    anomalies_open: int
    anomalies: Sequence[Notice]
    #: All together first; empty while nothing has ended.
    agents: Sequence[AgentFigures] = field(default=())


class TopStore:
    """Reads it: cheap enough for once a second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def figures(self, agents: Sequence[AgentFigures] = ()) -> Figures:
        """Return what happens now, with these figures of agents, which are read apart."""
        async with self._pool.pipelined() as connection:
            cursors = [await connection.execute(statement) for statement in _FIGURES]
        rows = [cast("list[Row]", await cursor.fetchall()) for cursor in cursors]
        runs, dead, ended, running, calls, workers, questions, breakers, alerts, anomalies = rows
        return Figures(
            runs={status: count for status, count, _ in runs},
            oldest_queued_seconds=max((age for *_, age in runs), default=0.0),
            dead_letters=sum(count for _, count, _ in dead),
            ended=_ended(ended),
            running=dict(cast("list[tuple[str, int]]", running)),
            calls=_calls(calls[0]),
            workers=[_worker(row) for row in workers],
            questions={kind: count for kind, count, _ in questions},
            oldest_question_seconds=max((age for *_, age in questions), default=0.0),
            left_alone=[model for model, count in breakers if count],
            alerts_firing=alerts[0][0] if alerts else 0,
            alerts=[_notice(row) for row in alerts],
            anomalies_open=anomalies[0][0] if anomalies else 0,
            anomalies=[_notice(row) for row in anomalies],
            agents=agents,
        )

    async def agents(self) -> list[AgentFigures]:
        """Return the last five minutes of the agents that had most to do, at most 15; before them, all together."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.agents)).fetchall()
        return [_agent(row) for row in rows]


def _ended(rows: Sequence[Row]) -> Ended:
    seconds = [0] * MINUTE
    for ago, *counts in rows:
        seconds[MINUTE - 1 - min(ago, MINUTE - 1)] += sum(counts)
    good, failed, cancelled = (sum(row[place] for row in rows) for place in (1, 2, 3))
    return Ended(good=good, failed=failed, cancelled=cancelled, by_second=seconds)


def _calls(row: Row) -> ModelCalls:
    answered, failed, cached, input_tokens, output_tokens, cost_micros = row
    return ModelCalls(
        answered=answered, failed=failed, cached=cached, input_tokens=input_tokens, output_tokens=output_tokens,
        cost_usd=cost_micros / 1_000_000,
    )  # fmt: skip


def _worker(row: Row) -> WatchedWorker:
    _, host, pid, concurrency, running, state, _, _, age_seconds = row
    return WatchedWorker(
        host=host, pid=pid, state=state, running=running, concurrency=concurrency, age_seconds=age_seconds
    )


def _notice(row: Row) -> Notice:
    _, severity, name, subject, text, seconds = row
    return Notice(severity=severity, name=name, subject=subject, text=text, seconds=seconds)


def _agent(row: Row) -> AgentFigures:
    agent, runs, errors, (p50, p95), first_byte, tokens, cost, tool_calls, tool_errors = row
    return AgentFigures(
        agent=agent, runs=runs, errors=errors, p50_seconds=p50, p95_seconds=p95, first_byte_p95_seconds=first_byte,
        tokens=tokens, cost_usd=cost, tool_calls=tool_calls, tool_errors=tool_errors,
    )  # fmt: skip
