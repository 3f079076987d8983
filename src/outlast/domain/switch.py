"""A kill switch: what is stopped, for whom, why, and by whom."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

#: `tenant`: everything of a tenant; `agent`: its runs of one agent; `tool`: its runs that are about to use one tool (or
#: effect) of this name.
SwitchKind = Literal["tenant", "agent", "tool"]
#: In the place of a tenant: all of them.
EVERYBODY: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Something that is off. What is on has no switch."""

    tenant: str
    kind: SwitchKind
    #: Of the agent or the tool; empty for a whole tenant.
    name: str
    reason: str
    off_by: str | None
    off_at: datetime

    @property
    def what(self) -> str:
        """As people read it."""
        whom = "all tenants" if self.tenant == EVERYBODY else f"tenant {self.tenant}"
        return f"{whom}" if self.kind == "tenant" else f"{self.kind} {self.name} of {whom}"
