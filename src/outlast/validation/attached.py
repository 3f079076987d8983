"""`outlast.validated`: validators that are given in code, beside the graph that they are for."""

import inspect
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from outlast.errors import ConfigurationError
from outlast.settings_validation import Named
from outlast.validation.building import one
from outlast.validation.validator import Validator

Graph = TypeVar("Graph")

_attached: Final[WeakKeyDictionary[Any, tuple[Validator, ...]]] = WeakKeyDictionary()


def validated(graph: Graph, *validators: Validator | Named) -> Graph:
    """Return the same graph, whose output these validators look at, behind those that the settings name.

    `graph` is a StateGraph, a compiled graph or an `@entrypoint` function. What is given to a StateGraph counts for
    whatever it is compiled to. A copy that is made of a compiled graph later on (`with_config`) is another graph, so
    this comes last; what a factory makes for each call is given its validators when it is compiled.

    A validator is an object of yours, the name of a built-in one, or a table as in the settings: `{"use": "dates",
    "future": ["closing"]}`. Raises ConfigurationError when it is none of them.
    """
    if inspect.isfunction(graph):
        msg = f"outlast.validated: {graph.__name__} is a function; decorate it with LangGraph's @entrypoint() first"
        raise ConfigurationError(msg)
    given = tuple(one(item, where="outlast.validated") for item in validators)
    _attached[graph] = (*_attached.get(graph, ()), *given)
    return graph


def attached(graph: Any) -> tuple[Validator, ...]:
    """Return what was given to `validated` for this graph."""
    if graph is None or not _attached:
        return ()
    builder = getattr(graph, "builder", None)
    of_builder = () if builder is None else _attached.get(builder, ())
    return (*of_builder, *_attached.get(graph, ()))
