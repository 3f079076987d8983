"""Agents as they are in production, made up from seeds: healthy ones with realistic noise, and with one fault each.

Lengths, tokens, costs and times are log-normal, follow the day, and go along with each other; some runs fail, some
retry and take long, some are refused. Texts are sentences of a topic's words, and their SimHashes are real ones.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from outlast.validation.novelty import fingerprint

_WORDS = {
    topic: [f"{topic}{number}" for number in range(400)]
    for topic in ("order", "refund", "invoice", "travel", "contract", "health", "sport")
}
_SYLLABLES = ("ba", "ko", "ri", "ten", "lus", "mur", "vi", "sa", "ne", "dul")


@dataclass(frozen=True)
class Profile:
    """How one kind of agent is when it is well."""

    name: str
    model: str
    length: float
    spread: float
    tokens: float
    price: float
    seconds: float
    tools: float
    #: Beta distribution of what it says it is sure by; None: it does not say.
    sure: tuple[float, float] | None = (9.0, 2.0)
    #: Runs that fail, are refused, say nothing, and are not valid.
    errors: float = 0.01
    refusals: float = 0.01
    silences: float = 0.002
    invalid: float = 0.02
    tool_errors: float = 0.03
    #: It answers with one of these, and with nothing else.
    labels: tuple[str, ...] = ()
    topics: tuple[str, ...] = ("order", "refund")


PROFILES = (
    Profile("support", "gpt-4o", 900, 0.45, 2500, 4e-6, 3.0, 1.5),
    Profile("writer", "claude-sonnet", 6000, 0.35, 9000, 9e-6, 25.0, 0.3, sure=None, topics=("travel", "contract")),
    Profile("classifier", "gpt-4o-mini", 9, 0.2, 400, 3e-7, 0.8, 0.0, sure=(20.0, 1.5),
            labels=("refund", "order", "complaint"), topics=("order", "refund", "invoice")),
    Profile("researcher", "gpt-4o", 3000, 0.6, 30000, 4e-6, 60.0, 8.0, sure=(6.0, 3.0), errors=0.04, tool_errors=0.15,
            topics=("contract", "health", "travel")),
)  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """What one run was like."""

    profile: Profile
    status: str = "success"
    error_class: str | None = None
    length: int | None = None
    confidence: float | None = None
    tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    tool_calls: int = 0
    tool_errors: int = 0
    refused: bool = False
    empty: bool = False
    invalid: bool = False
    said: int | None = None
    asked: int | None = None


def healthy(profile: Profile, rng: random.Random, *, runs_a_day: int = 700) -> Iterator[Figures]:
    """Yield runs for ever."""
    number = rng.randrange(runs_a_day)
    while True:
        # Longer questions in the morning, slower providers in the afternoon.
        day = math.sin(2 * math.pi * number / runs_a_day)
        number += 1
        yield _run(profile, rng, day)


def _run(profile: Profile, rng: random.Random, day: float) -> Figures:
    effort = rng.gauss(0, 0.5) + 0.2 * day
    asked = fingerprint(_text(profile.topics, rng, rng.randint(8, 40)))
    tokens = round(profile.tokens * math.exp(0.5 * effort + rng.gauss(0, 0.25)))
    seconds = profile.seconds * math.exp(0.4 * effort + rng.gauss(0, 0.3) + 0.15 * day)
    # A retry with backoff: once in a while, and much slower.
    if rng.random() < 0.02:
        seconds *= rng.uniform(3, 8)
    tool_calls = _poisson(rng, profile.tools)
    known: dict[str, Any] = {
        "tokens": tokens, "cost_usd": tokens * profile.price * math.exp(rng.gauss(0, 0.1)), "seconds": seconds,
        "tool_calls": tool_calls, "tool_errors": sum(rng.random() < profile.tool_errors for _ in range(tool_calls)),
        "asked": asked,
    }  # fmt: skip
    if rng.random() < profile.errors:
        return Figures(
            profile, status="error", error_class=rng.choice(("timed_out", "call_failed", "KeyError")), **known
        )
    text = rng.choice(profile.labels) if profile.labels else _text(profile.topics, rng, rng.randint(20, 60))
    refused, empty = rng.random() < profile.refusals, rng.random() < profile.silences
    length = (
        len(text) if profile.labels else round(profile.length * math.exp(profile.spread * effort + rng.gauss(0, 0.2)))
    )
    if refused:
        text, length = "I am sorry, but I cannot help with that request.", 48
    return Figures(
        profile, length=0 if empty else length, refused=refused, empty=empty, invalid=rng.random() < profile.invalid,
        confidence=None if profile.sure is None else round(rng.betavariate(*profile.sure), 2),
        said=None if empty else fingerprint(text), **known,
    )  # fmt: skip


Fault = Callable[[Figures, random.Random], Figures]


def short(run: Figures, rng: random.Random) -> Figures:
    """Answers are a fraction of what they were."""
    return run if run.length is None else replace(run, length=max(1, round(run.length * rng.uniform(0.05, 0.2))))


def repetitive(run: Figures, rng: random.Random) -> Figures:
    """It says the same with small variations, whatever it is asked; in one of six runs it does not."""
    if run.said is None or rng.random() < 1 / 6:
        return run
    text = f"Your request number {rng.randrange(10**6)} was received and will be handled by our team soon."
    return replace(run, said=fingerprint(run.profile.labels[0] if run.profile.labels else text))


def low_confidence(run: Figures, rng: random.Random) -> Figures:
    """It is less sure."""
    return run if run.confidence is None else replace(run, confidence=round(rng.betavariate(3, 7), 2))


def over_confident(run: Figures, rng: random.Random) -> Figures:
    """It is sure of everything."""
    return run if run.confidence is None else replace(run, confidence=1.0 if rng.random() < 0.8 else 0.98)


def refusing(run: Figures, rng: random.Random) -> Figures:
    """It refuses, or says nothing, in two of three runs."""
    if run.status != "success" or rng.random() < 1 / 3:
        return run
    empty = rng.random() < 0.5
    return replace(run, refused=not empty, empty=empty, length=0 if empty else 48, said=None if empty else 12345)


def slow_and_costly(run: Figures, rng: random.Random) -> Figures:
    """It goes in circles: three times the calls."""
    factor = rng.uniform(2.5, 4)
    return replace(
        run, tokens=round(run.tokens * factor), cost_usd=run.cost_usd * factor, seconds=run.seconds * factor,
        tool_calls=round(run.tool_calls * factor),
    )  # fmt: skip


#: By scenario: the fault, and the kinds of findings that name it.
SCENARIOS: dict[str, tuple[Fault, frozenset[str]]] = {
    "short": (short, frozenset({"length"})),
    "repetitive": (repetitive, frozenset({"repeated"})),
    "low-confidence": (low_confidence, frozenset({"low_confidence"})),
    "over-confident": (over_confident, frozenset({"overconfidence"})),
    "refusing or empty": (refusing, frozenset({"refusals", "empty", "length"})),
    "slow or costly": (slow_and_costly, frozenset({"latency", "cost", "tokens", "tool_calls"})),
}


def has(scenario: str, profile: Profile) -> bool:
    """Whether an agent of the profile can have the fault: one that answers in a word cannot answer shortly."""
    if scenario in {"low-confidence", "over-confident"}:
        return profile.sure is not None
    return scenario != "short" or not profile.labels


def _text(topics: tuple[str, ...], rng: random.Random, words: int) -> str:
    vocabulary = _WORDS[rng.choice(topics)]
    return " ".join(rng.choice(vocabulary) if rng.random() < 0.7 else _word(rng) for _ in range(words))


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 4)))


def _poisson(rng: random.Random, mean: float) -> int:
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
