"""Whose data is erased or handed out, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Scope(StrEnum):
    """How far it goes."""

    #: The threads on which somebody ever ran something, and what names them elsewhere.
    USER = "user"
    THREAD = "thread"
    #: Everything of the tenant for which the context acts.
    TENANT = "tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose data it is, in the tenant for which the context acts."""

    scope: Scope
    #: The user, the thread's id, or the tenant.
    name: str
    #: Namespaces of the store that belong to it as well, besides those that have the name as a label.
    namespaces: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was erased. It names nobody: `subject` is the pseudonym under which the audit log speaks of it."""

    id: UUID
    tenant: str
    scope: Scope
    subject: str
    asked_by: str
    begun_at: datetime
    #: None while it is under way, or was interrupted: upkeep finishes it.
    ended_at: datetime | None
    #: Rows by table: deleted, or left without what was personal in them.
    removed: Mapping[str, int]
    #: Tables that keep rows, and why.
    kept: Mapping[str, str] = field(default_factory=dict[str, str])

    def as_json(self) -> dict[str, Any]:
        """Return it as the API and the command line show it."""
        return {
            "erasure_id": str(self.id), "tenant": self.tenant, "scope": self.scope.value, "subject": self.subject,
            "asked_by": self.asked_by, "begun_at": self.begun_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "removed": dict(self.removed), "kept": dict(self.kept),
        }  # fmt: skip
