"""What a run asks before it calls a tool: the kill switches, the policies, and a person where a policy wants that.

A person's yes is for one tool with exactly these arguments: the question is stored under their hash, so that other
arguments, or another tool, are asked about anew. It shares one line of questions with effects (`effect_questions`).
"""

import asyncio
import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

import orjson

from outlast.calls import effect_questions
from outlast.calls.effect_arguments import hashed, shown
from outlast.calls.effect_memory import Execution, task_id
from outlast.calls.effects import ledger_of
from outlast.calls.policed import decided, pass_switches
from outlast.calls.scope import Scope
from outlast.domain.admission import AskHuman, Refuse
from outlast.domain.effect import Asked, Owner
from outlast.domain.policy import PolicyRequest
from outlast.policies.policing import Policing
from outlast.telemetry import emit

#: The call of a tool that has been looked at, as (tool, LangChain's id of the call): nobody is asked twice.
passed: Final[ContextVar[str | None]] = ContextVar("outlast_passed_tool", default=None)


class WrongArguments(str):
    """An objection to the arguments alone: the tool may be called with others."""

    __slots__ = ()


def is_asked(scope: Scope | None) -> bool:
    """Whether anybody may have something against a tool of this run, as far as is known without looking."""
    policing = None if scope is None else scope.calls.policing
    if scope is None or policing is None:
        return False
    board = policing.board
    stops = board.stops(scope.tenant, scope.agent) is not None or board.has_tools_off(scope.tenant)
    return stops or policing.engine.concerns("tool") or scope.tools is not None


async def objection(scope: Scope, tool: str, arguments: Mapping[str, Any]) -> str | None:
    """Return why the tool may not be called, for the model; None: it may.

    Raises what ends the task where a switch is off, or where a person is asked and has not answered.
    """
    policing = scope.calls.policing
    if policing is None:
        return None
    if not policing.engine.concerns("tool") and not _is_checked(scope, tool):
        await pass_switches(scope, tool=tool)
        return None
    if scope.calls.effects is None:
        return await _decide(scope, policing, tool, arguments, None)
    execution = ledger_of(scope).memory.execution()
    questions = execution.questions
    questions.undecided += 1
    try:
        await pass_switches(scope, tool=tool)
        return await _decide(scope, policing, tool, arguments, execution)
    finally:
        questions.undecided -= 1
        questions.decided.set()
        questions.decided = asyncio.Event()


async def _decide(
    scope: Scope, policing: Policing, tool: str, arguments: Mapping[str, Any], execution: Execution | None
) -> str | None:
    request = PolicyRequest(
        kind="tool", agent=scope.agent, tool=tool, arguments=arguments, run_id=scope.run_id, thread_id=scope.thread_id
    )
    outcome = await decided(scope, policing, request)
    match outcome.verdict:
        case Refuse(reason=reason):
            return reason
        case AskHuman(question=question):
            if execution is None:
                return "a person would have to be asked, and there is nobody here"
            shown_as = {"policy": outcome.by, "question": question, "tool": tool}
            return await _asked(scope, execution, arguments, shown_as)
        case _:
            return await _checked(scope, tool, arguments, execution)


def _is_checked(scope: Scope, tool: str) -> bool:
    return scope.tools is not None and scope.tools.concerns(tool)


async def _checked(scope: Scope, tool: str, arguments: Mapping[str, Any], execution: Execution | None) -> str | None:
    """Ask the validators of the tool's arguments."""
    if scope.tools is None or not scope.tools.concerns(tool):
        return None
    # A person who was asked about this call has the last word, however often the model was told before a crash.
    was_asked = execution is not None and await _was_asked(scope, execution, tool, arguments)
    verdict, reasons = await scope.tools.verdict(tool, arguments, ask=was_asked)
    match verdict:
        case Refuse(reason=reason):
            return WrongArguments(reason)
        case AskHuman(question=question) if execution is not None:
            shown_as = {"policy": "validation", "question": question, "tool": tool, "reasons": list(reasons)}
            return await _asked(scope, execution, arguments, shown_as)
        case AskHuman():
            return "a person would have to be asked, and there is nobody here"
        case _:
            return None


async def _asked(
    scope: Scope, execution: Execution, arguments: Mapping[str, Any], shown_as: dict[str, Any]
) -> str | None:
    """Ask a person; return the objection, None for a yes."""
    ledger, tool = ledger_of(scope), shown_as["tool"]
    key = _key(scope, tool, hashed(arguments, ledger.codec), execution.next_ordinal)
    execution.questions.approvals[key] = {**shown_as, "arguments": orjson.loads(shown(arguments))}
    await ledger.memory.load(execution)
    owner = Owner(scope.run_id, scope.epoch, scope.errors, execution.place.execution)
    new = Asked(key, 0)

    async def write(position: int) -> None:
        task = task_id(execution.place)
        await ledger.store.ask(new, owner, lineage=scope.lineage, task=task, position=position, thread=scope.thread_key)

    while True:
        for _, answer in reversed(effect_questions.answers(scope, execution, key)):
            said = _said(answer)
            if said is not None:
                if said:
                    emit("tool.disapproved", run_id=scope.run_id, tool=tool, key=key)
                else:
                    emit("tool.approved", run_id=scope.run_id, tool=tool, key=key)
                await _others(execution)
                return said or None
        await effect_questions.put(scope, execution, new, write)


async def _others(execution: Execution) -> None:
    """Return when nothing of this task has still to be asked.

    A question ends the task, and a call that was made by then would be made again with it. So the calls that a task
    makes together are made when all of them have their answers.
    """
    questions = execution.questions
    # Calls that a node makes together begin together, before any of them comes back here.
    questions.undecided -= 1
    try:
        await asyncio.sleep(0)
        while questions.undecided and questions.ended is None:
            await questions.decided.wait()
        if questions.ended is not None:
            raise questions.ended
    finally:
        questions.undecided += 1


async def _was_asked(scope: Scope, execution: Execution, tool: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the task has asked a person about this call, before it was executed again."""
    ledger = ledger_of(scope)
    await ledger.memory.load(execution)
    name = f"{_name(scope, tool, hashed(arguments, ledger.codec))}:"
    return any(asked.key.startswith(name) for asked in execution.task.asked)


def _name(scope: Scope, tool: str, args_hash: bytes) -> str:
    return effect_questions.APPROVAL + hashlib.sha256(orjson.dumps([scope.tenant, tool]) + args_hash).hexdigest()


def _key(scope: Scope, tool: str, args_hash: bytes, next_ordinal: Any) -> str:
    """Return what the approval is for. Of two equal calls in one task each is asked about."""
    name = _name(scope, tool, args_hash)
    ordinal: int = next_ordinal(name)
    return f"{name}:{ordinal}"


def _said(answer: Any) -> str | None:
    """Return the objection, empty for a yes; None: it is no answer to this question."""
    if not isinstance(answer, dict) or not isinstance(answer.get("approved"), bool):  # pyright: ignore[reportUnknownMemberType] - JSON
        return None
    given: dict[str, Any] = answer  # pyright: ignore[reportUnknownVariableType] - as above
    if given["approved"]:
        return ""
    reason = given.get("reason")
    return f"a person said no: {reason}" if isinstance(reason, str) and reason else "a person said no"
