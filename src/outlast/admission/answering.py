"""The run that goes on with answers, where the one that asked has ended: a run of the Agent Server API."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.admission.gate import Gate
from outlast.domain.run import NewRun, RunStatus, RunView
from outlast.queues.queue import RunQueue
from outlast.storage.postgres.inbox import Ruled


def resuming(view: RunView, answers: Mapping[str, Any]) -> NewRun:
    """Return the run that answers what another one has asked; it goes on as that one would have."""
    return NewRun(
        id=uuid_utils.uuid7(), thread_id=view.thread_id, agent=view.agent, input=None, config=view.config,
        metadata=view.metadata, priority=view.priority, max_attempts=view.max_attempts,
        options=replace(view.options, command={"resume": answers}, checkpoint=None, live=False),
        assistant_id=view.assistant_id, temporary=view.temporary, webhook=view.webhook,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answering:
    """What the inbox needs of the queue, and of what decides whether runs may start."""

    queue: RunQueue
    #: None on the command line: whoever has the database is not asked whether runs may start.
    gate: Gate | None

    async def prepare(self, run_id: UUID, answers: Mapping[str, Any]) -> NewRun:
        """Return the run that goes on with the answers, let in; raises NotFound, AdmissionRefused."""
        run = resuming(await self.queue.store.get(run_id), answers)
        return run if self.gate is None else await self.gate.decide(run)

    def tell(self, run_id: UUID, ruled: Ruled) -> None:
        """Tell whoever is concerned, once it is committed."""
        if ruled.admission is not None:
            self.queue.tell(ruled.admission)
        elif ruled.status is not None:
            self.queue.tell_answered(run_id, ended=ruled.status is not RunStatus.QUEUED)
