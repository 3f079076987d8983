"""What of a run's configuration is kept with a checkpoint: an allow-list, never everything.

LangGraph's savers copy every scalar of `configurable` into the stored metadata, API keys included. Kept here are what
LangGraph itself passes as metadata, the caller's own `config["metadata"]`, and the few ids below.
"""

from functools import lru_cache
from typing import Any, Final, cast

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import EXCLUDED_METADATA_KEYS, CheckpointMetadata

_FROM_CONFIGURABLE: Final = frozenset({"run_id", "graph_id", "assistant_id"})
# langchain-core copies `configurable` into `metadata`, so a key that is in both was not put there by the caller.
_SECRET_WORDS: Final = ("api_key", "apikey", "token", "secret", "password", "authorization", "credential")


def stored_metadata(config: RunnableConfig, metadata: CheckpointMetadata) -> dict[str, Any]:
    """Return the metadata to store with a checkpoint."""
    kept: dict[str, Any] = {key: value for key, value in metadata.items() if key != "writes"}
    configurable = config.get("configurable") or {}
    for key, value in (config.get("metadata") or {}).items():
        if key not in configurable and _may_keep(key, value):
            kept.setdefault(key, value)
    for key in _FROM_CONFIGURABLE & configurable.keys():
        if isinstance(configurable[key], str):
            kept.setdefault(key, configurable[key])
    return kept


def _may_keep(key: str, value: object) -> bool:
    return isinstance(value, str | int | float | bool) and _is_public(key)


# The checkpoints of a run all have the same keys.
@lru_cache(maxsize=1024)
def _is_public(key: str) -> bool:
    lowered = key.lower()
    return (
        key not in EXCLUDED_METADATA_KEYS
        and not key.startswith("__")
        and not any(word in lowered for word in _SECRET_WORDS)
    )


def encode_metadata(metadata: dict[str, Any]) -> bytes:
    """Encode as JSON that PostgreSQL's jsonb accepts: no NUL, no lone surrogates, no NaN, no huge integers."""
    try:
        encoded = orjson.dumps(metadata, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        encoded = orjson.dumps(_sanitised(metadata), default=repr, option=orjson.OPT_NON_STR_KEYS)
    if rb"\u0000" in encoded:
        encoded = orjson.dumps(_sanitised(metadata), default=repr, option=orjson.OPT_NON_STR_KEYS)
    return encoded


def _sanitised(value: object) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_sanitised(str(key)): _sanitised(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_sanitised(item) for item in cast("list[object]", value)]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value
