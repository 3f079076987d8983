"""Example requests for `outlast policy test`: what policies say to each, and what they were expected to say."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from outlast.domain.acting import DEFAULT_TENANT
from outlast.domain.admission import Allow, AskHuman, Later, Refuse
from outlast.domain.policy import PolicyFacts, PolicyRequest
from outlast.errors import InvalidInput
from outlast.policies.engine import Decided, PolicyEngine

Expected = Literal["allow", "refuse", "ask", "later", "change"]


class Example(BaseModel):
    """A request: of a run (neither model nor tool), a model, or a tool; and what should become of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    agent: str
    tenant: str = DEFAULT_TENANT
    user: str | None = None
    at: datetime | None = None
    input: Any = None
    command: dict[str, Any] | None = None
    config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    timeout_seconds: int | None = None
    model: str | None = None
    tool: str | None = None
    arguments: dict[str, Any] = {}
    #: As a run that goes on has used.
    tokens: Annotated[int, Field(ge=0)] = 0
    turns: Annotated[int, Field(ge=0)] = 0
    #: `change`: it is allowed, but not as it was asked for.
    expect: Expected
    #: The policy that decides.
    by: str | None = None
    #: A part of the reason, or of the question.
    says: str | None = None
    #: The input after policies have changed it.
    becomes: Any = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> "Example":
        if self.model is not None and self.tool is not None:
            msg = "give a model or a tool, not both"
            raise ValueError(msg)
        return self

    @property
    def request(self) -> PolicyRequest:
        """As policies see it."""
        return PolicyRequest(
            kind="model" if self.model is not None else "tool" if self.tool is not None else "run",
            agent=self.agent, input=self.input, command=self.command, config=self.config, metadata=self.metadata,
            timeout_seconds=self.timeout_seconds, model=self.model, tool=self.tool, arguments=self.arguments,
        )  # fmt: skip

    def facts(self, now: datetime) -> PolicyFacts:
        """Return what is known of it; without a time of its own it is asked now."""
        at = self.at or now
        return PolicyFacts(
            tenant=self.tenant, user=self.user, agent=self.agent, tokens=self.tokens, turns=self.turns,
            at=at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An example, and what became of it."""

    example: Example
    verdict: Expected
    by: str | None
    told: str
    #: Why it is not as expected; None: it is.
    problem: str | None

    @property
    def about(self) -> str:
        """What it asks for, as people read it."""
        example = self.example
        return example.name or f"{example.request.kind} {example.model or example.tool or example.agent}"


def read(path: Path) -> list[Example]:
    """Return the examples of a TOML file (`[[request]]`) or a JSON file (a list); raises InvalidInput."""
    try:
        text = path.read_text(encoding="utf-8")
        given: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        msg = f"{path}: {error}; expected TOML with [[request]] tables, or a JSON list"
        raise InvalidInput(msg, field="FILE") from error
    found = cast("Mapping[str, Any]", given).get("request") if isinstance(given, Mapping) else given
    if not found:
        msg = f"{path} has no requests; write [[request]] with at least `agent` and `expect`"
        raise InvalidInput(msg, field="FILE")
    try:
        return TypeAdapter(list[Example]).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        msg = f"{path}: request {place}: {first['msg']}"
        raise InvalidInput(msg, field="FILE") from error


async def tried(engine: PolicyEngine, examples: list[Example], *, now: datetime) -> list[Tried]:
    """Ask the policies about each example."""
    return [_tried(example, await engine.decide(example.request, example.facts(now))) for example in examples]


def _tried(example: Example, decided: Decided) -> Tried:
    verdict, told = _verdict(example, decided)
    return Tried(
        example=example, verdict=verdict, by=decided.by, told=told, problem=_problem(example, decided, verdict, told)
    )


def _verdict(example: Example, decided: Decided) -> tuple[Expected, str]:
    match decided.verdict:
        case Refuse(reason=reason):
            return "refuse", reason
        case AskHuman(question=question):
            return "ask", question
        case Later(seconds=seconds, reason=reason):
            return "later", f"{reason} (in {seconds:,.0f} s)"
        case Allow():
            changed = decided.request != example.request
            return ("change" if changed else "allow"), "; ".join(decided.notes)


def _problem(example: Example, decided: Decided, verdict: Expected, told: str) -> str | None:
    if verdict != example.expect:
        return f"expected {example.expect}"
    if example.by is not None and decided.by != example.by:
        return f"expected it of {example.by}"
    if example.says is not None and example.says not in told:
        return f"does not say {example.says!r}"
    if example.becomes is not None and decided.request.input != example.becomes:
        return "its input becomes something else"
    return None
