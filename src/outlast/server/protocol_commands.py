"""The commands of the thread-centred protocol, as they come by HTTP and over a WebSocket.

    {"id": 1, "method": "run.start", "params": {...}}
    {"type": "success", "id": 1, "result": {"run_id": ...}, "meta": {"applied_through_seq": 17}}
    {"type": "error", "id": 1, "error": "invalid_argument", "message": "..."}

`applied_through_seq` lies before the first event of what the command began, and behind what was before it: a client
opens its stream there.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import orjson
from starlette.requests import HTTPConnection

from outlast.agents.jsonable import jsonable
from outlast.agents.states import address, read_history, read_state
from outlast.domain.run import RunStatus
from outlast.domain.thread import ThreadView
from outlast.errors import (
    AlreadyAnswered,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    NothingToResume,
    NotSupported,
    OutlastError,
    StateError,
)
from outlast.refusals import PolicyRefused
from outlast.server.auth.access import allowed, user_of
from outlast.server.auth.scopes import require_command
from outlast.server.current import runtime_of
from outlast.server.protocol_bodies import GetTree, InputRespond, ListCheckpoints, RunStart, StateFork, StateGet
from outlast.server.protocol_streams import streams_of
from outlast.server.run_bodies import CommandBody, RunBody
from outlast.server.runs_api import checked, start_run
from outlast.server.thread_values import graph_of
from outlast.storage.postgres.checkpoints import thread_key

Reply = dict[str, Any]
#: What a command answers, and the position behind which its events lie.
Applied = tuple[dict[str, Any], int]
Handler = Callable[[HTTPConnection, str, Mapping[str, Any]], Awaitable[Applied]]

_MISSING: Final = {"run": "no_such_run", "checkpoint": "no_such_checkpoint"}
_LIFECYCLE: Final = "v3:lifecycle"
_TREE: Final = {
    RunStatus.BLOCKED: "started",
    RunStatus.QUEUED: "started",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCEEDED: "completed",
    RunStatus.INTERRUPTED: "interrupted",
    RunStatus.WAITING: "interrupted",
}


class Frame(NamedTuple):
    """A command, well formed."""

    id: int
    method: str
    params: dict[str, Any]


class NoCommand(InvalidInput):
    """What came is no command; `id` is that of the frame, if it has one."""

    def __init__(self, message: str, *, number: int | None = None) -> None:
        super().__init__(message)
        self.id = number


class _UnknownCommand(InvalidInput):
    """There is no command of this name."""


def frame_of(value: Any) -> Frame:
    """Return the command; raises NoCommand."""
    if not isinstance(value, dict):
        msg = "a command is an object with `id` and `method`"
        raise NoCommand(msg)
    given = cast("dict[str, Any]", value)
    number, method, params = given.get("id"), given.get("method"), given.get("params")
    # A bool is an int for Python alone.
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(method, str):
        msg = "a command has an integer `id` and a `method`"
        raise NoCommand(msg)
    if not isinstance(params, dict | None):
        msg = "`params` is an object"
        raise NoCommand(msg, number=number)
    return Frame(number, method, cast("dict[str, Any]", params or {}))


async def answered(connection: HTTPConnection, thread_id: str, frame: Frame) -> Reply:
    """Carry out a command and return the reply.

    Raises NotFound for a thread that is not this caller's, Unauthenticated, Forbidden, DatabaseUnavailable.
    """
    try:
        if frame.method in _HANDLERS:
            require_command(frame.method)
        result, seq = await _HANDLERS.get(frame.method, _unknown)(connection, thread_id, frame.params)
    except OutlastError as error:
        code = _code(error)
        if code is None:
            raise
        return refusal(frame.id, code, str(error))
    return success(frame.id, result, seq)


def success(number: int, result: Mapping[str, Any], seq: int) -> Reply:
    """Return the reply to a command that was carried out."""
    return {"type": "success", "id": number, "result": dict(result), "meta": {"applied_through_seq": seq}}


def refusal(number: int | None, code: str, message: str) -> Reply:
    """Return the reply to a command that was not carried out."""
    return {"type": "error", "id": number, "error": code, "message": message}


def code_of(error: OutlastError) -> str:
    """Return the protocol's code for any error, where no HTTP status can tell it."""
    return _code(error) or (
        "permission_denied" if isinstance(error, Forbidden | NotFound | PolicyRefused) else "unknown_error"
    )


# The first that fits; what fits none is answered as everywhere in the API.
_CODES: Final[tuple[tuple[type[OutlastError], str], ...]] = (
    (_UnknownCommand, "unknown_command"),
    (NotSupported, "not_supported"),
    (InvalidInput, "invalid_argument"),
    (AlreadyAnswered, "no_such_interrupt"),
    (NothingToResume, "no_such_interrupt"),
    (Conflict, "invalid_argument"),
    (StateError, "invalid_argument"),
)


def _code(error: OutlastError) -> str | None:
    if isinstance(error, NotFound):
        # An assistant that is not there is a wrong argument; a thread that is not there is nobody's business.
        return None if error.kind == "thread" else _MISSING.get(error.kind, "invalid_argument")
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


async def _run_start(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    given = checked(RunStart, params, "params")
    thread = await _thread(connection, thread_id)
    answers = None if _forks(given) else _as_answer(thread, given.input)
    body = RunBody(
        assistant_id=given.assistant_id,
        input=given.input if answers is None else None,
        command=None if answers is None else CommandBody(resume=answers),
        config=given.config,
        metadata=given.metadata,
        langsmith_tracer=given.langsmith_tracer,
        multitask_strategy=given.multitask_strategy or given.multitaskStrategy,
        if_not_exists="create",
    )
    return await _started(connection, thread_id, body)


async def _started(connection: HTTPConnection, thread_id: str, body: RunBody) -> Applied:
    body.check(stateless=False, awaited=False)
    seq = await streams_of(connection).head(thread_id)
    run = await start_run(connection, body, thread_id=thread_id, live=True, protocol="v3")
    return {"run_id": str(run.run_id)}, seq


def _forks(given: RunStart) -> bool:
    """Whether the run starts at an older checkpoint, as after an edited message: then its input is no answer."""
    configurable = (given.config.configurable if given.config is not None else None) or {}
    return bool(configurable.get("checkpoint_id"))


def _as_answer(thread: ThreadView | None, value: Any) -> dict[str, Any] | None:
    """Return the answers that an input is to a thread that asks; None when the thread asks nothing.

    Raises InvalidInput when several questions are open and the input is no mapping of their ids.
    """
    asked = _questions(thread)
    if not asked or value is None:
        return None
    answers = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if answers and answers.keys() <= set(asked):
        return answers
    if len(asked) > 1:
        msg = f"{len(asked)} questions are open; use input.respond"
        raise InvalidInput(msg, field="params.input")
    return {asked[0]: value}


def _questions(thread: ThreadView | None) -> list[str]:
    if thread is None or thread.status != "interrupted":
        return []
    asked = [question for questions in thread.interrupts.values() for question in questions]
    return [str(question["id"]) for question in asked if question.get("id") is not None]


async def _input_respond(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    given = checked(InputRespond, params, "params")
    thread = await _there(connection, thread_id)
    body = RunBody(
        assistant_id=await _assistant_of(connection, thread),
        command=given.command(),
        config=given.config,
        metadata=given.metadata,
    )
    return await _started(connection, thread_id, body)


async def _assistant_of(connection: HTTPConnection, thread: ThreadView) -> str:
    """Return who worked on the thread; raises NothingToResume when nobody did."""
    for name in ("assistant_id", "graph_id"):
        if isinstance(thread.metadata.get(name), str):
            return str(thread.metadata[name])
    agent = await runtime_of(connection).threads.last_agent(thread)
    if agent is None:
        raise NothingToResume(status=thread.status, interrupts=())
    return agent


async def _state_fork(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    given = checked(StateFork, params, "params")
    thread = await _there(connection, thread_id)
    body = RunBody(
        assistant_id=await _assistant_of(connection, thread),
        input=given.input,
        config=given.config,
        checkpoint_id=given.checkpoint_id,
    )
    result, seq = await _started(connection, thread_id, body)
    return {**result, "thread_id": thread_id}, seq


async def _state_get(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    given = checked(StateGet, params, "params")
    thread = await _there(connection, thread_id)
    seq = await streams_of(connection).head(thread_id)
    ns = "|".join(given.namespace or ())
    async with graph_of(runtime_of(connection), thread, user=await user_of(connection)) as opened:
        snapshot = await read_state(opened.graph, address(thread_id, {"checkpoint_ns": ns}, opened.configurable))
    values: dict[str, Any] = jsonable(snapshot.values) or {}
    if given.keys is not None:
        values = {key: values[key] for key in given.keys if key in values}
    found = (snapshot.config.get("configurable") or {}).get("checkpoint_id")
    return {"values": values, **({"checkpoint": {"id": found, "ns": ns}} if found else {})}, seq


async def _list_checkpoints(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    given = checked(ListCheckpoints, params, "params")
    thread = await _there(connection, thread_id)
    ns = {"checkpoint_ns": "|".join(given.namespace or ())}
    async with graph_of(runtime_of(connection), thread, user=await user_of(connection)) as opened:
        at = address(thread_id, ns, opened.configurable)
        before = None if given.before is None else address(thread_id, {**ns, "checkpoint_id": given.before})
        history = await read_history(opened.graph, at, limit=given.limit, before=before)
    shown = [
        {
            "id": (state.config.get("configurable") or {}).get("checkpoint_id"),
            "timestamp": state.created_at,
            "step": (state.metadata or {}).get("step", -1),
            "metadata": jsonable(state.metadata),
        }
        for state in history
    ]
    return {"checkpoints": shown}, await streams_of(connection).head(thread_id)


async def _get_tree(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    given = checked(GetTree, params, "params")
    await _there(connection, thread_id)
    streams, key = streams_of(connection), thread_key(thread_id)
    run_id = _run_id(given.run_id) if given.run_id else (await streams.store.standing(key)).run_id
    if run_id is None:
        kind = "run"
        raise NotFound(kind, "of this thread")
    run = await runtime_of(connection).queue.store.views.one(thread_id, run_id, access=None)
    root: dict[str, Any] = {
        "namespace": [], "status": _TREE.get(run.status, "failed"), "graph_name": run.agent, "children": [],
    }  # fmt: skip
    nodes: dict[tuple[str, ...], dict[str, Any]] = {(): root}
    for _, ns, data in await streams.store.lifecycle(key, run_id, mode=_LIFECYCLE):
        place = tuple(ns.split("|"))
        said = orjson.loads(data)["params"]["data"]
        if place not in nodes:
            nodes[place] = {"namespace": list(place), "children": []}
            nodes.get(place[:-1], root)["children"].append(nodes[place])
        nodes[place] |= {"status": said["event"], "graph_name": said.get("graph_name", "")}
    return {"tree": root}, await streams.head(thread_id)


def _run_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        kind = "run"
        raise NotFound(kind, text) from None


async def _there(connection: HTTPConnection, thread_id: str) -> ThreadView:
    """Return the thread of a command that needs one; raises NothingToResume for one that nobody made."""
    thread = await _thread(connection, thread_id)
    if thread is None:
        raise NothingToResume(status="idle", interrupts=())
    return thread


async def _thread(connection: HTTPConnection, thread_id: str) -> ThreadView | None:
    """Return the thread; None when there is none yet. Raises NotFound for somebody else's."""
    runtime = runtime_of(connection)
    _, access = await allowed(connection, "threads", "read", {"thread_id": thread_id})
    try:
        return await runtime.threads.get(thread_id, access=access)
    except NotFound:
        if access is not None and await runtime.threads.exists(thread_id):
            raise
        return None


async def _unsupported(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    del connection, thread_id, params
    msg = "this command is not supported"
    raise NotSupported(msg, field="method")


async def _unknown(connection: HTTPConnection, thread_id: str, params: Mapping[str, Any]) -> Applied:
    del connection, thread_id, params
    msg = f"there is no such command; there are {', '.join(_HANDLERS)}"
    raise _UnknownCommand(msg)


_HANDLERS: Final[Mapping[str, Handler]] = {
    "run.start": _run_start,
    "input.respond": _input_respond,
    "agent.getTree": _get_tree,
    "state.get": _state_get,
    "state.listCheckpoints": _list_checkpoints,
    "state.fork": _state_fork,
    "input.inject": _unsupported,
    "subscription.reconnect": _unsupported,
}
