"""What the database knows, in figures: the same whoever asks."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from outlast.domain.notification import SEVERITIES
from outlast.monitoring.metrics import of_calls, of_people, of_runs, of_service
from outlast.monitoring.metrics.figure import OTHER, Figure
from outlast.monitoring.metrics.sample import Sample
from outlast.monitoring.slo.samples import samples
from outlast.settings import Settings
from outlast.storage.postgres.alerts import AlertStore
from outlast.storage.postgres.breakers import breaker_states
from outlast.storage.postgres.metrics import Backlog, backlog, budget_use
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.workers import WorkerStore

Source: TypeAlias = Callable[[Pool, Settings], Awaitable[list[Sample]]]


async def figures(pool: Pool, settings: Settings) -> list[Sample]:
    """Read everything; raises DatabaseUnavailable when the server does not answer."""
    return [sample for source in SOURCES for sample in await source(pool, settings)]


async def _work(pool: Pool, _settings: Settings) -> list[Sample]:
    load = await backlog(pool)
    return [
        *_by(of_runs.RUNS, load.runs),
        *_by(of_runs.DEAD_LETTERS, load.dead_letters),
        *_by(of_people.OPEN, _of_kinds(load.questions)),
        *_alone(load),
    ]


def _alone(load: Backlog) -> Iterator[Sample]:
    """Ages are rounded to milliseconds."""
    for figure, value in (
        (of_runs.OLDEST_QUEUED, load.oldest_queued_seconds),
        (of_runs.OLDEST_DEAD_LETTER, load.oldest_dead_letter_seconds),
        (of_people.OLDEST, load.oldest_question_seconds),
        (of_people.PENDING, load.notifications),
        (of_people.OLDEST_PENDING, load.oldest_notification_seconds),
        (of_service.WEBHOOKS_PENDING, load.reports),
        (of_service.OLDEST_WEBHOOK, load.oldest_report_seconds),
    ):
        yield Sample(figure.name, {}, round(value, 3))


def _of_kinds(questions: Mapping[str, int]) -> dict[str, int]:
    """Every kind has a figure, so that what is not asked is 0; a kind that an agent made up is none."""
    kinds = of_people.OPEN.labels["kind"] or ()
    counted = dict.fromkeys(kinds, 0)
    for kind, count in questions.items():
        counted[kind if kind in counted else OTHER] += count
    return counted


async def _workers(pool: Pool, settings: Settings) -> list[Sample]:
    lease = settings.worker.lease.total_seconds()
    live = [worker for worker in await WorkerStore(pool).live() if worker.age_seconds < lease]
    slots = sum(worker.concurrency for worker in live)
    return [Sample(of_runs.WORKERS.name, {}, len(live)), Sample(of_runs.SLOTS.name, {}, slots)]


async def _breakers(pool: Pool, _settings: Settings) -> list[Sample]:
    states = await breaker_states(pool)
    return [
        *_by(of_calls.BREAKERS, {model: alone for model, alone, _ in states}),
        *_by(of_calls.BREAKER, {model: state for model, _, state in states}),
    ]


async def _budgets(pool: Pool, settings: Settings) -> list[Sample]:
    budgets = settings.budgets
    rules = {name: rule.period for name, rule in budgets.rules.items()}
    use = await budget_use(pool, rules, zone=budgets.time_zone)
    return [
        Sample(of_calls.BUDGETS.name, {"period": period, "unit": unit}, ratio)
        for period, by_unit in use.items()
        for unit, ratio in zip(("usd", "tokens"), by_unit, strict=True)
        if ratio is not None
    ]


async def _alerts(pool: Pool, _settings: Settings) -> list[Sample]:
    watch = await AlertStore(pool).standing()
    firing = _by(of_people.ALERTS, {severity: watch.firing.get(severity, 0) for severity in SEVERITIES})
    looked = [] if watch.evaluated_at is None else [watch.evaluated_at.timestamp()]
    return [*firing, *(Sample(of_people.EVALUATED.name, {}, at) for at in looked)]


def _by(figure: Figure, values: Mapping[str, float]) -> Iterable[Sample]:
    (label,) = figure.labels
    return (Sample(figure.name, {label: name}, value) for name, value in values.items())


#: In this order.
SOURCES: Final[tuple[Source, ...]] = (_work, _workers, _breakers, _budgets, _alerts, samples)
