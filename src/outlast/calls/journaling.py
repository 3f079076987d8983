"""The layer that makes an answered call survive its process.

The answer is stored before the step gets it, together with what it cost, in one statement for all the runs of the
process. A step that is executed again gets the stored answer; see `memory` for how it is found. A call that failed for
good leaves a mark, so that it is the last thing the task has asked and nothing that was paid before is asked again.
"""

import asyncio
from typing import TYPE_CHECKING

from langchain_core.utils.utils import LC_ID_PREFIX

from outlast.calls import memory
from outlast.calls.answers import decoded, encoded
from outlast.calls.call import Answer, Handler, Layer, ModelCall
from outlast.calls.fingerprints import fingerprint
from outlast.calls.memory import Asked, Memory
from outlast.errors import DatabaseUnavailable, InvalidInput, LeaseLost, StateError, StateUnreadable
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.calls.services import Calls


def journaled(calls: "Calls") -> Layer:
    """Give a step that is executed again the answers it had; store the others."""

    def layer(following: Handler) -> Handler:
        if calls.log is None:
            return following

        async def handle(call: ModelCall) -> Answer:
            known = memory.of(call.scope)
            if known is None:
                return await following(call)
            asked = known.begin(memory.MODEL, fingerprint(call))
            if asked is not None:
                call.place, call.ordinal = asked.turn.place, asked.ordinal
                stored = await _stored(known, asked)
                if stored is not None:
                    return stored
            return await _fresh(following, call, known, asked)

        return handle

    return layer


async def _stored(known: Memory, asked: Asked) -> Answer | None:
    body = await known.find(asked)
    if body is None:
        return None
    try:
        return decoded(known.codec, body, "journal")
    except StateUnreadable as error:
        # Its type is gone with a new version of the code: the question can still be asked.
        emit("call.not_kept", series=asked.series, error=str(error))
        return None


async def _fresh(following: Handler, call: ModelCall, known: Memory, asked: Asked | None) -> Answer:
    try:
        answer = await following(call)
    except LeaseLost:
        raise
    except asyncio.CancelledError:
        known.keep_soon(call.spent)
        raise
    # Whatever a call fails with for good is raised again, once it is marked.
    except Exception:
        await _mark(call, known, asked)
        raise
    _name(call, answer)
    await known.keep(asked, _body(known, asked, answer), call.spent)
    return answer


async def _mark(call: ModelCall, known: Memory, asked: Asked | None) -> None:
    try:
        await known.keep(asked, None, call.spent)
    except (DatabaseUnavailable, InvalidInput) as error:
        # What the call itself has failed with says more.
        emit("call.not_kept", series=memory.MODEL, error=str(error))


def _name(call: ModelCall, answer: Answer) -> None:
    """Give messages the ids that LangChain would give them: a client that saw one sees the same one again."""
    if call.run_manager is None:
        return
    name = f"{LC_ID_PREFIX}-{call.run_manager.run_id}"
    for number, generation in enumerate(answer.result.generations):
        if generation.message.id is None:
            generation.message.id = name if call.listen is not None else f"{name}-{number}"


def _body(known: Memory, asked: Asked | None, answer: Answer) -> bytes | None:
    if asked is None:
        return None
    try:
        return encoded(known.codec, answer)
    except StateError as error:
        # The step can go on with it; executed again, it asks again.
        emit("call.not_kept", series=memory.MODEL, error=str(error))
        return None
