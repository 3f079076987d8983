"""The models that a call may ask: built from names, or made of a model that the user has.

Retries have one owner, the layer `retry`: SDKs and integrations that retry by themselves are told not to, in a copy.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from outlast.calls.call import Target
from outlast.errors import ConfigurationError
from outlast.settings import environment

_EXTRAS: Final = frozenset({"openai", "anthropic"})
# Fields whose value is where the model is, in the integrations that have one.
_ADDRESSES: Final = ("base_url", "api_base", "api_url", "endpoint", "azure_endpoint")
_KEY_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
}


@dataclass(frozen=True, slots=True)
class Named:
    """A model by its name (`openai:gpt-4o`), and what its constructor is called with."""

    name: str
    # May hold an API key.
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True)
class Given:
    """A model that the user has."""

    model: BaseChatModel = field(repr=False)


class Models:
    """The models of one chat model, in the order of preference; each is built when it is asked for the first time.

    A copy (`copy.deepcopy`, pickle) holds the same names and builds its own: clients of SDKs cannot be copied.
    """

    def __init__(self, origins: Iterable[Named | Given]) -> None:
        self.origins = tuple(origins)
        self._built: dict[int, Target] = {}
        self._building = threading.Lock()

    @property
    def first(self) -> Target:
        """The one that is preferred."""
        return self[0]

    @property
    def all(self) -> tuple[Target, ...]:
        """Every one; raises ConfigurationError if one cannot be built."""
        return tuple(self[index] for index in range(len(self.origins)))

    def __getitem__(self, index: int) -> Target:
        """Return one target; raises ConfigurationError that says what to install or which key is missing."""
        found = self._built.get(index)
        if found is None:
            with self._building:
                found = self._built.get(index)
                if found is None:
                    found = self._built[index] = _target(self.origins[index])
        return found

    def __repr__(self) -> str:
        return f"[{', '.join(_name(origin) for origin in self.origins)}]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Models) and self.origins == other.origins

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Models":
        return Models(self.origins)

    def __reduce__(self) -> tuple[Any, ...]:
        return Models, (self.origins,)


def without_retries(model: BaseChatModel) -> BaseChatModel:
    """Return the model, or a copy of it, that asks its provider once per call."""
    if not getattr(model, "max_retries", 0) and "max_retries" not in type(model).model_fields:
        return model
    if model.__dict__.get("max_retries") == 0:
        return model
    copy = model.model_copy(update={"max_retries": 0})
    values = cast("dict[str, Any]", copy.__dict__)
    for name, value in list(values.items()):
        if isinstance(getattr(type(copy), name, None), cached_property):
            # A client that was made with retries; the copy makes its own.
            del values[name]
        else:
            values[name] = _once(value)
    return copy


def fingerprint(model: BaseChatModel) -> str:
    """Return 8 hex digits that differ where API key or address do; neither can be got back from them."""
    hashed = blake2b(digest_size=4)
    for name in sorted(type(model).model_fields):
        value = getattr(model, name, None)
        if isinstance(value, SecretStr):
            hashed.update(f"{name}={value.get_secret_value()}\0".encode())
        elif name.endswith(_ADDRESSES) and value is not None:
            hashed.update(f"{name}={value}\0".encode())
    return hashed.hexdigest()


def _target(origin: Named | Given) -> Target:
    if isinstance(origin, Given):
        chat, said = without_retries(origin.model), _described(origin.model)
        return Target(provider=said[0], model=said[1], key=fingerprint(chat), chat=chat)
    chat = _built(origin)
    provider, model = _described(chat)
    prefix, separator, rest = origin.name.partition(":")
    if separator and rest:
        # As the user wrote it, since limits, prices and breakers of the settings are by these names.
        provider, model = prefix.replace("-", "_").lower(), rest
    return Target(provider=provider, model=model, key=fingerprint(chat), chat=chat)


def _described(model: BaseChatModel) -> tuple[str, str]:
    """Return provider and model as the integration itself reports them to tracers."""
    params = cast("Mapping[str, Any]", model._get_ls_params())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - its only name for both
    provider = str(params.get("ls_provider") or model._llm_type)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    name = params.get("ls_model_name") or getattr(model, "model_name", None) or getattr(model, "model", None)
    return provider, str(name or model._llm_type)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _built(origin: Named) -> BaseChatModel:
    from langchain.chat_models import init_chat_model  # noqa: PLC0415 - imports langgraph, which not every user needs

    if "max_retries" in origin.options:
        msg = f"model {origin.name!r}: max_retries is not an option here; tries are set in calls.retry"
        raise ConfigurationError(msg)
    try:
        model = cast("BaseChatModel", init_chat_model(origin.name, **_defaults(origin), **origin.options))
    except ImportError as error:
        raise ConfigurationError(_uninstalled(origin, error)) from error
    # Each integration refuses what it lacks with an error of its own: ValueError, its SDK's, pydantic's.
    except Exception as error:
        raise ConfigurationError(_refused(origin, error)) from error
    _require_key(origin, model)
    return without_retries(model)


def _defaults(origin: Named) -> dict[str, Any]:
    defaults: dict[str, Any] = {"max_retries": 0}
    if origin.name.partition(":")[0] == "openai" and "stream_usage" not in origin.options:
        # The integration leaves it out for addresses other than OpenAI's own; what nobody counted has no price.
        defaults["stream_usage"] = True
    return defaults


def _uninstalled(origin: Named, error: ImportError) -> str:
    provider = origin.name.partition(":")[0]
    # LangChain's own message names the package that is missing.
    remedy = f"run `pip install 'outlast[{provider}]'`" if provider in _EXTRAS else str(error)
    return f"model {origin.name!r} needs an integration package that is not installed: {remedy}"


def _refused(origin: Named, error: Exception) -> str:
    provider = origin.name.partition(":")[0]
    variables = _KEY_VARIABLES.get(provider, (f"{provider.upper()}_API_KEY",))
    if "api_key" in str(error).lower() or "api key" in str(error).lower():
        return f"model {origin.name!r} has no API key: set {variables[0]}, or pass api_key=..."
    # The text may repeat what it was given, keys included.
    return f"model {origin.name!r} cannot be built ({type(error).__name__}); see the error above for what is wrong"


def _require_key(origin: Named, model: BaseChatModel) -> None:
    """Refuse a model that will only find out when it is asked that it has no key."""
    provider = origin.name.partition(":")[0]
    variables = _KEY_VARIABLES.get(provider)
    if variables is None or any(environment().get(name) for name in variables):
        return
    keys = [
        getattr(model, name, None) for name in type(model).model_fields if name.endswith("api_key") and provider in name
    ]
    given = any(not isinstance(key, SecretStr) or key.get_secret_value() for key in keys if key is not None)
    if keys and not given and not getattr(model, "default_headers", None):
        msg = f"model {origin.name!r} has no API key: set {variables[0]}, or pass api_key=..."
        raise ConfigurationError(msg)


def _once(value: Any) -> Any:
    """Return an SDK's client, or a resource of one, with its retries off; anything else as it is."""
    if _retries(value):
        return value.with_options(max_retries=0)
    client: Any = getattr(value, "_client", None)
    return type(value)(client.with_options(max_retries=0)) if _retries(client) else value


def _retries(client: Any) -> bool:
    return bool(getattr(client, "max_retries", 0)) and callable(getattr(client, "with_options", None))


def _name(origin: Named | Given) -> str:
    return origin.name if isinstance(origin, Named) else type(origin.model).__name__
