"""Outputs in a file, for `outlast validate`: what is looked at without a run."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from outlast.domain.acting import DEFAULT_TENANT
from outlast.errors import InvalidInput
from outlast.validation.answers import MESSAGES
from outlast.validation.engine import AgentValidation
from outlast.validation.paths import found_at
from outlast.validation.validator import Context


class Case(BaseModel):
    """An output, and what is known besides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    agent: str | None = None
    output: Any
    input: Any = None
    #: None: looked for, as in a run.
    sources: dict[str, str] | None = None
    #: None: those of the output.
    messages: list[Any] | None = None
    tenant: str = DEFAULT_TENANT
    user: str | None = None
    node: str | None = None
    tool: str | None = None
    attempt: Annotated[int, Field(ge=1)] = 1
    now: datetime | None = None

    def context(self, of: AgentValidation, now: datetime) -> Context:
        """Return what validators know of it; without a time of its own it is looked at now."""
        at = self.now or now
        messages = self._messages()
        sources = self.sources
        if sources is None:
            sources = of.sources_of(input=self.input, output=self.output, messages=messages)
        return Context(
            input=self.input, messages=messages, sources=sources, agent=of.agent, tenant=self.tenant, user=self.user,
            node=self.node, tool=self.tool, attempt=self.attempt,
            now=at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC),
        )  # fmt: skip

    def _messages(self) -> list[Any]:
        if self.messages is not None:
            return self.messages
        there = next((found.value for found in found_at(self.output, MESSAGES) if found.there), None)
        return cast("list[Any]", there) if isinstance(there, list) else []


def read(file: Path) -> list[Case]:
    """Return the outputs of a file of JSON: one output, one table with `output` and what is known besides, or a list.

    Raises InvalidInput that says which of them is wrong.
    """
    try:
        given: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file}: {error}; it is a file of JSON with an output") from error
    listed = isinstance(given, list) and all(map(_is_case, cast("list[Any]", given)))
    items: list[Any] = cast("list[Any]", given) if listed else [given]
    return [_case(file, item, number) for number, item in enumerate(items, start=1)]


def _is_case(item: Any) -> bool:
    return isinstance(item, Mapping) and "output" in item


def _case(file: Path, item: Any, number: int) -> Case:
    try:
        return Case.model_validate(item if _is_case(item) else {"output": item})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise InvalidInput(f"{file}: output {number}.{where}: {problem['msg']}", field=where) from error
