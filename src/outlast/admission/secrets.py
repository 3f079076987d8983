"""The check that no secret comes along where everything is kept, shown and searched.

What stands in `configurable`, `context` and metadata is stored with the run, read by whoever may read the run, and
passed to tracers. A key of a provider has no business there: tools and models take it from the environment or a file.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from outlast.admission.request import RunRequest
from outlast.domain.redaction import is_known_secret, secret_name
from outlast.errors import InvalidInput

# `configurable` is rarely deeper than two levels; what is deeper is somebody's data.
_DEEPEST = 4


def free_of_secrets(request: RunRequest) -> RunRequest:
    """Refuse a request that carries a secret beside its input; raises InvalidInput naming the field."""
    check_secrets(request.config.get("configurable"), field="config.configurable")
    check_secrets(request.config.get("metadata"), field="config.metadata")
    check_secrets(request.options.context, field="context")
    check_secrets(request.metadata, field="metadata")
    if request.thread is not None:
        check_secrets(request.thread.metadata, field="thread.metadata")
    return request


def check_secrets(value: Any, *, field: str) -> None:
    """Raise InvalidInput when a field of the value is named like a secret and holds a text, or holds a known one."""
    for path, name, text in _texts(value, field, depth=0):
        if secret_name(name) or is_known_secret(text):
            msg = (
                f"{path} looks like a secret, and what stands there is stored and shown; give it to the agent by the "
                "environment of the worker (OPENAI_API_KEY, or OPENAI_API_KEY_FILE) and pass a name for it instead"
            )
            raise InvalidInput(msg, field=path)


def _texts(value: Any, path: str, *, depth: int) -> Iterator[tuple[str, str, str]]:
    """Yield the texts of a value, with path and name."""
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return
    for name, inner in cast("Mapping[str, Any]", value).items():
        # Made by us out of what auth says, and needed by the graph.
        if name.startswith("langgraph_auth_user"):
            continue
        if isinstance(inner, str) and inner:
            yield f"{path}.{name[:100]}", name, inner
        else:
            yield from _texts(inner, f"{path}.{name[:100]}", depth=depth + 1)
