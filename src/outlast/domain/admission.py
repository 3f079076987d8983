"""May this run start? The answers that a stage of admission gives, and how a stage is asked.

    limits -> policies -> budgets -> queue

Each stage is one async function, `(run, who asks) -> Verdict`. They are asked in this order; the first `Refuse` ends
it, delays of `Later` do not add up (the longest counts), and a question is asked once all have answered.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from outlast.domain.acting import Principal
from outlast.domain.limits import Takes
from outlast.domain.run import NewRun
from outlast.errors import OutlastError


@dataclass(frozen=True, slots=True)
class Allow:
    """Nothing against it."""

    #: The run as it is to be stored, if the stage changes it (masked input); its id, thread and agent stay.
    instead: NewRun | None = None
    #: Kept with the decision, if there is something to say.
    note: str | None = None
    #: Provided that this is taken when the run is stored.
    takes: Takes | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """It may not; nothing is stored but the decision."""

    #: For people. Never repeat what the input holds: the reason is kept and logged.
    reason: str
    #: Which policy it was, where the stage has several.
    by: str | None = None
    #: What the client gets instead of PolicyRefused(by, reason); its text is then what is kept.
    error: OutlastError | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """It may, but it starts so many seconds later."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class AskHuman:
    """A person has to say yes first: the run is stored and waits."""

    question: str
    by: str | None = None


Verdict = Allow | Refuse | Later | AskHuman


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name in the record of decisions, and how it decides.

    What `decide` raises refuses the request, too: an OutlastError is what the client gets.
    """

    name: str
    decide: Callable[[NewRun, Principal], Awaitable[Verdict]]
    #: The same for runs that are stored together or not at all, where one question for all of them is better.
    decide_all: Callable[[Sequence[NewRun], Principal], Awaitable[Sequence[Verdict]]] | None = None
    #: The same for a run that is stored right away, with what it takes (`Allow.takes`).
    decide_stored: Callable[[NewRun, Principal], Awaitable[Verdict]] | None = None
