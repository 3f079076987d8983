"""`outlast.chat_model` and `outlast.wrap`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel

from outlast.calls.building import Given, Models, Named
from outlast.calls.model import OutlastChatModel
from outlast.errors import ConfigurationError

# What LangChain does itself for every chat model, so it is done once, and not by each model that is asked.
_OWN: Final = (
    "name", "verbose", "callbacks", "tags", "metadata", "custom_get_token_ids", "rate_limiter", "disable_streaming",
)  # fmt: skip
# Options that mean the same to every provider.
_SHARED: Final = ("temperature", "max_tokens")


def chat_model(
    name: str,
    *,
    fallbacks: Sequence[str | BaseChatModel] = (),
    timeout: float | None = None,
    try_timeout: float | None = None,
    cache: bool | BaseCache | None = None,
    trim: bool | int | None = None,
    **options: Any,
) -> OutlastChatModel:
    """Return a chat model by its name, as `openai:gpt-4o`, whose calls survive.

    `fallbacks` are asked in this order when the ones before cannot answer: names, or models of LangChain. `options`
    are those of the integration (`temperature`, `base_url`, `api_key`...) for `name`; a fallback by name of the same
    provider gets them, too, one of another provider gets `temperature` and `max_tokens` alone.

    `timeout`: seconds for a call with all its tries, waits and fallbacks; `try_timeout`: for one try, or the pause
    between two chunks; `cache`: True keeps answers whatever the temperature, False never does, a cache of LangChain's
    is used as LangChain does; `trim`: whether (or to how many tokens) messages are left out so that the rest fits the
    model. None: as the settings say (`calls` in outlast.toml).

    Models are built when they are first asked: ConfigurationError then says which package or key is missing.
    """
    own = {name: options.pop(name) for name in _OWN if name in options}
    provider = name.partition(":")[0]
    shared = {key: options[key] for key in _SHARED if key in options}
    origins = [
        _origin(fallback, options if isinstance(fallback, str) and fallback.partition(":")[0] == provider else shared)
        for fallback in fallbacks
    ]
    return OutlastChatModel(
        models=Models([Named(name, options), *origins]),
        timeout=timeout,
        try_timeout=try_timeout,
        trim=trim,
        **_caches(cache),
        **own,
    )


def wrap(
    model: BaseChatModel,
    *,
    fallbacks: Sequence[str | BaseChatModel] = (),
    timeout: float | None = None,
    try_timeout: float | None = None,
    cache: bool | BaseCache | None = None,
    trim: bool | int | None = None,
) -> OutlastChatModel:
    """Return a model of LangChain's as one whose calls survive; see `chat_model`.

    The model itself stays as it is: a copy of it, with retries of its own switched off, is what is asked.
    """
    if isinstance(model, OutlastChatModel):
        msg = "this model's calls survive already; give its fallbacks where it is made"
        raise ConfigurationError(msg)
    own = {name: getattr(model, name) for name in (*_OWN, "cache") if name in model.model_fields_set}
    if model.output_version == "v1":
        own["output_version"] = "v1"
    return OutlastChatModel(
        models=Models([Given(model), *(_origin(fallback, {}) for fallback in fallbacks)]),
        timeout=timeout,
        try_timeout=try_timeout,
        trim=trim,
        **own,
        **_caches(cache),
    )


def _origin(fallback: str | BaseChatModel, options: Mapping[str, Any]) -> Named | Given:
    if isinstance(fallback, OutlastChatModel):
        msg = "a fallback's calls are taken care of already; name it, or give the model itself"
        raise ConfigurationError(msg)
    return Named(fallback, dict(options)) if isinstance(fallback, str) else Given(fallback)


def _caches(cache: "bool | BaseCache | None") -> dict[str, Any]:
    # A cache of LangChain's own stays LangChain's business.
    return {"cache": cache} if isinstance(cache, BaseCache) else {"keep_answers": cache}
