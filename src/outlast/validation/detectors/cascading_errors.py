"""Failed steps that the run went on with."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

from outlast.validation.detectors.detector import Detector, Sign
from outlast.validation.detectors.trace import Step, Trace, text_of

# At the beginning of a result: a text that speaks of errors later on may be about them.
_ERROR: Final = re.compile(
    r"^\W{0,20}(?:\w{0,40}error\b|\w{0,40}exception\b"
    r"|traceback\b|http(?:/\d\.\d)?\s*[45]\d\d\b|[45]\d\d\s+[a-z]|failed\b|failure\b|fatal\b"
    r"|(?:(?:connection|request|read|operation)\s)?timed? ?out\b"
    r"|permission denied|access denied|unauthori[sz]ed|forbidden"
    r"|service unavailable|internal server|not found|no such\b|could not\b|couldn't\b|unable to\b|cannot\b)",
    re.IGNORECASE,
)
_NOTHING: Final = re.compile(
    r"\W{0,20}(?:none|null|nil|nan|n/a|n\.a\.|undefined|unknown|missing)?\W{0,20}", re.IGNORECASE
)
_MARK: Final = re.compile(r"(?<![\w'\"])(?:None|null|NULL|NaN|nan|undefined|N/A|n/a|Traceback|Exception)(?![\w'\"])")
#: The output says what happened, and whoever reads it knows.
_TOLD: Final = re.compile(
    r"\b(?:could not|couldn't|cannot|can't|unable|was not able|were not able|failed|fails|failure"
    r"|did not (?:work|succeed|answer)"
    r"|error|not (?:available|found|known|readable|possible)|unavailable|unreachable|went wrong|timed out|problem"
    r"|assumed?|assuming|assumption|placeholder|stand-in|default value"
    r"|please (?:check|verify|try)|no (?:result|answer|data)"
    r"|incomplete|without the)\b",
    re.IGNORECASE,
)
_FAULTS: Final = ("error", "errors", "exception", "failure")
_STATES: Final = re.compile(r"^(?:fail|failed|failure|error|errored|aborted|rejected|timeout)$", re.IGNORECASE)
_FILLER: Final = re.compile(
    r"\W{0,3}(?:default|dummy|test|sample|example|placeholder|temp|tmp|tbd|todo|foo|bar|x{1,20})"
    r"(?:[-_ ]?\w{1,8})?\W{0,3}"
    r"|-?1|0+(?:[.,]0+)?",
    re.IGNORECASE,
)
#: A name of a thing rather than words or a number: it has letters and a figure in it, and no spaces.
_KEY: Final = re.compile(r"(?=\S*\d)(?=\S*[^\W\d])\S{1,40}")
_SHORTEST_MARK: Final = 5
#: What a step gave back is used soon after it, or not at all.
_SOON: Final = 20
# When the output tells what happened, little is left of a sign.
_WHEN_TOLD: Final = 0.2


class CascadingErrors(Detector):
    """Later steps were called with what a failed step gave back, or with a stand-in for it; nobody is told."""

    mode: ClassVar = "cascading_errors"
    fitted: ClassVar = 0.55
    example: ClassVar = {
        "task": "What does order 12 cost in euros?",
        "steps": [
            {"tool": "get_rate", "args": {"currency": "SEK"}, "result": "Error: upstream timed out", "failed": True},
            {"tool": "convert", "args": {"amount": 120, "rate": None}, "result": "0.00"},
        ],
        "output": "Order 12 costs 0.00 EUR.",
    }

    def signs(self, trace: Trace) -> Iterator[Sign]:
        """Yield what was carried on from each step that failed."""
        # What was carried on may read like an admission: `the rate is Error: timed out`.
        share = _WHEN_TOLD if _TOLD.search(_without_marks(trace)) else 1.0
        for sign in self._carried_on(trace):
            yield Sign(round(sign.score * share, 4), sign.text)

    def _carried_on(self, trace: Trace) -> Iterator[Sign]:
        broken = [
            number for number, step in enumerate(trace.steps) if _fault(step) and not _made_good(trace.steps, number)
        ][:_SOON]
        for number in broken:
            failing = trace.steps[number]
            for later in range(number + 1, min(len(trace.steps), number + 1 + _SOON)):
                yield from _passed_on(trace, failing, later)
        hard = [number for number in broken if _fault(trace.steps[number]) == "error"]
        if len(hard) > 1:
            yield Sign(0.7, f"{len(hard)} steps failed, and the output tells of none")
        elif hard:
            yield Sign(0.2, f"{trace.steps[hard[0]].tool} failed, and the output does not tell")
        if broken and (mark := _MARK.search(trace.answer)):
            yield Sign(0.9, f"the output holds {mark[0]!r}")


def _fault(step: Step) -> str | None:
    """Return `error` for a step that failed, `nothing` for one that came back with nothing; None for others."""
    if step.tool is None:
        return None
    return "error" if step.failed else _fault_of(step.result)


def _fault_of(result: Any) -> str | None:
    if isinstance(result, Mapping):
        return _fault_of_fields(cast("Mapping[str, Any]", result))
    if isinstance(result, list | tuple):
        return None if result else "nothing"
    text = "" if result is None else str(result)
    if _NOTHING.fullmatch(text):
        return "nothing"
    return "error" if _ERROR.search(text) else None


def _fault_of_fields(fields: Mapping[str, Any]) -> str | None:
    named = any(fields.get(name) and not _NOTHING.fullmatch(str(fields[name])) for name in _FAULTS)
    refused = fields.get("ok") is False or fields.get("success") is False
    state = str(fields.get("status") or "")
    if named or refused or _STATES.match(state):
        return "error"
    # One empty field among others is a good result.
    return "nothing" if all(_empty(value) for value in fields.values()) else None


def _empty(value: Any) -> bool:
    return value in ({}, []) or (
        not isinstance(value, int | float | Mapping | list) and bool(_NOTHING.fullmatch(str(value or "")))
    )


def _made_good(steps: Sequence[Step], number: int) -> bool:
    """Whether the same tool was called again later, and gave something."""
    return any(step.tool == steps[number].tool and _fault(step) is None for step in steps[number + 1 :])


def _passed_on(trace: Trace, failing: Step, later: int) -> Iterator[Sign]:
    step = trace.steps[later]
    for name, value in step.args.items():
        text = text_of(value).strip()
        if value is None or (_NOTHING.fullmatch(text) and not isinstance(value, list | dict)):
            yield Sign(1.0, f"{step.tool} was called with {name} = {value!r} after {failing.tool} had failed")
        elif _ERROR.search(text) or _same_mark(text, failing.result):
            yield Sign(1.0, f"{step.tool} was called with what {failing.tool} said when it failed: {name} = {text!r}")
        elif _fault(failing) == "error" and text.lower() not in _known_before(trace, later):
            said = f"{step.tool} was called with {name} = {text!r}, which nothing had said"
            yield Sign(_invented(text), f"{said}, after {failing.tool} had failed")


def _invented(text: str) -> float:
    """How much a value of no known origin looks as if it stood for another: a filler, a key, or free words."""
    if _FILLER.fullmatch(text):
        return 0.9
    return 0.8 if _KEY.fullmatch(text) else 0.3


def _same_mark(text: str, result: Any) -> bool:
    lower = text.lower()
    marks = [mark for mark in (text_of(result).strip().lower(), *_leaves(result)) if len(mark) >= _SHORTEST_MARK]
    return any(mark in lower or (len(text) >= _SHORTEST_MARK and lower in mark) for mark in marks)


def _leaves(result: Any) -> Iterator[str]:
    if isinstance(result, Mapping):
        for value in cast("Mapping[str, Any]", result).values():
            yield from _leaves(value)
    elif isinstance(result, str):
        yield result.strip().lower()


def _without_marks(trace: Trace) -> str:
    answer = trace.answer
    for number, step in enumerate(trace.steps):
        if _fault(step) is not None:
            for later in trace.steps[number + 1 : number + 1 + _SOON]:
                for value in later.args.values():
                    if _ERROR.search(text_of(value)) or _same_mark(text_of(value), step.result):
                        answer = answer.replace(text_of(value), " ")
    return answer


def _known_before(trace: Trace, number: int) -> str:
    """Return all that the arguments of a step may come from."""
    earlier = trace.steps[:number]
    found = [text_of(step.result) for step in earlier if _fault(step) is None]
    return "\n".join(
        [trace.task, *trace.instructions, *trace.sources, *(text_of(step.args) for step in earlier), *found]
    ).lower()
