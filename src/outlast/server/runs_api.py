"""From a body to a stored run: the one way in for every route of the Agent Server API that creates runs.

body -> who asks, and for which assistant -> what auth makes of it -> the gate
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote
from uuid import UUID

import uuid_utils.compat as uuid_utils
from pydantic import ValidationError
from starlette.requests import HTTPConnection, Request

from outlast.admission.gate import Admitted
from outlast.admission.idempotency import Idempotency
from outlast.admission.merging import merged
from outlast.admission.request import RunRequest, ThreadRules
from outlast.domain.access import require_scope
from outlast.domain.assistant import Assistant
from outlast.domain.options import Protocol, RunOptions
from outlast.domain.redaction import secret_name
from outlast.domain.run import RunStatus, RunView
from outlast.domain.wire import result_body
from outlast.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound
from outlast.runtime import Runtime
from outlast.server import agent_inbox
from outlast.server.auth.access import allowed, stamps, user_of
from outlast.server.current import gate_of, runtime_of
from outlast.server.node_names import check_nodes
from outlast.server.run_bodies import Body, CheckpointBody, RunBody
from outlast.server.thread_bodies import default_ttl
from outlast.server.thread_values import values_of

B = TypeVar("B", bound=Body)
# What `configurable` says of the checkpoint in LangGraph's own calls.
_CHECKPOINT: Final = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
# What an auth handler gets as the arguments of the run, and may change.
_KWARGS: Final = (
    "input", "command", "config", "context", "checkpoint", "checkpoint_id", "checkpoint_during", "durability",
    "interrupt_before", "interrupt_after", "stream_mode", "stream_subgraphs", "stream_resumable", "feedback_keys",
    "webhook", "on_completion", "strict_resume",
)  # fmt: skip
_CHOICES: Final = ("metadata", "multitask_strategy", "if_not_exists", "after_seconds")


async def start_run(
    connection: HTTPConnection,
    body: RunBody,
    *,
    thread_id: str | None,
    live: bool = False,
    protocol: Protocol = "v1",
    key: Idempotency | None = None,
) -> Admitted:
    """Store the run that is wanted; when this returns, it is durable.

    Without a thread it gets one of its own, which goes when the run has ended, or stays. Raises InvalidInput naming the
    field, NotFound for an assistant or a thread that is not there or not this caller's, Conflict when the thread is not
    in a state for it, DatabaseUnavailable.
    """
    request = await wanted_run(connection, body, thread_id=thread_id, live=live, protocol=protocol, key=key)
    return await gate_of(connection).admit(request)


async def wanted_run(
    connection: HTTPConnection,
    body: RunBody,
    *,
    thread_id: str | None,
    live: bool = False,
    protocol: Protocol = "v1",
    key: Idempotency | None = None,
    merge: bool = True,
) -> RunRequest:
    """Return what the gate is asked for; the thread has its id already, so that it can be followed before the run is.

    Without `merge` its config and context are the request's own, without the assistant's below them. Raises what
    `start_run` raises.
    """
    if body.command is not None and "resume" in body.command.model_fields_set:
        require_scope("inbox:answer")
    runtime = runtime_of(connection)
    assistant = await _assistant(connection, runtime, body.assistant_id)
    body, access = await _authorized(connection, body, thread_id, assistant)
    body = await _heard(runtime, body, thread_id, access)
    config, context = _config(body), body.context or {}
    if merge:
        config, context = merged(assistant, config, context)
    config = _with_headers(connection, runtime, config)
    user = await user_of(connection)
    await check_nodes(runtime, assistant.graph_id, body, config=config, user=user)
    return RunRequest(
        input=body.input,
        agent=assistant.graph_id,
        assistant_id=assistant.id,
        thread_id=thread_id or str(uuid_utils.uuid7()),
        config=config,
        metadata=body.metadata or {},
        delay_seconds=body.after_seconds or 0.0,
        idempotency=key,
        webhook=body.webhook,
        temporary=thread_id is None,
        options=replace(
            _options(body, stateless=thread_id is None),
            protocol=protocol,
            live=live,
            context=context or None,
            checkpoint=_checkpoint(body, thread_id),
            user=None if user is None else user.to_json(),
        ),
        thread=_rules(connection, body, assistant, made=thread_id is None, access=access),
    )


def _rules(
    connection: HTTPConnection, body: RunBody, assistant: Assistant, *, made: bool, access: str | None
) -> ThreadRules:
    """Return what is wanted of the thread; `made`: it is made for this run."""
    ids = {"graph_id": assistant.graph_id, "assistant_id": str(assistant.id)}
    return ThreadRules(
        multitask=body.multitask_strategy or "enqueue",
        if_not_exists="create" if made else body.if_not_exists or "reject",
        access=access,
        metadata={**stamps(connection), **ids},
        ttl=default_ttl(runtime_of(connection)),
    )


def run_path(thread_id: str, run_id: UUID) -> str:
    """Return the address of a run; a thread made outside of this API may have any name."""
    return f"/threads/{quote(thread_id, safe='')}/runs/{run_id}"


async def idempotency(request: Request) -> Idempotency | None:
    """Return the client's key for this request, if it sent one; raises InvalidInput when it is no name."""
    key = request.headers.get("idempotency-key")
    return None if key is None else Idempotency.of(request.url.path, key, await request.body())


async def _assistant(connection: HTTPConnection, runtime: Runtime, name_or_id: str) -> Assistant:
    """Return the assistant; a graph's own one belongs to everybody, others are subject to auth.

    Raises NotFound also for an assistant whose graph has left the project.
    """
    assistant = await runtime.assistants.resolve(name_or_id)
    if not assistant.of_system:
        _, access = await allowed(connection, "assistants", "read", {"assistant_id": str(assistant.id)})
        if access is not None:
            assistant = await runtime.assistants.get(assistant.id, access=access)
    if assistant.graph_id not in runtime.registry.names:
        kind = "graph"
        raise NotFound(kind, assistant.graph_id)
    return assistant


async def _authorized(
    connection: HTTPConnection, body: RunBody, thread_id: str | None, assistant: Assistant
) -> tuple[RunBody, str | None]:
    """Return the body as auth leaves it, checked again, and the filter that the thread has to match."""
    if await user_of(connection) is None:
        return body, None
    value = {
        "thread_id": thread_id,
        "assistant_id": str(assistant.id),
        "run_id": None,
        "status": "pending",
        "metadata": dict(body.metadata or {}),
        "multitask_strategy": body.multitask_strategy or "enqueue",
        "prevent_insert_if_inflight": body.multitask_strategy == "reject",
        "if_not_exists": body.if_not_exists or "reject",
        "after_seconds": body.after_seconds or 0,
        "kwargs": body.model_dump(include=set(_KWARGS), exclude_unset=True),
    }
    value, access = await allowed(connection, "threads", "create_run", value)
    choices = {name: value[name] for name in _CHOICES if value.get(name) is not None}
    given = body.model_dump(exclude_unset=True, exclude=set(_KWARGS))
    return checked(type(body), {**given, **choices, **(value.get("kwargs") or {})}), access


async def _heard(runtime: Runtime, body: RunBody, thread_id: str | None, access: str | None) -> RunBody:
    """Return the body with an answer in Agent Inbox's shape as whoever has asked understands it."""
    if body.command is None or thread_id is None or not agent_inbox.is_reply(body.command.resume):
        return body
    thread = await runtime.threads.get(thread_id, access=access)
    resume = agent_inbox.heard(body.command.resume, thread)
    return body.model_copy(update={"command": body.command.model_copy(update={"resume": resume})})


def _config(body: RunBody) -> dict[str, Any]:
    """Return the configuration without what names the thread and the checkpoint; those are told apart from it."""
    config = body.config.model_dump(exclude_none=True) if body.config is not None else {}
    configurable = config.pop("configurable", {})
    if kept := {key: value for key, value in configurable.items() if key not in (*_CHECKPOINT, "thread_id")}:
        config["configurable"] = kept
    return config


def _with_headers(connection: HTTPConnection, runtime: Runtime, config: dict[str, Any]) -> dict[str, Any]:
    """Add the headers that the project wants in `configurable`; proxies set them, so they win over what a body says."""
    rules = runtime.project.sections.http.configurable_headers
    chosen = rules.chosen(connection.headers) if rules is not None else {}
    # A pattern like `x-*` is not meant for keys, and what comes along here is stored.
    headers = {name: value for name, value in chosen.items() if not secret_name(name)}
    return {**config, "configurable": {**config.get("configurable", {}), **headers}} if headers else config


def _checkpoint(body: RunBody, thread_id: str | None) -> Mapping[str, Any] | None:
    """Return the checkpoint to start from, wherever the body names it; raises InvalidInput for another thread's."""
    configurable = (body.config.configurable if body.config is not None else None) or {}
    _of_thread(configurable.get("thread_id"), thread_id, "config.configurable.thread_id")
    if body.checkpoint is not None:
        _of_thread(body.checkpoint.thread_id, thread_id, "checkpoint.thread_id")
        chosen = body.checkpoint.model_dump(exclude_none=True, exclude={"thread_id"})
        chosen.setdefault("checkpoint_id", body.checkpoint_id)
    elif body.checkpoint_id is not None:
        chosen = {"checkpoint_id": body.checkpoint_id}
    else:
        chosen = _named_in(configurable)
    if not chosen.get("checkpoint_id"):
        # Without an id it is the newest one, whatever else it says.
        return None
    if thread_id is None:
        msg = "a run without a thread has no checkpoint to start from"
        raise InvalidInput(msg, field="config.configurable.checkpoint_id")
    return chosen


def _named_in(configurable: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {key: configurable[key] for key in _CHECKPOINT if configurable.get(key) is not None}
    return checked(CheckpointBody, chosen, "config.configurable").model_dump(exclude_none=True)


def checked(kind: type[B], value: Mapping[str, Any], place: str = "") -> B:
    """Return the value as a body; raises InvalidInput naming the first field that is wrong."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in (place, *first["loc"]) if part != "")
        raise InvalidInput(f"{field}: {first['msg']}", field=field) from error


def _of_thread(named: object, thread_id: str | None, field: str) -> None:
    if named is None:
        return
    if not isinstance(named, str) or thread_id is None or named.lower() != thread_id.lower():
        msg = f"{field} is {str(named)[:100]!r}, and the run is on thread {thread_id!r}"
        raise InvalidInput(msg, field=field)


def _options(body: RunBody, *, stateless: bool) -> RunOptions:
    """Return what the body itself says of the call."""
    return RunOptions(
        command=body.command.model_dump(exclude_unset=True) if body.command is not None else None,
        stream_modes=body.modes,
        stream_subgraphs=bool(body.stream_subgraphs),
        resumable=bool(body.stream_resumable),
        interrupt_before=_nodes(body.interrupt_before),
        interrupt_after=_nodes(body.interrupt_after),
        durability=body.durability or ("exit" if body.checkpoint_during is False else "sync"),
        on_completion=(body.on_completion or "delete") if stateless else "keep",
        feedback_keys=tuple(body.feedback_keys or ()),
        tracer=body.langsmith_tracer.model_dump(exclude_none=True) if body.langsmith_tracer is not None else None,
        strict_resume=bool(body.strict_resume),
    )


def _nodes(names: Any) -> Any:
    return names if names is None or names == "*" else tuple(names)


async def result_of(runtime: Runtime, run: RunView) -> Any:
    """Return what a client gets that waited for a run that has ended.

    A run keeps its own result for an hour, so that it is not the next run's. Later, and for a run that was stopped, it
    is what the thread holds.
    """
    if run.status is RunStatus.FAILED:
        return result_body(run, None)
    return result_body(run, run.output if run.output is not None else await _thread_values(runtime, run.thread_id))


async def _thread_values(runtime: Runtime, thread_id: str) -> Any:
    try:
        return await values_of(runtime, await runtime.threads.get(thread_id, access=None))
    except NotFound:
        return None


def cancel_in_background(connection: HTTPConnection, run_id: UUID) -> None:
    """Cancel a run whose client has left. A task of the app: that of the request ends with the request."""
    tasks = cast("set[asyncio.Task[None]]", connection.app.state.background)
    task = asyncio.create_task(_cancel(runtime_of(connection), run_id), name=f"cancel {run_id}")
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _cancel(runtime: Runtime, run_id: UUID) -> None:
    delay = 0.1
    while True:
        try:
            await runtime.queue.cancel(run_id, reason="the client disconnected")
        except (Conflict, NotFound):
            # It has ended, which is as good.
            return
        except DatabaseUnavailable:
            # Nobody else knows that the client has left.
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)
        else:
            return
