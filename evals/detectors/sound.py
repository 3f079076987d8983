"""Sound traces: what an agent does that makes no mistake."""

import copy
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import phrases

DOMAINS = Path(__file__).with_name("domains")


def domains() -> dict[str, dict[str, Any]]:
    """Return the fields of work by name."""
    return {path.stem: tomllib.loads(path.read_text()) for path in sorted(DOMAINS.glob("*.toml"))}


def step(thought: str | None, call: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return a step: a thought, and a call where there is one."""
    made: dict[str, Any] = {"thought": thought, "tool": None, "args": {}, "result": None, "failed": False}
    if call is not None:
        made |= {name: copy.deepcopy(call[name]) for name in ("tool", "args", "result") if name in call}
    return made | changed


@dataclass
class Draft:
    """A trace that is being written; `shown` is what the model was last given."""

    field: dict[str, Any]
    random: Random
    task: str
    steps: list[dict[str, Any]]
    output: Any
    talk: int = 0
    sources: list[str] = field(default_factory=list)
    confidence: float | None = None
    verdict: dict[str, Any] | None = None
    record: list[tuple[float, bool]] = field(default_factory=list)
    shown: list[str] | None = None

    def __post_init__(self) -> None:
        system, first = self.field["role"], self.field["rules"][2][0]
        rules = [rule for rule, _ in self.field["rules"][:2]]
        joined = self.random.choice([" ".join, lambda given: "\n- ".join(["", *given]), "\n".join])(rules)
        self.system = f"{system} {joined}" if not joined.startswith("\n") else f"{system}{joined}"
        self.first = f"{self.random.choice(phrases.GREETINGS)} {first}"
        self.talk = self.talk or self.random.randint(1, 3)
        self.sources = [self.field["document"], *self.sources]

    @property
    def small_talk(self) -> list[str]:
        """What was said in between."""
        return [said for pair in self.field["talk"][: self.talk] for said in pair]

    @property
    def tail(self) -> list[str]:
        """What the model was given last, in any case."""
        return [self.task, *(str(taken["result"]) for taken in self.steps)]

    @property
    def whole(self) -> list[str]:
        """All that was said."""
        return [self.system, self.first, *self.small_talk, *self.tail]

    def trace(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "task": self.task,
            "instructions": [self.system, self.first],
            "given": self.whole if self.shown is None else self.shown,
            "steps": self.steps,
            "sources": self.sources,
            "output": self.output,
            "confidence": self.confidence,
            "verdict": self.verdict,
            "record": self.record,
            "tools": allowed(self.field),
        }


def allowed(field: dict[str, Any]) -> list[str]:
    """Return the tools that an agent of this field may call."""
    chain = [field["chain"][name] for name in ("first", "second", "third", "other")]
    single = [field[name] for name in ("change", "update", "decoy", "generic", "poll", "search_text")]
    return sorted({call["tool"] for call in [*field["reads"], *chain, *single]} | {field["belongs"][1]})


def reading(field: dict[str, Any], random: Random, task: str | None = None) -> Draft:
    """Return a trace that looks something up and answers."""
    taken = [step(call["thought"], call) for call in field["reads"]]
    if random.random() < 0.4:
        for position in random.sample(range(3), 2):
            taken[position]["thought"] = field["reworded"][position]
    output = f"{random.choice(field['answers'])} {random.choice(phrases.ENDINGS)}".strip()
    draft = Draft(field, random, task or random.choice(field["ask"]), taken, output)
    return _with_mood(draft)


def changing(field: dict[str, Any], random: Random, kind: str, wording: int = 0) -> Draft:
    """Return a trace that changes what it was asked to change."""
    asked = field[kind]["ask"]
    task = asked if isinstance(asked, str) else asked[wording]
    steps = [step(None, field["reads"][0]), step(None, field[kind])]
    return _with_mood(Draft(field, random, task, steps, field[kind]["done"]))


def chained(field: dict[str, Any], random: Random, *, value: Any = None, carried: Any = None) -> Draft:
    """Return a trace whose steps build on each other."""
    chain = field["chain"]
    value = chain["value"] if value is None else value
    carried = chain["carried"] if carried is None else carried
    steps = [step(None, chain[name]) for name in ("first", "second", "third")]
    for taken in steps[1:]:
        taken["args"] = {name: _filled(text, value, carried) for name, text in taken["args"].items()}
    output = _filled(chain["output"], value, carried)
    return _with_mood(Draft(field, random, chain["ask"], steps, output))


def calibrated(random: Random, length: int) -> list[tuple[float, bool]]:
    """Return how outputs fared whose confidence was what it should be."""
    while True:
        stated = [round(random.uniform(0.5, 0.98), 2) for _ in range(length)]
        record = [(share, random.random() < share) for share in stated]
        sure = [(share, right) for share, right in record if share >= 0.8]
        if sure and abs(sum(share for share, _ in sure) - sum(right for _, right in sure)) / len(sure) <= 0.1:
            return record


def _with_mood(draft: Draft) -> Draft:
    """Give it a confidence and a verdict that go together, or none; sometimes only the middle is trimmed."""
    random = draft.random
    mood = random.random()
    if mood < 0.35:
        draft.confidence, draft.verdict = round(random.uniform(0.5, 0.97), 2), {"valid": True, "reasons": []}
    elif mood < 0.5:
        draft.verdict = {"valid": False, "reasons": [random.choice(phrases.REASONS)]}
        draft.confidence = random.choice([None, round(random.uniform(0.2, 0.6), 2)])
    if random.random() < 0.3:
        draft.record = calibrated(random, random.randint(12, 30))
    if random.random() < 0.2:
        draft.shown = [draft.system, draft.first, *draft.small_talk[2:], *draft.tail]
    return draft


def _filled(text: str, value: Any, carried: Any) -> str:
    return text.replace("{value}", str(value)).replace("{carried}", str(carried))
