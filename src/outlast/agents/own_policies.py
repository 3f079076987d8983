"""The policies of a project, its own ones included, and the kill switches, as a process asks them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from outlast.agents.loading import load_attribute
from outlast.agents.project import Project
from outlast.policies.building import build
from outlast.policies.engine import PolicyEngine
from outlast.policies.policing import Policing
from outlast.policies.switchboard import Switchboard
from outlast.queues.wakeup import SWITCHED, Wakeup
from outlast.settings_policies import PolicySettings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.switches import SwitchStore


@asynccontextmanager
async def policing(
    settings: PolicySettings, project: Project, pool: Pool, wakeup: Wakeup, audit: AuditLog | None = None
) -> AsyncGenerator[Policing]:
    """Open what is asked before something is done; raises ConfigurationError for whatever is wrong with a policy."""
    store = SwitchStore(pool)
    board = Switchboard(store, look_seconds=settings.switch_look.total_seconds())
    engine = engine_of(settings, project)
    opened = Policing(settings=settings, engine=engine, board=board, hold=store.hold, audit=audit)
    unsubscribe = wakeup.subscribe(lambda topic, _ids: board.look_again() if topic == SWITCHED else None)
    try:
        yield opened
    finally:
        unsubscribe()
        await opened.aclose()


def engine_of(settings: PolicySettings, project: Project) -> PolicyEngine:
    """Return the policies in their order; raises ConfigurationError."""

    def load(place: str) -> object:
        _, found = load_attribute(project, project.target("policies.order", place))
        return found

    return PolicyEngine(build(settings, load=load), timeout_seconds=settings.timeout.total_seconds())
