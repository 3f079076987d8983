"""What the tools of an agent are: which only read, which change something, how long each may take.

A tool says so itself (`metadata={"outlast": "read"}` or `"effect"`), or whoever builds the agent says it for it. What
nobody spoke of is neither: it is called once, and what it did before a crash may be done again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, cast

from langchain_core.tools import BaseTool

from outlast.calls import scope
from outlast.errors import ConfigurationError
from outlast.settings import CallSettings, load

Kind: TypeAlias = Literal["read", "effect"]
Timeouts: TypeAlias = float | timedelta | Mapping[str, float | timedelta | None] | None
_KINDS: Final = ("read", "effect")
_METADATA: Final = "outlast"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRules:
    """What was said of the tools by name; None: as the settings have it."""

    reads: frozenset[str] = frozenset()
    #: By name: what else `outlast.effect` is to know (`on_unknown`...).
    effects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    timeout: Timeouts = None
    max_result_bytes: int | None = None
    read_tries: int | None = None

    def kind(self, name: str, tool: BaseTool | None) -> Kind | None:
        """Return what the tool is; raises ConfigurationError for metadata that says anything else."""
        if name in self.effects:
            return "effect"
        if name in self.reads:
            return "read"
        said = (tool.metadata or {}).get(_METADATA) if tool is not None else None
        if said is not None and said not in _KINDS:
            msg = f"tool {name!r}: metadata['outlast'] is {said!r}; write 'read' or 'effect'"
            raise ConfigurationError(msg)
        return said

    def seconds(self, name: str, settings: CallSettings) -> float | None:
        """Return how long one call of the tool may take; None: as long as the attempt."""
        given = self.timeout
        if isinstance(given, Mapping):
            if name in given and given[name] is None:
                return None
            given = given.get(name)
        if given is None:
            given = settings.tools.timeout
        return given.total_seconds() if isinstance(given, timedelta) else float(given)


def rules(
    *,
    reads: Iterable[str] = (),
    effects: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
    timeout: Timeouts = None,
    max_result_bytes: int | None = None,
    read_tries: int | None = None,
) -> ToolRules:
    """Return the rules; raises ConfigurationError when they contradict each other."""
    if isinstance(reads, str) or isinstance(effects, str):
        msg = "`reads` and `effects` are names of tools, as in reads={'search'}"
        raise ConfigurationError(msg)
    by_name: dict[str, Mapping[str, Any]] = (
        dict(cast("Mapping[str, Mapping[str, Any]]", effects))
        if isinstance(effects, Mapping)
        else {name: {} for name in effects}
    )
    reading = frozenset(reads)
    if both := sorted(reading & by_name.keys()):
        msg = f"{', '.join(both)}: named in `reads` and in `effects`; a tool that changes something is an effect"
        raise ConfigurationError(msg)
    return ToolRules(
        reads=reading, effects=by_name, timeout=timeout, max_result_bytes=max_result_bytes, read_tries=read_tries
    )


def settings_now() -> CallSettings:
    """Return the settings of the run, or, outside of one, those of the environment."""
    running = scope.current.get()
    return running.calls.settings if running is not None else _of_environment()


_read: Final[list[CallSettings]] = []


def _of_environment() -> CallSettings:
    if not _read:
        _read.append(load().calls)
    return _read[0]
