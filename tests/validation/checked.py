"""A built-in validator asked about an output, as settings would name it."""

import inspect
from datetime import UTC, datetime
from typing import Any

from outlast.validation.building import one
from outlast.validation.validator import Context, Invalid

#: A Saturday.
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def check(output: Any, /, *, known: Context | None = None, **table: Any) -> list[tuple[str, str | None]]:
    """Return codes and fields of what it finds fault with; nothing for what is valid."""
    return [(reason.code, reason.field) for reason in await reasons(output, known=known, **table)]


async def reasons(output: Any, /, *, known: Context | None = None, **table: Any) -> list[Any]:
    answer: Any = one(table, where="here").validate(output, known if known is not None else Context(now=NOW))
    verdict = await answer if inspect.isawaitable(answer) else answer
    return list(verdict.reasons) if isinstance(verdict, Invalid) else []


def sources(**texts: str) -> Context:
    return Context(now=NOW, sources=texts)
