"""A conversation: one message in, one reply out.

The thread is a function of user and session together, so whoever names another user's session gets a new conversation
of their own, and learns nothing. While the agent has asked a question, the next message is its answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from typing import Annotated, Any, Final, cast
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from outlast.admission.gate import Gate
from outlast.admission.names import check_name
from outlast.admission.request import RunRequest
from outlast.domain.question import kind_of
from outlast.domain.run import RunStatus, RunView
from outlast.errors import Conflict, InvalidInput, NotFound
from outlast.runtime import Runtime
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentGate, CurrentRuntime
from outlast.server.problems import DOCUMENTED, problem
from outlast.server.routes.runs import location

router = APIRouter(tags=["chat"], route_class=PlainRoute, responses=DOCUMENTED)

_LONGEST_MESSAGE: Final = 32_000
# Who answers when the request does not say.
_CHAT_AGENTS: Final = ("chat", "support")
_RETRY_AFTER_SECONDS = "1"


class ChatBody(BaseModel):
    """What a user says."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    user_id: str
    message: Annotated[str, Field(max_length=_LONGEST_MESSAGE)]
    session_id: Annotated[str | None, Field(description="from the first reply, or your own; a new one is made")] = None
    agent: Annotated[str | None, Field(description="else the agent named chat or support, or the only one")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyBody:
    """What the agent says; `reply` is null while it has not said anything."""

    reply: str | None
    intent: str | None
    session_id: str
    awaiting_human_input: bool
    trace_id: str
    task_id: UUID


@router.post("/chat", response_model=ReplyBody, responses={202: {"model": ReplyBody, "description": "It still works."}})
async def chat(body: ChatBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate) -> Response:
    """Say something and wait for the reply; 202 when it takes longer than the server waits.

    A question of the agent is the reply, and the next message is its answer. What people decide in the inbox
    (escalations, reviews, approvals, budgets) is not the user's to answer: a message that comes meanwhile is the next
    turn.
    """
    if "idempotency-key" in request.headers:
        # An answer to a question is not kept under a key, and half a promise is none.
        msg = "/chat takes no Idempotency-Key; use /agent/start where a request may be repeated"
        raise InvalidInput(msg, field="Idempotency-Key")
    if not body.message.strip():
        msg = "message is empty"
        raise InvalidInput(msg, field="message")
    session_id = check_name(_new_session() if body.session_id is None else body.session_id, field="session_id")
    run_id = await _deliver(body, session_id, runtime, gate)
    return _reply(await runtime.queue.wait(run_id, timeout=runtime.settings.server.wait), session_id)


def session_thread(user_id: str, session_id: str) -> str:
    """Return the thread of a user's session; with the length inside, ("a:b", "c") and ("a", "b:c") differ."""
    named = f"{len(user_id)}:{user_id}:{session_id}".encode()
    return f"chat-{blake2b(named, digest_size=16).hexdigest()}"


def _new_session() -> str:
    return str(uuid_utils.uuid7())


async def _deliver(body: ChatBody, session_id: str, runtime: Runtime, gate: Gate) -> UUID:
    """Hand the message to the run that asked for it, else start one."""
    thread_id = session_thread(check_name(body.user_id, field="user_id"), session_id)
    asking = await _asking(runtime, thread_id)
    if asking is not None:
        try:
            await runtime.queue.answer(asking, body.message)
        except Conflict:
            # Another message was faster; this one is the next turn.
            pass
        else:
            return asking
    admitted = await gate.admit(
        RunRequest(
            input={"messages": [{"role": "user", "content": body.message}]},
            agent=_chat_agent(runtime.registry.names) if body.agent is None else body.agent,
            thread_id=thread_id,
            metadata={"user_id": body.user_id, "session_id": session_id},
        )
    )
    return admitted.run_id


async def _asking(runtime: Runtime, thread_id: str) -> UUID | None:
    try:
        run = await runtime.queue.store.of_thread(thread_id)
    except NotFound:
        return None
    if run is None or run.status is not RunStatus.WAITING or not _asks_the_user(run.interrupts):
        return None
    return run.id


def _asks_the_user(interrupts: Sequence[dict[str, Any]] | None) -> bool:
    """Whether it is the user who is asked.

    Escalations, reviews, approvals and the like are for whoever may answer in the inbox: a customer who could would
    approve what was to be kept from him.
    """
    return all(kind_of(interrupt.get("value")) == "interrupt" for interrupt in interrupts or ())


def _chat_agent(names: Sequence[str]) -> str | None:
    """Return the agent for chats; None leaves it to the gate, which takes the only one or says what is missing."""
    return next((name for name in _CHAT_AGENTS if name in names), None)


def _reply(run: RunView, session_id: str) -> Response:
    if run.status is RunStatus.FAILED:
        detail = f"the agent could not reply ({run.error_code}); see /agent/status/{run.id}"
        # The agent has failed, after all its attempts, and the server has not.
        return problem(HTTPStatus.FAILED_DEPENDENCY, "run_failed", detail, task_id=str(run.id), session_id=session_id)
    # Interrupted: a run of the Agent Server API has taken the place of one that asked.
    if run.status in {RunStatus.CANCELLED, RunStatus.INTERRUPTED}:
        return problem(
            HTTPStatus.CONFLICT, "run_cancelled", "the reply was cancelled", task_id=str(run.id), session_id=session_id
        )
    asks = run.status is RunStatus.WAITING
    answered = run.ended or asks
    output: object = run.output if answered else None
    body = ReplyBody(
        reply=_question(run.interrupts) if asks and _asks_the_user(run.interrupts) else _said(output),
        intent=_text_at(output, "intent"),
        session_id=session_id,
        awaiting_human_input=asks,
        trace_id=run.id.hex,
        task_id=run.id,
    )
    if answered:
        return Json(body)
    return Json(body, 202, {**location(run.id), "Retry-After": _RETRY_AFTER_SECONDS})


def _question(interrupts: Sequence[dict[str, Any]] | None) -> str | None:
    """Return the text of what the agent asks."""
    if not interrupts:
        return None
    value: object = interrupts[0].get("value")
    if value is None or isinstance(value, str):
        return value
    for key in ("question", "message", "prompt", "text"):
        text = _text_at(value, key)
        if text is not None:
            return text
    return orjson.dumps(value).decode()


def _said(output: object) -> str | None:
    """Return what the agent said last, if it has said anything since the user did."""
    if isinstance(output, str):
        return output
    messages: object = cast("dict[str, Any]", output).get("messages") if isinstance(output, dict) else None
    if not isinstance(messages, list):
        return None
    for message in reversed(cast("list[object]", messages)):
        kind = _text_at(message, "type") or _text_at(message, "role")
        if kind in {"ai", "assistant", "AIMessageChunk"}:
            return _content(cast("dict[str, object]", message).get("content"))
        if kind in {"human", "user"}:
            return None
    return None


def _content(content: object) -> str:
    """Return the text of a message whose content may be a list of blocks."""
    if isinstance(content, list):
        blocks = cast("list[object]", content)
        return "".join(block if isinstance(block, str) else _text_at(block, "text") or "" for block in blocks)
    return content if isinstance(content, str) else ""


def _text_at(value: object, key: str) -> str | None:
    found: object = cast("dict[str, object]", value).get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
