"""The composition root: read the settings once, build every service, open and close them in order."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import SystemRandom

from outlast import opening
from outlast.admission.answering import Answering
from outlast.admission.budget_desk import BudgetDesk
from outlast.admission.budgets import BudgetCheck
from outlast.admission.gate import Gate
from outlast.admission.limits import Limits
from outlast.admission.payload import PayloadLimits
from outlast.admission.pipeline import Pipeline
from outlast.admission.policies import policy_stages
from outlast.admission.queue_limits import QueueLimits
from outlast.admission.recording import Recorder
from outlast.admission.switch_desk import SwitchDesk
from outlast.agents.checkpoints import erasing
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.agents.key_providers import encrypted
from outlast.agents.own_validators import validating
from outlast.agents.registry import Project, Registry
from outlast.agents.standing import place_of
from outlast.agents.store.postgres_store import PostgresStore
from outlast.calls.budgets import Budgets
from outlast.calls.cache_redis import clearing
from outlast.calls.services import Calls
from outlast.crons.scheduler import Scheduler
from outlast.domain.admission import Stage
from outlast.domain.webhook import WebhookPolicy
from outlast.errors import ConfigurationError
from outlast.inbox.expiry import Expiry
from outlast.inbox.inbox import Inbox
from outlast.monitoring.anomalies.judge import Judge
from outlast.monitoring.anomalies.outputs import UnusualOutputs
from outlast.monitoring.metrics.sessions import Sessions
from outlast.monitoring.open import monitored
from outlast.monitoring.slo.rollup import Rollup
from outlast.policies.policing import Policing
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.recovery.desk import RecoveryDesk
from outlast.recovery.records import Records
from outlast.recovery.service import Recovery
from outlast.recovery.upkeep import Sweeps, Upkeep
from outlast.settings import Settings, environment
from outlast.storage.postgres import starting
from outlast.storage.postgres.admission import AdmissionStore
from outlast.storage.postgres.anomalies import AnomalyStore
from outlast.storage.postgres.assistants import AssistantStore
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.crons import CronStore
from outlast.storage.postgres.erasure import Erasure
from outlast.storage.postgres.feedback import FeedbackStore
from outlast.storage.postgres.inbox import InboxStore
from outlast.storage.postgres.items import ItemStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.resealing import Resealing
from outlast.storage.postgres.retention import RetentionStore
from outlast.storage.postgres.reviews import ReviewStore
from outlast.storage.postgres.secrets import SharedSecrets
from outlast.storage.postgres.switches import SwitchStore
from outlast.storage.postgres.threads import ThreadStore
from outlast.storage.postgres.usage import UsageStore
from outlast.storage.postgres.webhooks import WebhookStore
from outlast.storage.postgres.workers import WorkerStore
from outlast.streams.hub import EventHub
from outlast.validation.engine import Validation
from outlast.webhooks.guard import Outbound
from outlast.webhooks.sender import Post, WebhookSender
from outlast.webhooks.signing import WEBHOOK_SECRET, parse_secret
from outlast.workers import alerting, notifying
from outlast.workers.executor import Executor, Isolate
from outlast.workers.reviewing import Reviewer
from outlast.workers.summing import Summing
from outlast.workers.worker import Worker

log = logging.getLogger(__name__)

# With one of them LangSmith takes traces.
_TRACING_KEYS = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything a process of Outlast is made of."""

    settings: Settings
    project: Project
    registry: Registry
    pool: Pool
    wakeup: Wakeup
    queue: RunQueue
    threads: ThreadStore
    assistants: AssistantStore
    workers: WorkerStore
    saver: Checkpointer
    store: PostgresStore
    crons: CronStore
    hub: EventHub
    secrets: SharedSecrets
    feedback: FeedbackStore
    calls: Calls
    usage: UsageStore
    admission: AdmissionStore
    recorder: Recorder
    audit: AuditLog
    validation: Validation

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, project: Project, *, application_name: str) -> "AsyncGenerator[Runtime]":
        """Open on a database whose schema is current, and close in reverse order.

        Raises DatabaseSetupError when migrations are missing, DatabaseUnavailable when there is no server.
        """
        database = settings.database
        await starting.require_current_schema(database)
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(opening.opened(Pool(database, application_name=application_name)))
            codec = Codec(max_value_bytes=settings.checkpoint.max_value_bytes)
            # Before anything is read: what is encrypted is of no use without its keys.
            await stack.enter_async_context(encrypted(pool, settings.encryption, project))
            # Closed after what it listens to.
            await stack.enter_async_context(monitored(settings, pool, agents=project.agents))
            saver = await stack.enter_async_context(opening.saver(settings, pool, codec))
            wakeup = await stack.enter_async_context(Wakeup(database).running())
            store = PostgresStore.of_project(ItemStore(pool), project)
            registry = Registry(project, store=store)
            stack.push_async_callback(registry.aclose)
            # After what it is built on, and closed before it: streams end first, then what they read from.
            hub = await stack.enter_async_context(EventHub(database, pool, wakeup).running())
            admission = AdmissionStore(pool)
            audit = AuditLog(pool, settings.audit.key.reveal().encode())
            recorder = Recorder(admission, record=settings.admission.record)
            stack.push_async_callback(recorder.aclose)
            assistants = AssistantStore(pool)
            await assistants.ensure({name: agent.description for name, agent in project.agents.items()})
            yield cls(
                settings=settings,
                project=project,
                registry=registry,
                pool=pool,
                wakeup=wakeup,
                queue=RunQueue(opening.run_store(pool, settings), wakeup, audit=audit),
                threads=ThreadStore(pool, erasing, values_bytes=settings.server.thread_values_bytes),
                assistants=assistants,
                workers=WorkerStore(pool),
                saver=saver,
                store=store,
                crons=CronStore(pool),
                hub=hub,
                secrets=SharedSecrets(pool),
                feedback=FeedbackStore(pool),
                usage=UsageStore(pool),
                admission=admission,
                recorder=recorder,
                audit=audit,
                validation=await stack.enter_async_context(validating(settings.validation, project)),
                calls=await stack.enter_async_context(opening.calls(settings, project, pool, codec, wakeup, audit)),
            )

    def gate(self) -> Gate:
        """Build what decides whether a run may start."""
        server = self.settings.server
        return Gate(
            self.queue,
            agents=self.registry.names,
            limits=PayloadLimits(max_bytes=server.max_body_bytes, max_depth=server.max_depth),
            max_attempts=self.settings.retry.max_attempts,
            webhooks=self.webhook_policy,
            tracing=any(environment().get(key) for key in _TRACING_KEYS),
            pipeline=Pipeline(self._stages(), self.recorder, audit=self.audit),
        )

    def _stages(self) -> list[Stage]:
        """Build what is asked about each run, in order."""
        limits = Limits(self.admission, self.settings.limits)
        return [
            Stage("limits", limits.decide, limits.decide_all, limits.decide_stored),
            *policy_stages(self.policing),
            Stage("budgets", BudgetCheck(self.budgets).decide),
            Stage("queue", QueueLimits(self.admission, self.settings.limits).decide),
        ]

    def executor(self, *, isolate: Isolate | None = None) -> Executor:
        """Build what takes one run from claim to settlement."""
        return Executor(
            self.queue,
            self.registry,
            self.saver,
            self.hub,
            store=self.store,
            calls=self.calls,
            worker=self.settings.worker,
            retry=self.settings.retry,
            rng=SystemRandom(),
            isolate=isolate,
            summing=Summing(self.settings.escalation, looks=self.settings.anomalies.enabled),
            reviewer=Reviewer(
                ReviewStore(self.pool),
                self.validation,
                self.settings.escalation,
                agents=self.registry.names,
                anomalies=UnusualOutputs(AnomalyStore(self.pool), self.settings.anomalies, self.settings.escalation),
            ),
        )

    def worker(self, *, isolate: Isolate | None = None) -> Worker:
        """Build the worker of this process."""
        return Worker(
            self.queue,
            self.workers,
            self.executor(isolate=isolate),
            agents=self.registry.names,
            database=self.settings.database,
            settings=self.settings.worker,
            retry=self.settings.retry,
        )

    @property
    def webhook_policy(self) -> WebhookPolicy:
        """Which addresses runs may name, by the project and by the settings."""
        return replace(self.project.sections.webhook_policy, networks=self.settings.webhooks.networks)

    def webhook_sender(self, post: Post, *, own: bool) -> WebhookSender:
        """Build what reports ended runs: to paths of the API itself (`own`), or to other hosts."""
        settings = self.settings.webhooks
        given = parse_secret(settings.secret.reveal()) if settings.secret else None

        async def secret() -> bytes:
            return given or await self.secrets.get(WEBHOOK_SECRET)

        return WebhookSender(
            WebhookStore(self.pool),
            self.queue.store.get,
            post,
            own=own,
            policy=self.webhook_policy,
            headers=self.project.sections.webhooks.resolved_headers(environment()),
            secret=secret,
            settings=settings,
            rng=SystemRandom(),
        )

    def upkeep(self) -> Upkeep:
        """Build what deletes by age."""
        threads, items = self.project.sections.checkpointer.ttl, self.project.sections.store.ttl
        sweeps = Sweeps(
            threads=_minutes(threads.sweep_interval_minutes) if threads else None,
            most_threads=threads.sweep_limit if threads else 1000,
            items=_minutes(items.sweep_interval_minutes) if items else None,
        )
        settings, store = self.settings, RetentionStore(self.pool, self.threads)
        records = Records(self.pool, self.audit, self.erasure(), settings=settings.audit, retention=settings.retention)
        return Upkeep(
            store, settings.retention, sweeps, more=(*records.jobs(), notifying.forgetting(settings, self.pool))
        )

    def erasure(self) -> Erasure:
        """Build what erases what belongs to somebody."""
        clear = clearing(self.settings.calls.cache.redis_url)
        return Erasure(self.pool, self.threads, self.audit, forget_cache=clear)

    def resealing(self) -> "list[asyncio.Task[None]]":
        """Start what encrypts rows anew after a rotation of keys, where anything is encrypted."""
        settings = self.settings.encryption
        if not self.pool.sealing.on:
            return []
        walk = Resealing(self.pool, settled=settings.refresh * 2, batch=settings.batch)
        return [asyncio.create_task(walk.run(settings.pause), name="outlast-resealing")]

    def scheduler(self) -> Scheduler:
        """Build what starts the runs of crons."""
        return Scheduler(self.crons, self.queue, self.gate(), agents=list(self.registry.names))

    @property
    def policing(self) -> Policing:
        """Policies and kill switches."""
        assert self.calls.policing is not None  # noqa: S101 - see `_calls`
        return self.calls.policing

    def switch_desk(self) -> SwitchDesk:
        """Build what turns things off and on."""
        return SwitchDesk(SwitchStore(self.pool), self.queue, self.audit)

    @property
    def budgets(self) -> Budgets:
        """What runs may spend."""
        assert self.calls.budgets is not None  # noqa: S101 - see `_calls`
        return self.calls.budgets

    def budget_desk(self) -> BudgetDesk:
        """Build what shows and changes budgets, and lets the runs go on that wait for one."""
        return BudgetDesk(self.budgets, self.queue, self.audit)

    def recovery_desk(self) -> RecoveryDesk:
        """Build what shows and deals with dead letters, stuck threads and checkpoints."""
        return RecoveryDesk(
            pool=self.pool, queue=self.queue, threads=self.threads, audit=self.audit,
            look=partial(place_of, self.saver), settings=self.settings.recovery, lease=self.settings.worker.lease,
        )  # fmt: skip

    def inbox(self) -> Inbox:
        """Build what shows the questions to people, and answers them."""
        answering = Answering(self.queue, self.gate())
        return Inbox(
            InboxStore(self.pool, self.queue.store), answering.prepare, answering.tell, self.audit,
            assignee_only=self.settings.inbox.assignee_only,
        )  # fmt: skip

    def expiry(self) -> Expiry:
        """Build what acts on questions that nobody answers."""
        return Expiry(self.inbox(), self.settings.inbox, rng=SystemRandom())

    def recovery(self) -> Recovery:
        """Build the reaper of this process."""
        return Recovery(
            self.queue.store,
            self.workers,
            self.wakeup,
            recovery=self.settings.recovery,
            worker=self.settings.worker,
            retry=self.settings.retry,
            release=self.budgets.release,
        )


async def work(runtime: Runtime, worker: Worker) -> None:
    """Run a worker, and what runs beside one, until the worker has drained."""
    outbound = Outbound(runtime.settings.webhooks.networks, limit=runtime.settings.webhooks.timeout)
    notifier = notifying.notification_sender(
        runtime.settings, runtime.pool, outbound, runs=runtime.queue.store, secrets=runtime.secrets
    )
    beside = [
        asyncio.create_task(runtime.recovery().run(), name="outlast-recovery"),
        asyncio.create_task(runtime.recovery_desk().revival.run(), name="outlast-revival"),
        asyncio.create_task(runtime.upkeep().run(), name="outlast-upkeep"),
        asyncio.create_task(
            Judge(AnomalyStore(runtime.pool), runtime.settings.anomalies).run(), name="outlast-anomalies"
        ),
        asyncio.create_task(Rollup(runtime.pool, runtime.settings.slo).run(), name="outlast-slo"),
        asyncio.create_task(Sessions(runtime.pool, runtime.settings.metrics).run(), name="outlast-sessions"),
        *runtime.resealing(),
        asyncio.create_task(runtime.scheduler().run(), name="outlast-crons"),
        asyncio.create_task(runtime.policing.board.watch(), name="outlast-switches"),
        asyncio.create_task(runtime.expiry().run(), name="outlast-inbox"),
        asyncio.create_task(runtime.webhook_sender(outbound, own=False).run(runtime.wakeup), name="outlast-webhooks"),
        asyncio.create_task(notifier.run(runtime.wakeup), name="outlast-notifications"),
        asyncio.create_task(alerting.evaluator(runtime.settings, runtime.pool, outbound).run(), name="outlast-alerts"),
    ]
    try:
        await worker.run()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await outbound.aclose()


@asynccontextmanager
async def watching(runtime: Runtime) -> AsyncGenerator[None]:
    """Look at the rules of alerts beside an API, and tell people when no worker is there to do it."""
    outbound = Outbound(runtime.settings.webhooks.networks, limit=runtime.settings.webhooks.timeout)
    looking = alerting.evaluator(runtime.settings, runtime.pool, outbound).run()
    tasks = [asyncio.create_task(looking, name="outlast-alerts")]
    try:
        notifier = notifying.notification_sender(
            runtime.settings, runtime.pool, outbound, runs=runtime.queue.store, secrets=runtime.secrets
        )
        telling = notifying.tell_when_alone(notifier, runtime.workers, runtime.settings)
        tasks.append(asyncio.create_task(telling, name="outlast-notifications"))
    except ConfigurationError as error:
        # Workers refuse to start with it. An API can do without: it may lack an extra that only channels need.
        log.warning("this process tells nobody of anything: %s", error)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await outbound.aclose()


def _minutes(minutes: int | None) -> timedelta | None:
    return None if minutes is None else timedelta(minutes=minutes)
