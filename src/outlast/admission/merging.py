"""An assistant's configuration with a request's on top."""

from collections.abc import Mapping
from typing import Any, cast

from outlast.domain.assistant import Assistant, mirrored


def merged(
    assistant: Assistant, config: Mapping[str, Any] | None, context: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration and the context of a run.

    What the request says wins over what the assistant says, key by key; tags of both are kept. `context` and
    `config.configurable` say the same, so either may be given for the two. Raises InvalidInput when the request gives
    both and they differ.
    """
    below, context_below = mirrored(assistant.config, assistant.context)
    above, context_above = mirrored(config, context)
    whole = {**below, **above}
    if tags := [*_tags(below), *_tags(above)]:
        whole["tags"] = list(dict.fromkeys(tags))
    shared = {**context_below, **context_above}
    if shared:
        whole["configurable"] = shared
    return whole, shared


def _tags(config: Mapping[str, Any]) -> list[str]:
    return cast("list[str]", config.get("tags") or [])
