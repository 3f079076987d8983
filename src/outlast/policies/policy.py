"""`outlast.Policy`: one rule of a project's own.

class NoFridays(outlast.Policy):
    def decide(self, request, facts):
        return outlast.Refuse("not on Fridays") if facts.at.weekday() == 4 else outlast.Allow()

# outlast.toml
[policies]
order = ["hours", "./policies.py:NoFridays"]
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from outlast.domain.admission import Allow, AskHuman, Later, Refuse
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest

ALLOWED = Allow()


@dataclass(frozen=True, slots=True)
class Instead:
    """Allowed, changed like this: what comes after sees the changed request, and so does the run."""

    request: PolicyRequest
    note: str


Answer: TypeAlias = "Allow | Refuse | AskHuman | Later | Instead"


class Policy(ABC):
    """One rule, asked about each request of the kinds in `about`. Made once per process, without arguments.

    Policies are asked in the order of `policies.order`; the first refusal counts, and a question is asked only where
    nobody refuses. What raises, answers anything else, or takes longer than `policies.timeout` refuses: a rule that
    cannot decide must not let pass. A sync `decide` is called on the event loop, so it must not wait for anything.
    """

    #: In refusals, questions and the record of decisions; None: the name of the class.
    name: ClassVar[str | None] = None
    #: run: before it is stored; model: before each call that is not answered by the journal, per model that could
    #: answer; tool: before each call of a tool.
    about: ClassVar[frozenset[Kind]] = frozenset({"run"})

    @abstractmethod
    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> "Answer | Awaitable[Answer]":
        """Return `outlast.Allow()`, `outlast.Refuse(reason)` or `outlast.AskHuman(question)`.

        Reason and question are kept and shown; they must not repeat what the input holds. A question about a run keeps
        it stored until a person answers; about a tool it is asked in the middle of the run, which waits; a model is
        refused, since nobody can be asked for each call.
        """

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or type(self).__name__
