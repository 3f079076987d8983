"""Reasons for which a person looks at an output although no validator has found fault with it.

Each rule says nothing, or why; all that are named in `[escalation] rules` are asked, and the question keeps every
reason. What other parts ask about (a spent budget, an effect that nobody knows the outcome of, a policy's AskHuman, a
failed validation) brings reasons of its own, with the codes below.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from outlast.settings_escalation import EscalationRules
from outlast.validation.answers import last_answer
from outlast.validation.paths import Found, found_at, read_json
from outlast.validation.validator import Reason

LOW_CONFIDENCE: Final = "low_confidence"
HIGH_STAKES: Final = "high_stakes"
SENSITIVE: Final = "sensitive"
NOVEL: Final = "novel_input"
ANOMALY: Final = "anomaly"
_PERCENT: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the rules look at."""

    agent: str
    #: What the run was started with; of one that answers a question, what the run was started with that asked first.
    input: Any
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    output: Any = None


class Anomalies(Protocol):
    """Says what is not as usual about a run; monitoring does."""

    async def look(self, subject: Subject) -> list[Reason]:
        """Return what is unusual; empty when nothing is."""
        ...


class Distance(Protocol):
    """Knows the inputs that an agent has seen."""

    async def __call__(self, subject: Subject) -> tuple[int | None, int]:
        """Return in how many bits of 64 the input differs from the nearest known one, and how many are known."""
        ...


async def reasons(
    subject: Subject, rules: EscalationRules, *, distance: Distance, anomalies: Anomalies | None = None
) -> list[Reason]:
    """Return why a person has to look at it; empty: nobody has to. What is looked up is looked up only if asked."""
    found: list[Reason] = []
    if "confidence" in rules.rules:
        found += low_confidence(subject.output, rules)
    if "stakes" in rules.rules:
        found += _named(subject, rules.stakes_at, rules.stakes, HIGH_STAKES, "the stakes are {}")
    if "sensitive" in rules.rules:
        found += _named(subject, rules.sensitive_at, rules.sensitive, SENSITIVE, "it is of a sensitive type: {}")
    if "novel" in rules.rules:
        found += novel(*await distance(subject), rules)
    if "anomaly" in rules.rules and anomalies is not None:
        found += await anomalies.look(subject)
    return found


def low_confidence(output: Any, rules: EscalationRules) -> list[Reason]:
    """Say that the agent is not sure of its output. One that says nothing of it is; one that cannot be read is not."""
    told: list[Reason] = []
    last = last_answer(output)
    # A chat agent that answers in JSON says it there.
    for place in (*found_at(output, rules.confidence_at), *_inside(last, rules.confidence_at)):
        if not place.there:
            continue
        sure = _share(place.value)
        if sure is None:
            told.append(Reason(LOW_CONFIDENCE, f"the confidence {place.value!r:.100} is no number", place.path))
        elif sure < rules.confidence:
            text = f"the agent is sure by {sure:.2f}, less than {rules.confidence:.2f}"
            told.append(Reason(LOW_CONFIDENCE, text, place.path))
    return told


def confidence(output: Any, rules: EscalationRules) -> float | None:
    """Return how sure the agent says it is, from 0 to 1: the least of what it says; None: nothing that can be read."""
    places = (*found_at(output, rules.confidence_at), *_inside(last_answer(output), rules.confidence_at))
    said = [share for place in places if place.there and (share := _share(place.value)) is not None]
    return min((share for share in said if 0 <= share <= 1), default=None)


def novel(distance: int | None, known: int, rules: EscalationRules) -> list[Reason]:
    """Say that the agent has never seen anything like the input. One that has seen hardly anything says nothing."""
    if known < rules.novel_after or (distance is not None and distance < rules.novel_distance):
        return []
    far = "nothing is known" if distance is None else f"the nearest of {known} known inputs differs in {distance} bits"
    return [Reason(NOVEL, f"the agent has never seen an input like this: {far} of 64", "input")]


def _named(subject: Subject, path: str, words: tuple[str, ...], code: str, text: str) -> list[Reason]:
    wanted = {word.casefold() for word in words}
    places = {"input": subject.input, "metadata": subject.metadata, "output": subject.output}
    return [
        Reason(code, text.format(said), f"{name}.{place.path}")
        for name, given in places.items()
        for place in found_at(given, path)
        if place.there
        for said in _texts(place.value)
        if said.casefold() in wanted
    ]


def _inside(answer: Found | None, path: str) -> Iterator[Found]:
    said = None if answer is None else read_json(answer.value)
    if isinstance(said, dict):
        yield from found_at(cast("dict[str, Any]", said), path)


def _texts(value: Any) -> list[str]:
    many = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
    return [one for one in many if isinstance(one, str)]


def _share(value: Any) -> float | None:
    """Return how sure somebody is, from 0 to 1: `0.6`, `"0.6"`, `"60 %"`, and 60 as a whole number of percent."""
    if isinstance(value, bool):
        return None
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return number / _PERCENT if text.endswith("%") or number > 1 else number
