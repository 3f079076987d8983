"""The trace of a run, read from what a validator knows of it: its conversation, its sources, its output."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from outlast.policies.names import matches
from outlast.validation.answers import answer, kind_of, text_of
from outlast.validation.detectors.trace import Step, Trace
from outlast.validation.detectors.trace import text_of as shown
from outlast.validation.paths import found_at, read_json
from outlast.validation.validator import ValidationContext

#: Of one text; detectors take time that grows with it.
_MOST_CHARACTERS: Final = 50_000
#: Of all sources together.
_MOST_OF_SOURCES: Final = 200_000
_HUMAN: Final = frozenset({"human", "user", "HumanMessageChunk"})
_AI: Final = frozenset({"ai", "assistant", "AIMessageChunk"})
_SYSTEM: Final = frozenset({"system", "developer"})
_TOOL: Final = frozenset({"tool", "ToolMessageChunk"})
_PERCENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What settings say of an agent's runs, since no run says it by itself."""

    #: Names or patterns of tools that it may call; None: not known.
    tools: Sequence[str] | None = None
    #: What it has to mind all along.
    instructions: Sequence[str] = ()
    #: Where outputs say how sure they are.
    confidence_at: str = "confidence"
    #: What others say of the output.
    valid: bool | None = None
    record: Sequence[tuple[float, bool]] = field(default=())


def trace_of(output: Any, context: ValidationContext, known: Known) -> Trace:
    """Return the trace of a run: its last turn, from what a person said last.

    Arguments of a tool that is about to be called are a step without a result.
    """
    messages = context.messages
    begin = max((number for number, message in enumerate(messages) if kind_of(message) in _HUMAN), default=-1)
    steps = list(_steps(messages[begin + 1 :]))
    if context.tool is not None:
        steps.append(Step(tool=context.tool, args=_fields(output)))
    called = {step.tool for step in steps if step.tool is not None}
    system = [_cut(text_of(message)) for message in messages if kind_of(message) in _SYSTEM]
    return Trace(
        task=_cut(text_of(messages[begin])) if begin >= 0 else _cut(shown(context.input)),
        instructions=[*known.instructions, *system],
        given=[_cut(text_of(message)) for message in messages] if messages else None,
        steps=steps,
        sources=_sources(context),
        output="" if context.tool is not None else _cut("\n".join(text.value for text in answer(output))),
        confidence=_confidence(output, known.confidence_at),
        valid=known.valid,
        record=known.record,
        tools=None if known.tools is None else frozenset(name for name in called if matches(name, known.tools)),
    )


def _steps(messages: Sequence[Any]) -> Iterator[Step]:
    results = {_at(message, "tool_call_id"): message for message in messages if kind_of(message) in _TOOL}
    for number, message in enumerate(messages):
        if kind_of(message) not in _AI:
            continue
        said = _cut(text_of(message))
        calls = cast("Sequence[Any]", _at(message, "tool_calls") or ())
        for position, call in enumerate(calls):
            result = results.get(_at(call, "id"))
            yield Step(
                thought=said if position == 0 else "",
                tool=str(_at(call, "name") or ""),
                args=_fields(_at(call, "args")),
                # Tools answer in JSON, too, and its fields say more than its text.
                result=None if result is None else read_json(_cut(text_of(result))),
                failed=result is not None and _at(result, "status") == "error",
            )
        # The last words are the output.
        if not calls and said and number < len(messages) - 1:
            yield Step(thought=said)


def _sources(context: ValidationContext) -> list[str]:
    given = [*context.sources.values(), *([shown(context.input)] if context.input else [])]
    left, kept = _MOST_OF_SOURCES, list[str]()
    for text in given:
        kept.append(_cut(text)[:left])
        left -= len(kept[-1])
    return kept


def _confidence(output: Any, path: str) -> float | None:
    given = next((found.value for found in found_at(output, path) if found.there), None)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= _PERCENT:
        return None
    return given if given <= 1 else given / _PERCENT


def _fields(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _at(value: Any, name: str) -> Any:
    return next((found.value for found in found_at(value, name) if found.there), None)


def _cut(text: str) -> str:
    return text[:_MOST_CHARACTERS]
