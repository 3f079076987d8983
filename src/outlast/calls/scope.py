"""An attempt of a run as its calls see it.

The executor sets it before it calls the graph; LangGraph's tasks inherit it with their context, subgraphs and
subagents included. Without one, a call is outside of a run and goes without what needs the database.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol
from uuid import UUID

from outlast.calls.deadline import Deadline
from outlast.calls.spending import Spent
from outlast.calls.tally import Tally
from outlast.refusals import PolicyRefused

if TYPE_CHECKING:
    from outlast.calls.effect_ledger import EffectLedger
    from outlast.calls.memory import Memory
    from outlast.calls.services import Calls
    from outlast.domain.admission import Verdict


@dataclass(frozen=True, slots=True)
class Place:
    """A task of the graph: the same for every execution of one step, another for each visit of a node."""

    #: LangGraph's checkpoint namespace of the task, its id included.
    task: str
    #: 1 for the first execution in this attempt of the run; LangGraph's retry policy of a node counts on.
    execution: int = 1
    #: The checkpoint that the task stands on is of this attempt, so no earlier one can have executed it.
    new: bool = field(default=False, compare=False)

    @property
    def key(self) -> bytes:
        """Return 16 bytes that stand for the task in the database."""
        return hashlib.blake2b(self.task.encode(), digest_size=16).digest()


class ToolChecks(Protocol):
    """What the agent's validators say of the arguments of a tool, before it is called."""

    def concerns(self, tool: str) -> bool:
        """Whether any of them looks at this tool."""
        ...

    async def verdict(
        self, tool: str, arguments: Mapping[str, Any], *, ask: bool = False
    ) -> "tuple[Verdict, Sequence[Mapping[str, str]]]":
        """Return whether it may be called (`Refuse`: the model is told), and why not; raises what ends the task.

        `ask`: a person was asked about this call, so a person it is.
        """
        ...


Locate = Callable[[], Place | None]
Settled = Callable[[], Awaitable[None]]
Ask = Callable[[dict[str, Any]], Any]
Stop = Callable[[str], NoReturn]


def cannot_stop(reason: str) -> NoReturn:
    """Refuse where nobody could hand the run back."""
    raise PolicyRefused(policy="switches", reason=reason)


@dataclass(slots=True, kw_only=True)
class Scope:
    """What calls need to know of the run that makes them, and what they count for it."""

    calls: "Calls"
    run_id: UUID
    epoch: int
    #: The run under whose id calls and effects are remembered: the run itself, or the one whose question it answers.
    #: A node that asked is executed again with the answer, and must find what it did before it asked.
    lineage: UUID
    thread_id: str
    thread_key: bytes
    agent: str
    tenant: str = "default"
    user_id: str | None = None
    #: The API key that the run was asked for with.
    key_id: str | None = None
    #: Attempts of the run that ended in an error.
    errors: int = 0
    #: Nothing of this run was ever executed before, so there is nothing to look for in the journal.
    fresh: bool = False
    #: When the attempt's time is over.
    deadline: Deadline | None = None
    #: The task that is being executed, None between tasks; LangGraph knows.
    locate: Locate
    #: Returns when the checkpoint that the running tasks stand on is durable: their ids come from it.
    settled: Settled
    #: Asks a person and returns the answer, or ends the task until there is one (LangGraph's `interrupt`).
    ask: Ask
    #: Ends the task without failing it, and with it the attempt: the run is handed back and goes on later.
    stop: Stop = field(default=cannot_stop, repr=False)
    #: What looks at arguments of tools; None: nothing does.
    tools: ToolChecks | None = None
    #: What the graph ends a task with that has not failed, as the above does.
    bubbles: tuple[type[BaseException], ...] = ()
    #: The effects of the attempt, once there is one.
    effects: "EffectLedger | None" = None
    #: What has to end before the outcome of the attempt is stored; see `close`.
    closing: "list[Callable[[], Awaitable[None]]]" = field(default_factory=list["Callable[[], Awaitable[None]]"])
    #: What the run has used so far, by which it is stopped when it runs away.
    spent: Spent = field(default_factory=Spent)
    #: What is told of the attempt when it has ended.
    tally: Tally = field(default_factory=Tally)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    #: What it knows of earlier attempts; made by the first call that looks (`memory.of`).
    memory: "Memory | None" = field(default=None, repr=False)

    async def close(self) -> None:
        """Return when nothing that its calls have begun is under way any more; called when the graph has ended."""
        for end in self.closing:
            await end()


current: Final[ContextVar[Scope | None]] = ContextVar("outlast_calls_scope", default=None)


def note_invalid() -> None:
    """Note that a validator has found fault with something of this attempt."""
    running = current.get()
    if running is not None:
        running.tally.invalid = True
