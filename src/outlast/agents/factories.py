"""What a factory of graphs is called with, and why it is called."""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, cast

from langchain_core.runnables import RunnableConfig
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.auth.types import BaseUser
from langgraph_sdk.runtime import (
    AccessContext,
    ServerRuntime,
    _ExecutionRuntime,  # pyright: ignore[reportPrivateUsage] - its constructor is the server's business, and we are one
    _ReadRuntime,  # pyright: ignore[reportPrivateUsage] - as above
)
from pydantic import BaseModel, ValidationError

from outlast.agents.contexts import fitting
from outlast.agents.users import ProxyUser
from outlast.errors import InvalidInput

__all__ = ["AccessContext", "Occasion", "Taken", "context_type"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A parameter of a factory that the server fills."""

    parameter: inspect.Parameter
    role: Literal["config", "runtime"]
    #: The class that the runtime's context is declared to be of.
    context: type[Any] | None = None

    @property
    def positional(self) -> bool:
        """Whether it can be given by position only."""
        return self.parameter.kind is inspect.Parameter.POSITIONAL_ONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Why a graph is needed, for whom, and with what configuration."""

    access: AccessContext = "threads.read"
    config: RunnableConfig | None = None
    user: BaseUser | Mapping[str, Any] | None = None
    context: Any = None
    #: None: nothing can be remembered, since the graph is only looked at.
    store: BaseStore | None = None

    def given_to(self, taken: Taken) -> object:
        """Return what a factory gets for this parameter.

        Raises InvalidInput when the context is not what the parameter's annotation declares.
        """
        if taken.role == "config":
            # Factories read config["configurable"]["..."], so that key is always there.
            return {"configurable": {}, **(self.config or {})}
        user = ProxyUser(self.user) if isinstance(self.user, Mapping) else self.user
        common: dict[str, Any] = {"access_context": self.access, "user": user, "store": self.store or InMemoryStore()}
        if self.access != "threads.create_run":
            return cast("Any", _ReadRuntime)(**common)
        return cast("Any", _ExecutionRuntime)(**common, context=_coerced(self.context, taken.context))


def context_type(function: Callable[..., Any], parameter: inspect.Parameter) -> type[Any] | None:
    """Return C of a parameter that is annotated with ServerRuntime[C]; None when it names none that can be read."""
    try:
        annotation = inspect.signature(function, eval_str=True).parameters[parameter.name].annotation
    # Whatever evaluating the author's annotations raises: without their names nothing is converted.
    except Exception:  # noqa: BLE001
        return None
    return next((found for found in _contexts_in(annotation) if isinstance(found, type)), None)


def _contexts_in(annotation: Any) -> Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin in (ServerRuntime, _ExecutionRuntime, _ReadRuntime):
        yield from typing.get_args(annotation)
        return
    for inner in typing.get_args(annotation):
        yield from _contexts_in(inner)


def _coerced(context: Any, declared: type[Any] | None) -> Any:
    """Return the context as LangGraph itself gives it to nodes: as an object of the declared class."""
    fits = fitting(context, declared)
    if declared is None or not isinstance(fits, dict):
        return fits
    if not (is_dataclass(declared) or issubclass(declared, BaseModel)):
        return cast("Any", fits)
    try:
        return declared(**fits)
    except (TypeError, ValidationError) as error:
        msg = f"the context is not a {declared.__name__}: {error}"
        raise InvalidInput(msg, field="context") from error
