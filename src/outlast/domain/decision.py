"""What was decided about a request to run something, as it is kept."""

from dataclasses import dataclass
from typing import Literal

#: allow: it was queued; refuse: nothing was stored; later: queued, due later; ask: stored, waits for a person's yes.
Verdicts = Literal["allow", "refuse", "later", "ask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision with its reason; without a stage, nothing objected."""

    verdict: Verdicts = "allow"
    #: Who decided: `limits`, `policies`, `budgets` or `queue`; None when nothing objected.
    stage: str | None = None
    #: The code of the refusal, as in `rate_limited`.
    code: str | None = None
    #: For people: what was decided, and why. Never holds what the request's input holds.
    reason: str | None = None
    #: How much later it starts because of this.
    delay_seconds: float = 0.0
    #: What a person is asked before the run starts (`ask`).
    question: str | None = None
    #: Who wants it to be asked: the name of a policy.
    asked_by: str | None = None


#: Nothing objected.
ALLOWED = Decision()
