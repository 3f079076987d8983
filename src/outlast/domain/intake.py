"""What happens to the unfinished runs of a thread when another one comes, and whether a resume has a question.

    strategy     blocked, queued, running        waiting for a person (a plain run only)
    enqueue      stay                            makes way
    reject       the new run is refused          makes way
    interrupt    are cancelled                   makes way
    rollback     are cancelled and erased        is erased

A plain run changes nothing: it is put behind what is there. A queued run that is due later and was never claimed makes
way for one that is due, whatever the strategy. A resume answers a question, so nothing else may be under way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast
from uuid import UUID

from outlast.domain.options import Multitask
from outlast.domain.run import RunStatus
from outlast.domain.thread import ThreadState, Ttl
from outlast.errors import AlreadyAnswered, InvalidInput, NothingToResume, ThreadBusy

# LangGraph's own test of whether a mapping of answers is one by question: the id of a question is an xxh3-128.
_QUESTION_ID: Final = re.compile(r"[0-9a-f]{32}")
#: Statuses of runs that have still to run by themselves.
UNFINISHED: Final = frozenset({RunStatus.BLOCKED, RunStatus.QUEUED, RunStatus.RUNNING})


@dataclass(frozen=True, slots=True)
class Resume:
    """A person's answer, as sent: to the one open question, or a mapping of question ids."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The rules under which one run is taken in."""

    multitask: Multitask = "enqueue"
    if_not_exists: Literal["create", "reject"] = "create"
    #: A jsonpath that the thread's metadata has to satisfy; None: anybody's thread.
    access: str | None = None
    #: For a thread that has none of these keys yet.
    thread_metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    resume: Resume | None = None
    ttl: Ttl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An unfinished run of the thread."""

    id: UUID
    status: RunStatus
    epoch: int
    #: Due later and never claimed.
    later: bool = False
    #: The ids of the questions that it was created to answer.
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to the unfinished runs before the new one is stored."""

    #: Open questions of plain runs that make way: they end as interrupted.
    supersede: tuple[UUID, ...] = ()
    #: Asked to end; what does not run ends at once.
    cancel: tuple[UUID, ...] = ()
    #: As `cancel`, and what they wrote is erased with them.
    discard: tuple[UUID, ...] = ()
    #: Queued runs that are due later: back among the blocked ones.
    demote: tuple[UUID, ...] = ()


def decide(standing: Sequence[Standing], *, multitask: Multitask, later: bool = False, plain: bool = False) -> Plan:
    """Return what makes way for a new run, which is itself due `later` or now; raises ThreadBusy.

    Carried out, the plan leaves at most one run at the thread's front, and never touches what is not named in it.
    """
    busy = [run for run in standing if run.status in UNFINISHED]
    waiting = tuple(run.id for run in standing if run.status is RunStatus.WAITING)
    demote = tuple(run.id for run in standing if run.later and run.status is RunStatus.QUEUED and not later)
    if plain:
        return Plan()
    if multitask == "enqueue":
        return Plan(supersede=waiting, demote=demote)
    unfinished = tuple(run.id for run in busy)
    match multitask:
        case "reject":
            if busy:
                front = min(busy, key=lambda run: _NEAREST.index(run.status))
                raise ThreadBusy(run_id=str(front.id), status=front.status)
            return Plan(supersede=waiting)
        case "interrupt":
            return Plan(supersede=waiting, cancel=unfinished)
        case "rollback":
            return Plan(discard=(*unfinished, *waiting))


# Whom a refusal names: what runs, before what is to run.
_NEAREST: Final = (RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.BLOCKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Where a thread stands, and what it asks there."""

    state: ThreadState
    #: The ids of the open questions; empty at a breakpoint.
    questions: tuple[str, ...] = ()
    waiting_at: UUID | None = None


def check_resume(resume: Resume, asked: Asked, standing: Sequence[Standing]) -> None:
    """Refuse an answer that nobody waits for.

    Raises AlreadyAnswered when another run has the answer to the same question, NothingToResume when the thread asks
    nothing (or not what was answered), InvalidInput when several questions are open and the answer names none.
    """
    busy = [run for run in standing if run.status in UNFINISHED and not run.later]
    for run in busy:
        if run.answers:
            raise AlreadyAnswered(run_id=str(run.id), status=run.status, interrupts=run.answers)
    if busy:
        raise NothingToResume(status="busy", run_id=str(busy[0].id), interrupts=asked.questions)
    if not asked.questions and asked.state is not ThreadState.INTERRUPTED:
        raise NothingToResume(status=asked.state, interrupts=())
    named = _named(resume.value)
    if named is None and len(asked.questions) > 1:
        ids = ", ".join(asked.questions)
        msg = f"{len(asked.questions)} questions are open; answer with a mapping of their ids: {ids}"
        raise InvalidInput(msg, field="command.resume")
    if named is not None and asked.questions and (unknown := sorted(named - set(asked.questions))):
        raise NothingToResume(status=ThreadState.INTERRUPTED, interrupts=asked.questions, unknown=unknown[0])


def _named(value: Any) -> set[str] | None:
    """Return the question ids that an answer names; None when it is an answer by itself."""
    if not isinstance(value, Mapping) or not value:
        return None
    keys = set(cast("Mapping[str, Any]", value))
    return keys if all(_QUESTION_ID.fullmatch(key) for key in keys) else None
