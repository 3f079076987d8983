"""The layer that asks a person where a budget wants that (`on_limit = "ask"`), in the place of failing the run.

The task ends with the question, and with it the run at its step boundary; when it is executed again with the answer,
its earlier calls are found in the journal. What was asked is asked again at the same call, also when the budget has
room by then: LangGraph gives the answers of a task back by the order of its questions, and a question that is left out
would give its answer to the next one, which may be the approval of something else. So this stands before the journal,
and shares one line of questions with effects (`effect_questions`).
"""

from typing import TYPE_CHECKING, Any, Final

from outlast.calls import effect_questions, memory
from outlast.calls.budgets import AskFirst, spent_text
from outlast.calls.call import Answer, Handler, Layer, ModelCall
from outlast.calls.effect_memory import task_id
from outlast.calls.effects import ledger_of
from outlast.calls.memory import Asked
from outlast.calls.scope import Scope
from outlast.domain.budget import Attempt, Question
from outlast.domain.effect import Asked as AskedOnce
from outlast.refusals import BudgetExceeded
from outlast.storage.postgres.budgets import AskedAt, BudgetStore

if TYPE_CHECKING:
    from outlast.calls.services import Calls

#: Counts the calls of a task; nothing is journaled under it.
_SERIES: Final = "budget"


def asking_for_budget(calls: "Calls") -> Layer:
    """Ask a person instead of raising AskFirst; raises BudgetExceeded when that person has said no."""
    budgets = calls.budgets

    def layer(following: Handler) -> Handler:
        if budgets is None or calls.effects is None:
            return following
        store = budgets.store

        async def handle(call: ModelCall) -> Answer:
            known = memory.of(call.scope)
            asked = None if known is None else known.begin(_SERIES, b"")
            if call.scope is None or asked is None:
                return await following(call)
            if not (call.scope.fresh or asked.turn.place.new):
                await _ask_again(call.scope, asked)
            try:
                return await following(call)
            except AskFirst as error:
                await _ask(store, call.scope, asked, error.question)
                raise

        return handle

    return layer


def _key(asked: Asked) -> str:
    return f"budget:{asked.ordinal}"


async def _ask_again(scope: Scope, asked: Asked) -> None:
    """Ask what an earlier execution of the task has asked at this call; the last answer counts."""
    ledger = ledger_of(scope)
    execution = ledger.memory.execution()
    await ledger.memory.load(execution)
    given = effect_questions.answers(scope, execution, _key(asked))
    if not given:
        return
    question, answer = given[-1]
    if question.budget is not None and _is_no(answer):
        told = question.budget
        raise BudgetExceeded(
            f"{spent_text(told)}, and a person has said not to go on", budget=told.budget, limit=told.limit,
            spent=told.spent, unit=told.unit, resets_at=told.resets_at,
        )  # fmt: skip


async def _ask(store: BudgetStore, scope: Scope, asked: Asked, question: Question) -> None:
    ledger = ledger_of(scope)
    execution = ledger.memory.execution()
    await ledger.memory.load(execution)

    async def write(position: int) -> None:
        at = AskedAt(
            lineage=scope.lineage, task=task_id(execution.place), position=position, key=_key(asked),
            thread_key=scope.thread_key,
        )  # fmt: skip
        await store.ask(at, question, Attempt(scope.run_id, scope.epoch))

    await effect_questions.put(scope, execution, AskedOnce(_key(asked), 0, question), write)


def _is_no(answer: Any) -> bool:
    # Anything else is a yes, which costs nothing: the budget is asked again.
    return isinstance(answer, dict) and answer.get("go_on") is False  # pyright: ignore[reportUnknownMemberType] - JSON
