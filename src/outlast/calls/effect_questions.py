"""Asking a person what became of an effect, or whether to go on beyond a budget.

LangGraph gives the answers of a task back by the order of its questions. So a task that is executed again asks all its
questions again, in the same order, also those whose answers are long written down; and it asks one new
question at a time. An answer counts for the calls that had been made by then, and for no later one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from outlast.calls.effect_memory import Execution, task_id
from outlast.calls.scope import Scope
from outlast.domain.effect import Asked, EffectRow, Owner

if TYPE_CHECKING:
    from outlast.storage.postgres.effects import EffectStore

#: Keys of questions about tools begin with it; those of effects are hexadecimal.
APPROVAL: Final = "tool:"
_APPROVE: Final = (
    'Answer {"approved": true} if it may be called with exactly these arguments; {"approved": false, "reason": "..."} '
    "if not, then the model is told so."
)
_HOW: Final = (
    'Look at the receiver. Answer {"applied": true, "result": ...} if it was applied; {"applied": false} if not, then '
    'it is called again with the same key; {"applied": null} if nobody can tell, then the run fails.'
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person said: applied (with a result), not applied, or None: nobody can tell."""

    applied: bool | None
    result: Any
    #: As it is kept on the row.
    answer: bytes


def verdict_of(answer: Any) -> Verdict | None:
    """Read an answer; None: it is none to this question. A bare yes could be meant for another one."""
    if not isinstance(answer, dict) or "applied" not in answer:
        return None
    applied: Any = answer["applied"]  # pyright: ignore[reportUnknownVariableType] - JSON
    if applied is not None and not isinstance(applied, bool):
        return None
    kept = orjson.dumps(answer, default=repr)
    return Verdict(applied, answer.get("result"), kept)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - as above


def answers(scope: Scope, execution: Execution, key: str) -> list[tuple[Asked, Any]]:
    """Ask the task's questions up to the last one with this key again; return those with the key, and their answers.

    Raises what ends the task, where there is no answer yet.
    """
    asked, questions = execution.task.asked, execution.questions
    own = [place for place, question in enumerate(asked) if question.key == key]
    for place in own:
        while len(questions.answers) <= place:
            _ask_next(scope, execution)
    return [(asked[place], questions.answers[place]) for place in own]


def heard(scope: Scope, execution: Execution, row: EffectRow) -> Verdict | None:
    """Ask what the task has asked about this effect again; return the answer about its latest call.

    Raises as `answers`.
    """
    given = [answer for asked, answer in answers(scope, execution, row.key) if asked.calls == row.calls]
    return next((verdict for verdict in map(verdict_of, reversed(given)) if verdict is not None), None)


async def ask(scope: Scope, store: "EffectStore", execution: Execution, row: EffectRow, owner: Owner) -> None:
    """Ask about the effect for the first time, or again because the answer was none; it is written down first."""

    async def write(position: int) -> None:
        await store.ask(
            row, owner, lineage=scope.lineage, task=task_id(execution.place), position=position, thread=scope.thread_key
        )

    await put(scope, execution, Asked(row.key, row.calls), write)


async def put(scope: Scope, execution: Execution, new: Asked, write: Callable[[int], Awaitable[None]]) -> None:
    """Ask a new question of the task, behind all that it has asked; `write` stores it, at its position, before that."""
    questions, asked = execution.questions, execution.task.asked
    async with questions.asking:
        if questions.ended is not None:
            # Another call of this execution asks already; this one will when the task is executed again.
            raise questions.ended
        while len(questions.answers) < len(asked):
            _ask_next(scope, execution)
        await write(len(asked))
        asked.append(new)
        _ask_next(scope, execution)


def _ask_next(scope: Scope, execution: Execution) -> None:
    questions, asked = execution.questions, execution.task.asked
    if questions.ended is not None:
        raise questions.ended
    place = len(questions.answers)
    try:
        questions.answers.append(scope.ask(_question(execution, asked[place], place)))
    # The interrupt of the graph above all, which is no Exception: whoever asks next in this task ends the same way.
    except BaseException as error:
        questions.ended = error
        raise


def _question(execution: Execution, asked: Asked, place: int) -> dict[str, Any]:
    if asked.budget is not None:
        return asked.budget.shown()
    if asked.key.startswith(APPROVAL):
        return _approval(execution, asked, place)
    row = execution.task.rows.get(asked.key)
    why = {"code": "effect_unknown", "text": "nobody knows whether the effect was applied"}
    question: dict[str, Any] = {"type": "effect_unknown", "key": asked.key, "how": _HOW, "reasons": [why]}
    if row is not None:
        question |= {
            "effect": row.name, "arguments": orjson.loads(row.arguments), "since": row.begun_at.isoformat(),
            "error": row.error,
        }  # fmt: skip
    if asked in execution.task.asked[:place]:
        question["problem"] = "the last answer was none to this question; see `how`"
    return question


def _approval(execution: Execution, asked: Asked, place: int) -> dict[str, Any]:
    # Without its call, which may come a moment later: whoever answers can look at what the model has said last.
    shown = execution.questions.approvals.get(asked.key, {})
    why = {"code": "policy", "text": f"policy {shown.get('policy', 'of tools')!r} wants a person to be asked"}
    question: dict[str, Any] = {
        "type": "tool_approval", "key": asked.key, "how": _APPROVE, "reasons": [why], **shown
    }  # fmt: skip
    if asked in execution.task.asked[:place]:
        question["problem"] = "the last answer was none to this question; see `how`"
    return question
