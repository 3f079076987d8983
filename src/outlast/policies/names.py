"""Patterns of names, as in `openai:gpt-4o*`."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol


class Rules(Protocol):
    """What allows and denies by name."""

    @property
    def allow(self) -> tuple[str, ...] | None:
        """Only these; None: all."""
        ...

    @property
    def deny(self) -> tuple[str, ...]:
        """Never these."""
        ...


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is for this name; case counts."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def objection(name: str, rules: Sequence[tuple[str, Rules]]) -> str | None:
    """Return why the name is not allowed, and the setting that says so; None: all rules allow it."""
    for setting, rule in rules:
        if matches(name, rule.deny):
            return f"{name} is denied by {setting}.deny"
        if rule.allow is not None and not matches(name, rule.allow):
            return f"{name} is not among {setting}.allow"
    return None
