"""Assistants: a graph with a configuration of its own, kept in versions that never change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from outlast.errors import InvalidInput

# LangGraph's servers derive the id of a graph's own assistant from this namespace; clients have such ids stored.
_NAMESPACE: Final = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
#: The metadata of the assistants that every graph has by itself.
BY_SYSTEM: Final[Mapping[str, Any]] = {"created_by": "system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantVersion:
    """What an assistant was from one change to the next."""

    id: UUID
    graph_id: str
    name: str
    description: str | None
    config: Mapping[str, Any]
    context: Mapping[str, Any]
    metadata: Mapping[str, Any]
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant(AssistantVersion):
    """An assistant as it is now."""

    updated_at: datetime

    @property
    def of_system(self) -> bool:
        """Whether it is the one that its graph has by itself."""
        return self.id == system_id(self.graph_id)


def system_id(graph_id: str) -> UUID:
    """Return the id of the assistant that a graph has by itself."""
    return uuid5(_NAMESPACE, graph_id)


def mirrored(
    config: Mapping[str, Any] | None, context: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both, where `context` and `config.configurable` say the same: either may be given for the two.

    Raises InvalidInput when both are given and differ.
    """
    whole = dict(config or {})
    configurable = whole.get("configurable")
    if context and configurable and dict(context) != dict(configurable):
        msg = "context and config.configurable differ; send one of the two"
        raise InvalidInput(msg, field="context")
    shared = dict(context or configurable or {})
    if shared:
        whole["configurable"] = shared
    return whole, shared
