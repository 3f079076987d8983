"""The checks of what the Agent Server API lets a client choose: stream modes, commands, checkpoints, a webhook."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from outlast.admission.payload import PayloadLimits, check_value
from outlast.admission.request import Check, RunRequest
from outlast.domain.options import RunOptions
from outlast.domain.webhook import WebhookPolicy, check_webhook
from outlast.errors import InvalidInput, NotSupported

STREAM_MODES: Final = frozenset(
    {"values", "updates", "messages", "messages-tuple", "custom", "tasks", "checkpoints", "debug", "events"}
)
_COMMAND: Final = frozenset({"resume", "update", "goto"})
_SEND: Final = frozenset({"node", "input"})
_CHECKPOINT: Final = frozenset({"checkpoint_id", "checkpoint_ns", "checkpoint_map"})


def usable_options(limits: PayloadLimits, *, webhooks: WebhookPolicy | None, tracing: bool) -> Check:
    """Return the check of a run's options.

    `webhooks` is the project's policy, None when it has none of its own; `tracing` says whether a tracer of LangSmith
    is configured, since a choice of project for one that is not there would be ignored.
    """
    policy = webhooks or WebhookPolicy()

    def check(request: RunRequest) -> RunRequest:
        options = request.options
        if options.plain:
            return request
        _check_modes(options.stream_modes)
        _check_command(options.command, limits)
        _check_checkpoint(options.checkpoint, limits)
        check_value(options.context, limits, field="context")
        if options.command is not None and options.command.get("resume") is not None and request.temporary:
            msg = "a run without a thread has no question to answer"
            raise InvalidInput(msg, field="command.resume")
        if request.webhook is not None:
            check_webhook(request.webhook, policy)
        _check_tracer(options, tracing=tracing)
        return request

    return check


def _check_modes(modes: Sequence[str]) -> None:
    for mode in modes:
        if mode not in STREAM_MODES:
            msg = f"there is no stream mode {mode[:100]!r}; there are {', '.join(sorted(STREAM_MODES))}"
            raise InvalidInput(msg, field="stream_mode")


def _check_command(command: Mapping[str, Any] | None, limits: PayloadLimits) -> None:
    if command is None:
        return
    if unknown := sorted(command.keys() - _COMMAND):
        msg = f"a command has resume, update and goto, no {unknown[0][:100]!r}"
        raise InvalidInput(msg, field="command")
    check_value(command.get("resume"), limits, field="command.resume")
    check_value(command.get("update"), limits, field="command.update")
    goto = command.get("goto")
    for target in cast("list[Any]", goto) if isinstance(goto, list) else [goto]:
        _check_target(target, limits)


def _check_target(target: Any, limits: PayloadLimits) -> None:
    if target is None or isinstance(target, str):
        return
    if not isinstance(target, Mapping) or not isinstance(cast("Mapping[str, Any]", target).get("node"), str):
        msg = 'goto names a node: its name, or {"node": name, "input": value}, or a list of these'
        raise InvalidInput(msg, field="command.goto")
    send = cast("Mapping[str, Any]", target)
    if unknown := sorted(send.keys() - _SEND):
        msg = f"a goto has node and input, no {unknown[0][:100]!r}"
        raise InvalidInput(msg, field="command.goto")
    check_value(send.get("input"), limits, field="command.goto")


def _check_checkpoint(checkpoint: Mapping[str, Any] | None, limits: PayloadLimits) -> None:
    if checkpoint is None:
        return
    if unknown := sorted(checkpoint.keys() - _CHECKPOINT):
        msg = f"a checkpoint has {', '.join(sorted(_CHECKPOINT))}, no {unknown[0][:100]!r}"
        raise InvalidInput(msg, field="checkpoint")
    for name in ("checkpoint_id", "checkpoint_ns"):
        if not isinstance(checkpoint.get(name), str | None):
            msg = f"{name} is a text"
            raise InvalidInput(msg, field=f"checkpoint.{name}")
    check_value(checkpoint.get("checkpoint_map"), limits, field="checkpoint.checkpoint_map")


def _check_tracer(options: RunOptions, *, tracing: bool) -> None:
    if options.tracer and not tracing:
        msg = "langsmith_tracer chooses a project of LangSmith, and no tracing is configured on this server"
        raise NotSupported(msg, field="langsmith_tracer")
