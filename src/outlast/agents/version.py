"""The version of a graph: equal in every process, different when the graph's shape is.

A run keeps the version of the graph it ran on, so that a resume on a graph of another shape is
noticed. What counts is what a stored state depends on: nodes, edges, state keys with their types
and reducers. Names count without their module: moving a class to another file changes nothing.
What nodes do is not looked at. No `repr()` or `hash()` is used: both differ between processes.
"""

# LangGraph is typed, but pyright does not see it: the py.typed of a namespace package is not looked at.
# pyright: reportMissingTypeStubs=false

import functools
import hashlib
import inspect
import json
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, ForwardRef, Union, cast, get_args, get_origin

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

# The channel in which @entrypoint keeps its last return value; nothing else has one.
_ENTRYPOINT_CHANNEL: Final = "__previous__"
# LangGraph's own channels: what they hold follows from the nodes, and their types from its release.
_INTERNAL_CHANNELS: Final = frozenset({"__pregel_tasks"})


def graph_version(graph: Pregel[Any, Any, Any, Any]) -> str:
    """12 hex digits that name the shape of the graph and of its subgraphs.

    For `@entrypoint` functions the shape is the function's qualified name and signature.
    """
    text = json.dumps(_shape(graph, seen=()), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# Graphs are Any from here on: much of what is read of them is generic without parameters.
def _shape(graph: Any, *, seen: tuple[int, ...]) -> dict[str, Any]:
    # A graph may hold itself as a node; the inner one adds nothing new.
    if id(graph) in seen:
        return {"again": len(seen) - seen.index(id(graph))}
    subgraphs = {
        name: _shape(subgraph, seen=(*seen, id(graph)))
        for name, subgraph in graph.get_subgraphs()
        if isinstance(subgraph, Pregel)
    }
    if isinstance(graph, CompiledStateGraph):
        shape = _state_graph_shape(graph)
    elif _ENTRYPOINT_CHANNEL in graph.channels:
        shape = _entrypoint_shape(graph)
    else:
        shape = _pregel_shape(graph)
    return {**shape, "subgraphs": subgraphs}


def _state_graph_shape(graph: Any) -> dict[str, Any]:
    builder = graph.builder
    edges = [[start, end] for start, end in builder.edges]
    edges += [["+".join(sorted(starts)), end] for starts, end in builder.waiting_edges]
    conditional = [
        [start, target]
        for start, branches in builder.branches.items()
        for branch in branches.values()
        # Without declared targets a branch may go anywhere.
        for target in (branch.ends.values() if branch.ends else ["*"])
    ]
    conditional += [[name, target] for name, node in builder.nodes.items() for target in node.ends or ()]
    return {
        "kind": "state graph",
        "nodes": sorted(graph.nodes),
        "edges": sorted(edges),
        "conditional": sorted(conditional),
        "state": _channels(builder.channels),
        "managed": sorted(builder.managed),
    }


def _entrypoint_shape(graph: Any) -> dict[str, Any]:
    function = _function(next(iter(graph.nodes.values())).bound)
    signature = inspect.signature(function)
    parameters = [
        [p.name, p.kind.name, p.default is not p.empty, _type(p.annotation)] for p in signature.parameters.values()
    ]
    return {
        "kind": "entrypoint",
        "function": _name(function),
        "parameters": parameters,
        "returns": _type(signature.return_annotation),
    }


def _pregel_shape(graph: Any) -> dict[str, Any]:
    nodes = {
        name: {
            "triggers": sorted(node.triggers),
            "reads": node.channels if isinstance(node.channels, str) else sorted(node.channels),
        }
        for name, node in graph.nodes.items()
    }
    channels = {k: v for k, v in graph.channels.items() if k not in _INTERNAL_CHANNELS}
    return {"kind": "pregel", "nodes": nodes, "state": _channels(channels)}


def _function(bound: object) -> Callable[..., Any]:
    function = getattr(bound, "func", None) or getattr(bound, "afunc", None)
    while isinstance(function, functools.partial):
        function = cast("functools.partial[Any]", function).func
    return inspect.unwrap(cast("Callable[..., Any]", function))


def _channels(channels: Mapping[str, object]) -> dict[str, list[str]]:
    shape: dict[str, list[str]] = {}
    for name, channel in channels.items():
        reducer = getattr(channel, "operator", None) or getattr(channel, "reducer", None)
        shape[name] = [type(channel).__name__, _type(getattr(channel, "typ", None)), _name(reducer) if reducer else ""]
    return shape


def _type(annotation: object) -> str:
    """Write a type as text; `"State"`, `State` and `ForwardRef("State")` are the same text."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    metadata: tuple[object, ...] = getattr(annotation, "__metadata__", ())
    if metadata:
        inner = cast("Any", annotation).__origin__
        return f"Annotated[{_joined([_type(inner), *map(_name, metadata)])}]"
    origin = get_origin(annotation)
    if origin is None:
        return _value(annotation)
    arguments = [_type(a) for a in _flat(get_args(annotation))]
    if origin in (Union, types.UnionType):
        return f"Union[{_joined(sorted(arguments))}]"
    return f"{_name(origin)}[{_joined(arguments)}]"


def _flat(arguments: Iterable[object]) -> Iterable[object]:
    for argument in arguments:
        # Callable[[int], str] has a list among its arguments.
        if isinstance(argument, list):
            yield from cast("list[object]", argument)
        else:
            yield argument


def _value(value: object) -> str:
    """Write a bare type, or a value inside Literal[...]."""
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, bool | int | bytes):
        return repr(value)
    return _name(value)


def _name(thing: object) -> str:
    """Name a class or function; anything else by its class, because a repr may hold an address."""
    while isinstance(thing, functools.partial):
        thing = cast("functools.partial[Any]", thing).func
    for attribute in ("__qualname__", "__name__", "_name"):
        name = getattr(thing, attribute, None)
        if isinstance(name, str):
            return name
    return type(thing).__qualname__


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
