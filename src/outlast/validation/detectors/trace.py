"""What one run did, as detectors read it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A thought, a call with its result, or both."""

    thought: str = ""
    #: None: nothing was called.
    tool: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    result: Any = None
    #: The tool said itself that it failed; many write it into their result only.
    failed: bool = False

    @property
    def text(self) -> str:
        """All that was said and found in it."""
        return "\n".join(part for part in (self.thought, text_of(self.args), text_of(self.result)) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One run. What is not known is left out, and the detectors that need it find nothing."""

    #: What was asked last.
    task: str = ""
    #: What the agent was told at the beginning, and has to mind all along.
    instructions: Sequence[str] = ()
    #: The texts that the model was last given; None: not known.
    given: Sequence[str] | None = None
    steps: Sequence[Step] = ()
    #: What the output may rest upon, besides the results of tools.
    sources: Sequence[str] = ()
    output: Any = None
    #: As the agent states it, from 0 to 1; None: it does not, or only in its text.
    confidence: float | None = None
    #: What the validators said of the output; None: nobody has looked.
    valid: bool | None = None
    #: Confidence and verdict of earlier outputs of this agent.
    record: Sequence[tuple[float, bool]] = ()
    #: What the agent may call; None: not known.
    tools: frozenset[str] | None = None

    @classmethod
    def of_json(cls, given: Mapping[str, Any]) -> Self:
        """Read a trace as the labelled set writes it; `verdict` is `{"valid": bool, ...}` or null."""
        known = dict(given)
        verdict = cast("Mapping[str, Any] | None", known.pop("verdict", None))
        parts = cast("Sequence[dict[str, Any]]", known.pop("steps", ()))
        steps = [_step(part) for part in parts]
        tools = known.pop("tools", None)
        record = [(float(share), bool(right)) for share, right in known.pop("record", ())]
        return cls(
            **known,
            steps=steps,
            record=record,
            tools=None if tools is None else frozenset(tools),
            valid=None if verdict is None else bool(verdict["valid"]),
        )

    @property
    def answer(self) -> str:
        """The output as a text."""
        return text_of(self.output)

    def grounds(self) -> Iterator[str]:
        """Yield what a claim may rest upon: what was asked, told, given, and found."""
        yield self.task
        yield from self.instructions
        yield from self.sources
        for step in self.steps:
            if step.tool is not None:
                yield text_of(step.result)


def _step(given: dict[str, Any]) -> Step:
    fields: dict[str, Any] = given | {"thought": given.get("thought") or ""}
    return Step(**fields)


def text_of(value: Any) -> str:
    """Return a value as a text; of nested ones each part on its own line."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        parts = cast("Mapping[Any, Any]", value).items()
        return "\n".join(f"{name}: {text_of(part)}" for name, part in parts)
    if isinstance(value, list | tuple):
        return "\n".join(text_of(part) for part in cast("Sequence[Any]", value))
    return json.dumps(value, default=str)
