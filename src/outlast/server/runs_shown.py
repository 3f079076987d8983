"""What the API's description says of a run."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from outlast.domain.wire import WireStatus


class RunShown(BaseModel):
    """A run. `kwargs` is what the graph was called with."""

    run_id: UUID
    thread_id: str
    assistant_id: UUID
    created_at: datetime
    updated_at: datetime
    status: WireStatus
    metadata: dict[str, Any]
    kwargs: dict[str, Any]
    multitask_strategy: Literal["reject", "enqueue", "interrupt", "rollback"]
    cancel_reason: str | None
