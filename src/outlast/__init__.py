"""Outlast keeps AI agents running in production.

    from outlast import Checkpointer, progress

What is in `__all__` is the promise; everything else may change. Names are loaded on first use, so that importing the
package costs nothing and needs neither LangGraph nor PostgreSQL.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.agents.checkpoints.saver import Checkpointer
    from outlast.agents.escalating import escalate
    from outlast.agents.middleware import middleware
    from outlast.agents.progress import progress
    from outlast.calls.chat_models import chat_model, wrap
    from outlast.calls.effect_outcomes import Applied
    from outlast.calls.effects import effect
    from outlast.calls.journal import journal
    from outlast.calls.memory import JournalMismatch
    from outlast.domain.admission import Allow, AskHuman, Refuse
    from outlast.domain.key_provider import KeyProvider
    from outlast.domain.policy import PolicyFacts, PolicyRequest
    from outlast.errors import NotApplied, OutlastError
    from outlast.policies.policy import Policy
    from outlast.secret import Secret
    from outlast.telemetry.spans import trace_headers
    from outlast.validation.attached import validated
    from outlast.validation.validator import Invalid, Reason, Valid, ValidationContext, Validator

__all__ = [
    "Allow",
    "Applied",
    "AskHuman",
    "Checkpointer",
    "Invalid",
    "JournalMismatch",
    "KeyProvider",
    "NotApplied",
    "OutlastError",
    "Policy",
    "PolicyFacts",
    "PolicyRequest",
    "Reason",
    "Refuse",
    "Secret",
    "Valid",
    "ValidationContext",
    "Validator",
    "chat_model",
    "effect",
    "escalate",
    "journal",
    "middleware",
    "progress",
    "trace_headers",
    "validated",
    "wrap",
]
__version__ = "0.1.0"

_HOMES = {
    "Applied": "outlast.calls.effect_outcomes",
    "Checkpointer": "outlast.agents.checkpoints.saver",
    "JournalMismatch": "outlast.calls.memory",
    "KeyProvider": "outlast.domain.key_provider",
    "NotApplied": "outlast.errors",
    "OutlastError": "outlast.errors",
    "Secret": "outlast.secret",
    "effect": "outlast.calls.effects",
    "escalate": "outlast.agents.escalating",
    "chat_model": "outlast.calls.chat_models",
    "trace_headers": "outlast.telemetry.spans",
    "journal": "outlast.calls.journal",
    "middleware": "outlast.agents.middleware",
    "progress": "outlast.agents.progress",
    "wrap": "outlast.calls.chat_models",
    "Allow": "outlast.domain.admission",
    "AskHuman": "outlast.domain.admission",
    "Policy": "outlast.policies.policy",
    "PolicyFacts": "outlast.domain.policy",
    "PolicyRequest": "outlast.domain.policy",
    "Refuse": "outlast.domain.admission",
    "Invalid": "outlast.validation.validator",
    "Reason": "outlast.validation.validator",
    "Valid": "outlast.validation.validator",
    "ValidationContext": "outlast.validation.validator",
    "Validator": "outlast.validation.validator",
    "validated": "outlast.validation.attached",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
