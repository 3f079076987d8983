"""Policies in their order: the first refusal counts."""

import asyncio
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from outlast.domain.admission import Allow, AskHuman, Later, Refuse
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest
from outlast.policies.policy import ALLOWED, Instead, Policy

log = logging.getLogger(__name__)

_KINDS: Final = (Allow, Refuse, AskHuman, Later, Instead)


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a request, and who said so."""

    verdict: Allow | Refuse | AskHuman | Later
    #: As the policies have left it.
    request: PolicyRequest
    #: What was changed.
    notes: tuple[str, ...] = ()

    @property
    def by(self) -> str | None:
        """The policy that decided; None when nothing objected."""
        return self.verdict.by if isinstance(self.verdict, Refuse | AskHuman) else None


class PolicyEngine:
    """Asks the policies."""

    def __init__(self, policies: Sequence[Policy], *, timeout_seconds: float) -> None:
        self.policies = tuple(policies)
        self._timeout_seconds = timeout_seconds
        self._about: dict[Kind, tuple[Policy, ...]] = {
            kind: tuple(policy for policy in policies if kind in policy.about) for kind in ("run", "model", "tool")
        }

    def concerns(self, kind: Kind) -> bool:
        """Whether anybody has to be asked at all."""
        return bool(self._about[kind])

    async def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Decided:
        """Ask one after the other. Refused wins over asked, asked over later; of two questions the first is asked."""
        question: AskHuman | None = None
        later: Later | None = None
        notes: list[str] = []
        for policy in self._about[request.kind]:
            answer = await self._asked(policy, request, facts)
            match answer:
                case Refuse():
                    return Decided(_signed(answer, policy), request, tuple(notes))
                case AskHuman():
                    question = question or AskHuman(answer.question, answer.by or policy.called)
                case Later():
                    later = answer if later is None or answer.seconds > later.seconds else later
                case Instead():
                    request = answer.request
                    notes.append(answer.note)
                case Allow():
                    pass
        return Decided(question or later or ALLOWED, request, tuple(notes))

    async def aclose(self) -> None:
        """End what policies have started."""
        for policy in self.policies:
            close: Any = getattr(policy, "aclose", None)
            if close is not None:
                await close()

    async def _asked(
        self, policy: Policy, request: PolicyRequest, facts: PolicyFacts
    ) -> Allow | Refuse | AskHuman | Later | Instead:
        try:
            answer: Any = policy.decide(request, facts)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(self._timeout_seconds):
                    answer = await answer
        # A rule of the user's that cannot decide must not let pass.
        except Exception as error:
            log.exception("policy %s failed", policy.called)
            return Refuse(f"the policy failed ({type(error).__name__}); its error is in the log")
        if not isinstance(answer, _KINDS):
            log.error(
                "policy %s answered %r; return Allow(), Refuse(reason) or AskHuman(question)", policy.called, answer
            )
            return Refuse("the policy gave no verdict; what it answered is in the log")
        return answer


def _signed(refusal: Refuse, policy: Policy) -> Refuse:
    return refusal if refusal.by is not None else Refuse(refusal.reason, policy.called, refusal.error)
