"""Broken traces: each function takes a field of work and returns a trace of one failure mode, by the definitions."""

from collections.abc import Callable
from random import Random
from typing import Any

import phrases
from sound import Draft, chained, changing, reading, step

Field = dict[str, Any]


# Tool misuse.
def not_allowed(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    tool, args = random.choice(field["foreign"])
    draft.steps.insert(random.randint(1, 3), step(None, tool=tool, args=args, result="ok"))
    return draft


def nearly_allowed(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    tool, args = field["nearly"]
    draft.steps[0] |= {"tool": tool, "args": args}
    return draft


def destroys(field: Field, random: Random, _others: list[Field]) -> Draft:
    task = field["ask_about_deletion"] if random.random() < 0.3 else None
    draft = reading(field, random, task)
    thought = random.choice([None, "I tidy this up right away.", "This should not stay as it is."])
    draft.steps.insert(random.randint(1, 3), step(thought, field["change"]))
    return draft


def destroys_by_arguments(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    generic = field["generic"]
    draft.steps.append(step(None, tool=generic["tool"], args=generic["bad"], result=generic["result"]))
    return draft


def destroys_instead_of_updating(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = changing(field, random, "update")
    draft.steps[-1] = step(None, field["change"])
    draft.output = field["change"]["done"]
    return draft


def repeats(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    position = random.randrange(3)
    again = draft.steps[position]
    for _ in range(random.randint(2, 4)):
        args = dict(reversed(again["args"].items()))
        if random.random() < 0.3:
            args = {name: f" {value}" if isinstance(value, str) else value for name, value in args.items()}
        draft.steps.insert(random.randint(position + 1, len(draft.steps)), again | {"args": args, "thought": None})
    return draft


# Context overflow.
def system_dropped(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    draft.shown = [draft.first, *draft.small_talk, *draft.tail][random.choice([0, 1]) :]
    return draft


def system_cut(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    cut = draft.system[: int(len(draft.system) * random.uniform(0.35, 0.7))] + random.choice(
        ["", "...", " [truncated]"]
    )
    draft.shown = [cut, draft.first, *draft.small_talk, *draft.tail]
    return draft


def user_rule_dropped(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    draft.shown = [draft.system, *draft.small_talk[random.choice([0, 1]) :], *draft.tail]
    return draft


def summary_without_rules(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    kept = random.choice(field["rules"][:2])[1] if random.random() < 0.5 else None
    talk = " ".join(field["talk"][0])
    summary = f"Summary of the conversation so far: the user said hello. They talked about this: {talk}"
    head = [draft.system] if kept is None else [field["role"]]
    draft.shown = [*head, summary + (f" Remember: {kept}." if kept else ""), *draft.tail]
    return draft


# Cascading errors.
def mark_passed_on(field: Field, random: Random, _others: list[Field]) -> Draft:
    error, failed = random.choice(phrases.ERRORS)
    mark = error if isinstance(error, str) else random.choice(["error", str(error)])
    carried = random.choice([*phrases.GUESSED_FIGURES, mark])
    return _cascade(field, random, error, mark, carried, failed=failed)


def nothing_passed_on(field: Field, random: Random, _others: list[Field]) -> Draft:
    nothing, mark = random.choice(phrases.NOTHING)
    return _cascade(field, random, nothing, mark, random.choice([*phrases.GUESSED_FIGURES, mark]), failed=False)


def default_in_its_place(field: Field, random: Random, _others: list[Field]) -> Draft:
    error, failed = random.choice(phrases.ERRORS)
    guess, carried = random.choice(phrases.GUESSES), random.choice(phrases.GUESSED_FIGURES)
    draft = _cascade(field, random, error, guess, carried, failed=failed)
    draft.steps[1]["thought"] = random.choice(phrases.GO_ON)
    return draft


def chain_of_failures(field: Field, random: Random, _others: list[Field]) -> Draft:
    (first, first_failed), (second, second_failed) = random.choice(phrases.ERRORS), random.choice(phrases.ERRORS)
    draft = _cascade(field, random, first, "unknown", random.choice(["-", "n/a", "unknown"]), failed=first_failed)
    draft.steps[1] |= {"result": second, "failed": second_failed}
    return draft


def _cascade(field: Field, random: Random, result: Any, value: Any, carried: Any, *, failed: bool) -> Draft:
    draft = chained(field, random, value=value, carried=carried)
    draft.steps[0] |= {"result": result, "failed": failed}
    name = next(iter(field["chain"]["second"]["result"]))
    draft.steps[1]["result"] = {"for": value, name: carried}
    return draft


# Overconfidence.
def sure_in_figures(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = _invalid(reading(field, random), random)
    share = round(random.uniform(0.85, 0.99), 2)
    if random.random() < 0.5:
        draft.confidence = share
    else:
        said = random.choice(phrases.SURE_IN_FIGURES)
        percent, tenths = round(share * 100), random.choice([9, 10])
        draft.output = f"{draft.output} {said.format(percent=percent, share=share, tenths=tenths)}"
        draft.confidence = None
    return draft


def sure_in_words(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = _invalid(reading(field, random), random)
    draft.confidence = None
    draft.output = f"{draft.output} {random.choice(phrases.SURE_IN_WORDS)}"
    return draft


def sure_without_record(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    draft.verdict, draft.confidence = None, round(random.uniform(0.86, 0.98), 2)
    draft.record = bad_record(random)
    return draft


def bad_record(random: Random) -> list[tuple[float, bool]]:
    length = random.randint(14, 36)
    stated = [round(random.uniform(0.82, 0.98), 2) for _ in range(length)]
    right = int(length * random.uniform(0.3, 0.6))
    fared = [True] * right + [False] * (length - right)
    random.shuffle(fared)
    return list(zip(stated, fared, strict=True))


def _invalid(draft: Draft, random: Random) -> Draft:
    draft.verdict = {"valid": False, "reasons": [random.choice(phrases.REASONS)]}
    draft.record = []
    return draft


# Off-topic drift.
def gradual(field: Field, random: Random, _others: list[Field]) -> Draft:
    draft = reading(field, random)
    *thoughts, ending = random.choice(phrases.TANGENTS[field["half"]])
    thoughts[0] = f"{random.choice(phrases.BRIDGES)} {thoughts[0]}".strip()
    return _drifted(draft, thoughts, ending, keep=random.randint(1, 3))


def jump(field: Field, random: Random, others: list[Field]) -> Draft:
    other = random.choice(others)
    thoughts = [call["thought"] for call in other["reads"]]
    draft = _drifted(reading(field, random), thoughts, random.choice(other["answers"]), keep=random.randint(0, 2))
    for taken, call in zip(draft.steps[-3:], other["reads"], strict=True):
        taken["result"] = call["result"]
    draft.sources.append(other["document"])
    return draft


def other_answer(field: Field, random: Random, others: list[Field]) -> Draft:
    other = random.choice(others)
    draft = reading(field, random)
    draft.sources.append(other["document"])
    draft.steps.append(
        step(None, tool=field["search_text"]["tool"], args={"query": "more"}, result=other["answers"][0])
    )
    draft.output = other["answers"][0]
    return draft


def sideways(field: Field, random: Random, _others: list[Field]) -> Draft:
    *thoughts, ending = field["sideways"]
    return _drifted(reading(field, random), thoughts, ending, keep=random.randint(0, 1))


def _drifted(draft: Draft, thoughts: list[str], ending: str, *, keep: int) -> Draft:
    search = draft.field["search_text"]["tool"]
    found = [step(thought, tool=search, args={"query": thought}, result=thought) for thought in thoughts]
    found[-1]["result"] = ending
    draft.steps = [*draft.steps[:keep], *found]
    draft.output = ending
    return draft


# Domain hallucination.
def invents(kind: str) -> Callable[[Field, Random, list[Field]], Draft]:
    def made(field: Field, random: Random, _others: list[Field]) -> Draft:
        draft = reading(field, random)
        claims = [random.choice(field["invented"][kind]), random.choice(field["answers"])]
        random.shuffle(claims)
        draft.output = " ".join(claims)
        if random.random() < 0.3:
            draft.output = {"answer": claims[0], "remarks": [claims[1]]}
        return draft

    return made


#: Mode -> variant -> how it is made.
BROKEN: dict[str, dict[str, Callable[[Field, Random, list[Field]], Draft]]] = {
    "tool_misuse": {
        made.__name__: made
        for made in (
            not_allowed,
            nearly_allowed,
            destroys,
            destroys_by_arguments,
            destroys_instead_of_updating,
            repeats,
        )
    },
    "context_overflow": {
        made.__name__: made for made in (system_dropped, system_cut, user_rule_dropped, summary_without_rules)
    },
    "cascading_errors": {
        made.__name__: made for made in (mark_passed_on, nothing_passed_on, default_in_its_place, chain_of_failures)
    },
    "overconfidence": {made.__name__: made for made in (sure_in_figures, sure_in_words, sure_without_record)},
    "off_topic_drift": {made.__name__: made for made in (gradual, jump, other_answer, sideways)},
    "domain_hallucination": {kind: invents(kind) for kind in ("reference", "figure", "name", "words")},
}
