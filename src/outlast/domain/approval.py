"""A run that a policy wants a person to see before it begins."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from outlast.errors import InvalidInput

TYPE: Final = "approval"
# Whoever answers by hand writes a word.
_WORDS: Final[Mapping[str, bool]] = {"yes": True, "no": False, "true": True, "false": False}
_HOW: Final = 'Answer true, or {"approved": true}, and the run begins; false, and it is cancelled.'


def approval_question(run_id: UUID, approval: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the person is asked, in the shape of any question of a run."""
    why = {"code": "policy", "text": approval["reason"] or "a policy wants a person to be asked"}
    value = {
        "type": TYPE, "question": approval["question"], "reason": approval["reason"], "reasons": [why], "how": _HOW
    }  # fmt: skip
    return {"id": run_id.hex, "value": value}


def approved(answer: Any) -> bool:
    """Return whether the answer is a yes; raises InvalidInput when it is neither yes nor no."""
    if isinstance(answer, str):
        answer = _WORDS.get(answer.strip().lower(), answer)
    said: Any = answer.get("approved") if isinstance(answer, Mapping) else answer  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON
    if isinstance(said, bool):
        return said
    msg = f"this run waits for a yes before it begins. {_HOW}"
    raise InvalidInput(msg, field="answer")
