"""What schemathesis has to know about this API: which things are there, and what it must not wait for.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS), in a process of its own.
"""

import os
from typing import Any

import schemathesis

_KNOWN = {
    kind: ids.split(",")
    for kind, _, ids in (part.partition("=") for part in os.environ.get("OUTLAST_FUZZ_IDS", "").split(";") if part)
}
_AGENTS = ("steps", "ask", "see", "broken", "nested", "agent")
# Of the ids that schemathesis makes up, so many become known ones; the others stay unknown.
_OF_FOUR = 3


@schemathesis.hook
def map_path_parameters(_context: Any, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Lead most requests to things that are there; whoever waits for a run of an agent that is off waits for ever."""
    if parameters is None:
        return None
    known = {name: _known(name, value) for name, value in parameters.items()}
    return {
        name: "nobody" if name in {"name", "agent"} and value in _AGENTS else value for name, value in known.items()
    }


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    """Let runs be due at once, since some requests wait for their end; and let most of them name an assistant."""
    bodies = body if isinstance(body, list) else [body]
    for item in bodies:
        if not isinstance(item, dict):
            continue
        delay = item.get("after_seconds")
        if isinstance(delay, int | float) and delay > 1:
            item["after_seconds"] = 1
        if isinstance(item.get("assistant_id"), str):
            item["assistant_id"] = _assistant(item["assistant_id"])
        if isinstance(item.get("tenant"), str):
            # Erased with everything in it, the others' things were gone.
            item["tenant"] = "nobody"
        if isinstance(item.get("thread_id"), str):
            item["thread_id"] = _known("thread_id", item["thread_id"])
    return body


def _known(name: str, value: Any) -> Any:
    ids = _KNOWN.get(name)
    if not ids or not isinstance(value, str):
        return value
    # By the value itself, so that a seed repeats the run.
    number = sum(value.encode("utf-8", "replace"))
    return ids[number % len(ids)] if number % 4 < _OF_FOUR else value


def _assistant(value: str) -> str:
    number = sum(value.encode("utf-8", "replace"))
    return _AGENTS[number % len(_AGENTS)] if number % 4 < _OF_FOUR else value
