"""What a caller bound to a model, told to each target in its provider's own format.

Formats of tools and of structured output differ between providers, so `bind_tools` and `with_structured_output` keep
what they were given; `told` asks a target's own methods what that means for it, and keeps the last answers.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableSequence
from langchain_core.tools import BaseTool

from outlast.calls.call import Target
from outlast.errors import ConfigurationError

#: The option that holds a `Schema`; it never reaches a provider.
SCHEMA: Final = "outlast_schema"
# For tracers only; LangChain takes it out of the options of a call, and so do we.
_FORMAT: Final = "ls_structured_output_format"
_KEPT = 64


class GivenTools(list[Any]):
    """Tools as the user gave them to `bind_tools`, in no provider's format yet."""

    #: What else `bind_tools` was given, by name; it is in the options, too.
    arguments: Mapping[str, Any]

    def __init__(self, tools: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        super().__init__(tools)
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return GivenTools, (list(self), dict(self.arguments))


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """What `with_structured_output` was given."""

    schema: Any
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Structure:
    """What structured output means for one target: options of the call, and what reads the answer."""

    options: Mapping[str, Any]
    parser: Runnable[Any, Any]


def told(target: Target, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a call as this target's integration takes them; not to be changed by the caller.

    Raises what the integration raises for tools or schemas that it cannot express.
    """
    tools, schema = options.get("tools"), options.get(SCHEMA)
    if schema is None and not isinstance(tools, GivenTools):
        return options
    result: dict[str, Any] = {}
    if isinstance(tools, GivenTools):
        result |= _with_tools(target.chat, tools)
    if isinstance(schema, Schema):
        result |= structure(target, schema).options
    return result | {name: value for name, value in options.items() if not _said(name, value, tools)}


def _said(name: str, value: Any, tools: Any) -> bool:
    """Whether an option is there because of what was bound, and so is in the target's words already."""
    if isinstance(tools, GivenTools) and (
        name == "tools" or (name in tools.arguments and tools.arguments[name] is value)
    ):
        return True
    return name in (SCHEMA, _FORMAT)


def structure(target: Target, schema: Schema) -> Structure:
    """Return what structured output means for a target; raises ConfigurationError if its form cannot be used here."""
    key = (id(target.chat), id(schema))
    found = _structures.get(key)
    if found is None:
        found = _structures.put(key, _structured(target, schema), keep=(target.chat, schema))
    return found


@dataclass(slots=True)
class _Kept:
    """The last results for objects that are known by identity; they are held, so that no other one gets their id."""

    items: OrderedDict[Hashable, tuple[Any, Any]] = field(default_factory=OrderedDict[Hashable, tuple[Any, Any]])

    def get(self, key: Hashable) -> Any:
        found = self.items.get(key)
        return None if found is None else found[0]

    def put(self, key: Hashable, value: Any, *, keep: Any) -> Any:
        self.items[key] = (value, keep)
        if len(self.items) > _KEPT:
            # Another thread may have taken the oldest one meanwhile.
            self.items.pop(next(iter(self.items)), None)
        return value


_structures: Final = _Kept()
_tools: Final = _Kept()


def _with_tools(chat: BaseChatModel, tools: GivenTools) -> dict[str, Any]:
    arguments = tools.arguments
    key = _key(chat, tools)
    found = _tools.get(key) if key is not None else None
    if found is None:
        bound = chat.bind_tools(list(tools), **arguments)
        found = _bound_options(chat, bound)
        if key is not None:
            _tools.put(key, found, keep=(chat, list(tools), arguments))
    # Integrations put things into the list of tools.
    return {**found, "tools": list(found["tools"])} if isinstance(found.get("tools"), list) else dict(found)


def _key(chat: BaseChatModel, tools: GivenTools) -> Hashable | None:
    """Return what tells one set of tools from another; None where what is in it may change unseen."""
    if not all(isinstance(tool, BaseTool) or callable(tool) for tool in tools):
        return None
    arguments = tuple(
        (name, value if isinstance(value, str | bool | None) else None) for name, value in tools.arguments.items()
    )
    if any(value is None and tools.arguments[name] is not None for name, value in arguments):
        return None
    return (id(chat), *map(_identity, tools), *arguments)


def _identity(tool: Any) -> Hashable:
    # Names and descriptions of tools are set anew by some who have them.
    return (id(tool), tool.name, tool.description, id(tool.args_schema)) if isinstance(tool, BaseTool) else id(tool)


def _bound_options(chat: BaseChatModel, bound: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    while isinstance(bound, RunnableBinding):
        binding = cast("RunnableBinding[Any, Any]", bound)
        options = {**binding.kwargs, **options}
        bound = binding.bound
    # A copy of itself may differ in more than options.
    if bound is not chat:
        msg = f"{type(chat).__name__} binds tools by building another runnable ({type(bound).__name__}), not by options"
        raise ConfigurationError(msg)
    return options


def _structured(target: Target, schema: Schema) -> Structure:
    chain = target.chat.with_structured_output(schema.schema, **schema.arguments)
    if not isinstance(chain, RunnableSequence) or len(chain.steps) == 1:
        msg = f"{target.name}: structured output of {type(target.chat).__name__} is not a model and a parser"
        raise ConfigurationError(msg)
    steps = chain.steps
    options = _bound_options(target.chat, steps[0])
    options.pop(_FORMAT, None)
    parser = steps[1]
    for step in steps[2:]:
        parser = parser | step
    return Structure(options, parser)
