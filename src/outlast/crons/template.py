"""What the runs of a cron are made of, kept with it: the request as it was admitted, without its assistant.

The assistant is laid below it at each tick, so that a tick runs the version of that time.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, cast

import orjson

from outlast.admission.merging import merged
from outlast.admission.request import RunRequest, ThreadRules
from outlast.domain.options import RunOptions
from outlast.domain.thread import Ttl
from outlast.storage.postgres.crons import Tick


def template_of(request: RunRequest) -> bytes:
    """Return the request as bytes; its config and context are the client's own, without the assistant's."""
    rules = request.thread or ThreadRules()
    return orjson.dumps(
        {
            "input": request.input,
            "config": dict(request.config),
            "metadata": dict(request.metadata),
            "webhook": request.webhook,
            "options": orjson.Fragment(request.options.to_json() or b"{}"),
            "multitask": rules.multitask,
            "access": rules.access,
            "thread_metadata": dict(rules.metadata),
            "ttl": None if rules.ttl is None else asdict(rules.ttl),
        }
    )


def request_of(tick: Tick) -> RunRequest:
    """Return the request of one tick; raises InvalidInput when the assistant's configuration contradicts it."""
    stored = cast("dict[str, Any]", orjson.loads(tick.template))
    options = RunOptions.of_json(orjson.dumps(stored["options"]))
    config, context = merged(tick.assistant, stored["config"], options.context)
    return RunRequest(
        input=stored["input"],
        agent=tick.assistant.graph_id,
        assistant_id=tick.assistant.id,
        thread_id=tick.thread_id,
        config=config,
        metadata=stored["metadata"],
        webhook=stored["webhook"],
        temporary=tick.thread_id is None,
        options=replace(options, context=context or None, cron_id=str(tick.cron_id)),
        thread=_rules(tick, stored),
    )


def _rules(tick: Tick, stored: Mapping[str, Any]) -> ThreadRules:
    ids = {"graph_id": tick.assistant.graph_id, "assistant_id": str(tick.assistant.id)}
    return ThreadRules(
        multitask=stored["multitask"],
        if_not_exists="create" if tick.thread_id is None else "reject",
        access=stored["access"],
        metadata={**stored["thread_metadata"], **ids},
        ttl=None if stored["ttl"] is None else Ttl(**stored["ttl"]),
    )
