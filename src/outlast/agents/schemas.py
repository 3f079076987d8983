"""What a graph looks like from outside: its drawing, and the JSON schemas of what it takes, gives and keeps."""

# LangGraph is typed, but pyright does not see it: the py.typed of a namespace package is not looked at.
# pyright: reportMissingTypeStubs=false

from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import copy
from typing import Any, Literal

from langgraph.pregel import Pregel

from outlast.agents.building import AnyGraph
from outlast.agents.jsonable import jsonable
from outlast.errors import InvalidInput

Schema = dict[str, Any] | None
_channels: Any = Pregel


async def graph_body(graph: AnyGraph, *, xray: int | bool = False) -> dict[str, Any]:
    """Return nodes and edges; `xray` draws subgraphs too, as deep as it says.

    Raises InvalidInput when the graph cannot be drawn.
    """
    try:
        return jsonable((await graph.aget_graph(xray=xray)).to_json())
    # Drawing asks the user's own code for types and names.
    except Exception as error:
        msg = f"this graph cannot be drawn: {type(error).__name__}: {error}"
        raise InvalidInput(msg) from error


def schemas_of(graph_id: str, graph: Any) -> dict[str, Any]:
    """Return the graph's schemas; what it has no schema for, or none that can be written as JSON, is None."""
    context = _or_none(graph.get_context_jsonschema)
    return {
        "graph_id": graph_id,
        "input_schema": _or_none(graph.get_input_jsonschema, lambda: _declared(graph, "input")),
        "output_schema": _or_none(graph.get_output_jsonschema, lambda: _declared(graph, "output")),
        "state_schema": _or_none(lambda: _of_channels(graph, "State", graph.stream_channels_list)),
        "config_schema": _config_schema(context),
        "context_schema": context,
    }


def subgraph_schemas(graph: Any, *, namespace: str | None = None, recurse: bool = False) -> dict[str, dict[str, Any]]:
    """Return the schemas of the graphs inside a graph by namespace; `recurse` goes into those as well."""
    return {
        name: schemas_of(getattr(inner, "name", name), inner)
        for name, inner in graph.get_subgraphs(namespace=namespace, recurse=recurse)
    }


def _declared(graph: Any, side: Literal["input", "output"]) -> Schema:
    """Return the schema of a StateGraph's input or output from its channels.

    For types that cannot be described themselves, as `typing.TypedDict` before Python 3.12.
    """
    builder = graph.builder
    keys = builder.schemas[getattr(builder, f"{side}_schema")]
    return _of_channels(graph, side.capitalize(), keys)


def _of_channels(graph: Any, title: str, names: Iterable[str]) -> Schema:
    whole = copy(graph)
    whole.output_channels = [name for name in names if name in graph.channels]
    schema = _channels.get_output_jsonschema(whole)
    return {**schema, "title": graph.get_name(title)}


def _config_schema(context: Schema) -> Schema:
    """Return the schema of `configurable`, which says the same as the context; its types are told there."""
    if context is None:
        return None
    inner = {key: value for key, value in context.items() if key != "$defs"}
    schema: dict[str, Any] = {"title": "Config", "type": "object", "properties": {"configurable": inner}}
    return {**schema, "$defs": context["$defs"]} if "$defs" in context else schema


def _or_none(*ways: Callable[[], Schema]) -> Schema:
    for way in ways:
        # A type that pydantic cannot describe, or a schema of the user's that raises.
        with suppress(Exception):
            return jsonable(way())
    return None
