"""Turn the object that a project file names into a graph.

What it may be, and how that is told: by its type and its signature. Nothing is called to find out,
because calling an agent would run it.

    a compiled graph, an @entrypoint function   used as it is
    a StateGraph                                compiled
    a function: a factory, when                 called; what it returns, awaits to or yields as a
      - it is annotated to return a graph, or   context manager is one of the above
      - it has no parameter, or
      - its first parameter is named `config` or `runtime`, or
      - one is annotated with RunnableConfig (the first) or ServerRuntime (any)
    any other async function                    is the agent itself: wrapped with `entrypoint()`
    anything else                               an error
"""

# LangGraph is typed, but pyright does not see it: the py.typed of a namespace package is not looked at.
# pyright: reportMissingTypeStubs=false

import inspect
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Final, Literal, cast

from langgraph.func import entrypoint
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from outlast.agents.factories import Occasion, Taken, context_type
from outlast.agents.loading import describe, graphs_in, load_attribute, user_error
from outlast.agents.project import AgentSpec, Project
from outlast.errors import AgentLoadError

Role = Literal["config", "runtime", "other"]
AnyGraph = Pregel[Any, Any, Any, Any]

_GRAPH_TYPE: Final = re.compile(r"\b(Pregel|StateGraph|CompiledStateGraph|CompiledGraph)\b")
_CONFIG_TYPE: Final = re.compile(r"\bRunnableConfig\b")
_RUNTIME_TYPE: Final = re.compile(r"\bServerRuntime\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an agent's graph comes from: it is there already, or `factory` makes it."""

    project: Project
    spec: AgentSpec
    graph: AnyGraph | None = None
    factory: Callable[..., Any] | None = None
    #: The factory's parameters that take the config or the server's runtime.
    takes: tuple[Taken, ...] = ()

    @property
    def per_call(self) -> bool:
        """Whether every use needs a graph of its own, because its config or its user decides what is built."""
        return bool(self.takes)


def find_source(project: Project, spec: AgentSpec) -> Source:
    """Import the agent's module and find out what makes its graph; calls nothing but the import."""
    module, value = load_attribute(project, spec)
    source = Source(project=project, spec=spec)
    if isinstance(value, Pregel | StateGraph):
        return replace(source, graph=_as_graph(source, value))
    if not callable(value) or not _is_function(value):
        raise AgentLoadError(f"{_named(source)} is {_kind(value)}, not a graph. {_what_to_name(module)}")
    return _from_function(source, value)


async def build_graph(source: Source, occasion: Occasion, resources: AsyncExitStack | None) -> AnyGraph:
    """Return the source's graph; a factory is called with what it takes of the occasion.

    When the factory is a context manager it is entered on `resources` and the graph is usable until
    that is closed. Without `resources` such a factory is refused. Raises AgentLoadError, and InvalidInput when the
    context that the occasion brings is not what the factory's runtime declares.
    """
    if source.graph is not None:
        return source.graph
    given = [(taken, occasion.given_to(taken)) for taken in source.takes]
    try:
        product = await _called(source, given)
        if resources is not None:
            product = await _entered(product, resources)
    # A factory is user code.
    except Exception as error:
        hint = " It is also called at start-up, with an empty config." if source.per_call else ""
        raise AgentLoadError(
            f"{_named(source)} is a factory, and calling it failed with\n"
            f"{user_error(source.project, error)}\nCorrect that line.{hint}"
        ) from error
    if isinstance(product, Pregel | StateGraph):
        return _as_graph(source, product)
    if isinstance(product, AbstractAsyncContextManager | AbstractContextManager) and resources is None:
        raise AgentLoadError(_unowned_resources(source))
    raise AgentLoadError(
        f"{_named(source)} was called as a factory, but made {_kind(cast('object', product))}, not a graph. "
        "Return a StateGraph or a compiled graph. If it is not a factory but the agent itself, decorate it with "
        "@entrypoint()."
    )


def _from_function(source: Source, function: Callable[..., Any]) -> Source:
    parameters, returns = _signature(source, function)
    roles: list[Role] = [_role(parameter) for parameter in parameters]
    makes_graph = bool(_GRAPH_TYPE.search(_text(returns))) or any(map(_takes_runtime, parameters))
    if makes_graph and roles[:1] == ["other"]:
        # Its only meaning beside those annotations: LangGraph's servers pass the config here.
        roles[0] = "config"
    if makes_graph or roles[:1] != ["other"]:
        return replace(source, factory=function, takes=_taken(source, function, parameters, roles))
    if not _is_async(function):
        raise AgentLoadError(
            f"{_named(source)} is a plain function of {parameters[0].name!r}, neither a factory nor an agent. "
            "If it makes a graph, name its parameter 'config' or annotate what it returns "
            "(-> CompiledStateGraph). If it is the agent itself, write `async def` or decorate it with @entrypoint()."
        )
    return replace(source, graph=_wrapped(source, function))


def _signature(source: Source, function: Callable[..., Any]) -> tuple[list[inspect.Parameter], object]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise AgentLoadError(
            f"{_named(source)} is a generator. If it yields a graph, decorate it with "
            "@contextlib.asynccontextmanager (or @contextlib.contextmanager)."
        )
    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise AgentLoadError(f"{_named(source)} has no signature to read. Wrap it in a function.") from error
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in signature.parameters.values() if p.kind not in variable], signature.return_annotation


def _taken(
    source: Source, function: Callable[..., Any], parameters: list[inspect.Parameter], roles: list[Role]
) -> tuple[Taken, ...]:
    taken: list[Taken] = []
    for parameter, role in zip(parameters, roles, strict=True):
        if role == "config":
            taken.append(Taken(parameter=parameter, role="config"))
        elif role == "runtime":
            taken.append(Taken(parameter=parameter, role="runtime", context=context_type(function, parameter)))
        elif parameter.default is parameter.empty:
            raise AgentLoadError(
                f"{_named(source)} is a factory with the parameter {parameter.name!r}: nobody can fill it. "
                "Let it take a RunnableConfig, a ServerRuntime, both or nothing, or give the parameter a default."
            )
    return tuple(taken)


def _takes_runtime(parameter: inspect.Parameter) -> bool:
    return bool(_RUNTIME_TYPE.search(_text(parameter.annotation)))


def _role(parameter: inspect.Parameter) -> Role:
    # What it is annotated with counts before its name.
    if _takes_runtime(parameter):
        return "runtime"
    if _CONFIG_TYPE.search(_text(parameter.annotation)):
        return "config"
    if parameter.name in ("config", "runtime"):
        return parameter.name
    return "other"


def _text(annotation: object) -> str:
    # Compared as text: an annotation may be a string that only a type checker can resolve.
    return "" if annotation is inspect.Parameter.empty else str(annotation)


async def _called(source: Source, given: list[tuple[Taken, object]]) -> object:
    positional = [value for taken, value in given if taken.positional]
    keywords = {taken.parameter.name: value for taken, value in given if not taken.positional}
    product = cast("Callable[..., Any]", source.factory)(*positional, **keywords)
    return await product if inspect.isawaitable(product) else product


async def _entered(product: object, resources: AsyncExitStack) -> object:
    if isinstance(product, AbstractAsyncContextManager):
        return await resources.enter_async_context(cast("AbstractAsyncContextManager[object]", product))
    if isinstance(product, AbstractContextManager):
        return resources.enter_context(cast("AbstractContextManager[object]", product))
    return product


def _as_graph(source: Source, graph: Any) -> AnyGraph:
    if isinstance(graph, Pregel):
        return cast("AnyGraph", graph)
    try:
        return graph.compile(name=source.spec.name)
    # LangGraph refuses in many ways, and compiling asks the user's types.
    except Exception as error:
        raise AgentLoadError(
            f"{_named(source)} is a StateGraph that does not compile:\n"
            f"{user_error(source.project, error)}\nCorrect its nodes and edges."
        ) from error


def _wrapped(source: Source, function: Callable[..., Any]) -> AnyGraph:
    try:
        return cast("Any", entrypoint())(function)
    # As above.
    except Exception as error:
        raise AgentLoadError(
            f"{_named(source)} is an async function that LangGraph's entrypoint() refuses:\n"
            f"{user_error(source.project, error)}\nDecorate a plain `async def` with @entrypoint() yourself."
        ) from error


def _is_function(value: Callable[..., object]) -> bool:
    # A LangGraph @task is callable too, but only inside a run.
    return not isinstance(value, type) and type(value).__module__ != "langgraph.func"


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _named(source: Source) -> str:
    return f"{describe(source.project, source.spec)}: {source.spec.attribute!r}"


def _kind(value: object) -> str:
    if isinstance(value, ModuleType):
        return f"the module {value.__name__!r}"
    return f"the class {value.__name__!r}" if isinstance(value, type) else f"of type {type(value).__qualname__!r}"


def _what_to_name(module: ModuleType) -> str:
    return (
        f"{graphs_in(module)} Name a StateGraph, a compiled graph, an @entrypoint function, "
        "a function that returns a graph, or an async function."
    )


def _unowned_resources(source: Source) -> str:
    return (
        f"{_named(source)} is a context manager that takes the run's config or runtime, so its graph lives as long as "
        "one run: "
        "take it with `async with registry.opened(name, config)`, which closes it, and not with `get`."
    )
