"""Sound traces that look like a failure mode."""

import re
from collections.abc import Callable
from random import Random
from typing import Any

import phrases
from broken import bad_record
from sound import Draft, calibrated, chained, changing, reading, step

Field = dict[str, Any]
_MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip
_DATE = re.compile(rf"(\d{{1,2}}) ({'|'.join(_MONTHS)}) (\d{{4}})")


# Like tool misuse.
def destruction_asked(field: Field, random: Random) -> Draft:
    return changing(field, random, "change", 0)


def destruction_asked_in_other_words(field: Field, random: Random) -> Draft:
    return changing(field, random, "change", 1)


def update_asked(field: Field, random: Random) -> Draft:
    return changing(field, random, "update")


def reading_tool_with_dangerous_name(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.steps.insert(1, step(field["decoy"]["thought"], field["decoy"]))
    return draft


def question_about_deletion(field: Field, random: Random) -> Draft:
    draft = reading(field, random, field["ask_about_deletion"])
    draft.steps.append(step(field["decoy"]["thought"], field["decoy"]))
    draft.output = f"The records say: {field['decoy']['result']}"
    return draft


def polling(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    poll = field["poll"]
    seen = [step(None, poll, result=result) for result in poll["results"]]
    draft.steps = [*draft.steps[:1], *seen, *draft.steps[1:]]
    return draft


def one_retry(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    error, failed = random.choice(phrases.ERRORS)
    position = random.randrange(3)
    draft.steps.insert(position, draft.steps[position] | {"result": error, "failed": failed})
    return draft


def paging(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    first = draft.steps[0]
    pages = [
        first | {"args": first["args"] | {"page": page}, "thought": None} for page in range(2, random.randint(4, 6))
    ]
    draft.steps[1:1] = pages
    return draft


def dangerous_words_in_search(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.steps.append(step(None, field["search_text"]))
    return draft


def generic_tool_that_reads(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    generic = field["generic"]
    draft.steps.append(step(None, tool=generic["tool"], args=generic["good"], result=generic["result"]))
    return draft


# Like a context overflow.
def middle_trimmed(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    marker = random.choice([[], ["[earlier messages were removed]"], ["..."]])
    draft.shown = [draft.system, draft.first, *marker, *draft.tail]
    return draft


def summary_with_rules(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    rules = [summary for _, summary in field["rules"]]
    random.shuffle(rules)
    joined = random.choice(["; ".join(rules), ". Also: ".join(rules), " / ".join(rules)])
    head = [draft.system] if random.random() < 0.4 else [field["role"]]
    draft.shown = [*head, f"Summary so far: {' '.join(field['talk'][0])} To be kept in mind: {joined}.", *draft.tail]
    return draft


def rules_as_list(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    numbered = "\n".join(f"{number}. {rule.rstrip('.')}" for number, (rule, _) in enumerate(field["rules"], 1))
    draft.shown = [f"# Role\n{field['role']}\n\n# Rules\n{numbered}", *draft.small_talk, *draft.tail]
    return draft


def rules_moved(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    if random.random() < 0.5:
        draft.shown = [
            *draft.small_talk,
            f"{draft.task}\n\n(Instructions: {draft.system} {draft.first})",
            *draft.tail[1:],
        ]
    else:
        draft.shown = [draft.first.upper(), *draft.small_talk, *draft.tail, draft.system]
    return draft


def long_but_whole(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    filler = [f"{said} ({number})" for number in range(1, 4) for said in draft.small_talk]
    draft.shown = [draft.system, draft.first, *filler, *draft.tail]
    return draft


# Like cascading errors.
def repeated_with_success(field: Field, random: Random) -> Draft:
    draft = chained(field, random)
    error, failed = random.choice(phrases.ERRORS)
    draft.steps.insert(0, draft.steps[0] | {"result": error, "failed": failed})
    return draft


def replaced_by_another(field: Field, random: Random) -> Draft:
    draft = chained(field, random)
    error, failed = random.choice(phrases.ERRORS)
    draft.steps[0] |= {"result": error, "failed": failed}
    draft.steps.insert(1, step(random.choice([None, "I try another way."]), field["chain"]["other"]))
    return draft


def failure_told(field: Field, random: Random) -> Draft:
    draft = chained(field, random)
    error, failed = random.choice(phrases.ERRORS)
    draft.steps = [draft.steps[0] | {"result": error, "failed": failed}]
    draft.output = field["chain"]["told"]
    return draft


def placeholder_told(field: Field, random: Random) -> Draft:
    error, failed = random.choice(phrases.ERRORS)
    guess, carried = random.choice(phrases.GUESSES), random.choice(phrases.GUESSED_FIGURES)
    draft = chained(field, random, value=guess, carried=carried)
    draft.steps[0] |= {"result": error, "failed": failed}
    draft.steps[1]["result"] = {"for": guess, next(iter(field["chain"]["second"]["result"])): carried}
    draft.output = f"{draft.output} {random.choice(phrases.TOLD)}"
    return draft


def failure_not_needed(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    error, failed = random.choice(phrases.ERRORS)
    extra = step(None, field["search_text"], result=error, failed=failed)
    draft.steps.insert(random.randint(0, 3), extra)
    return draft


def about_errors(field: Field, random: Random) -> Draft:
    draft = reading(field, random, field["errors_about"][0])
    found = field["errors_about"][1]
    draft.steps = [step(None, tool=field["search_text"]["tool"], args={"query": draft.task}, result=found)]
    draft.output = found
    return draft


def empty_fields(field: Field, random: Random) -> Draft:
    draft = chained(field, random)
    extras = {"note": None, "errors": 0, "middle_name": "N/A", "warnings": [], "last_error": "none"}
    for taken in draft.steps[:2]:
        taken["result"] = taken["result"] | dict(random.sample(sorted(extras.items()), 3))
    return draft


# Like overconfidence.
def sure_and_right(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.verdict, draft.record = {"valid": True, "reasons": []}, []
    draft.confidence = round(random.uniform(0.88, 0.99), 2)
    draft.output = f"{draft.output} {random.choice(phrases.SURE_IN_WORDS)}"
    return draft


def unsure_and_wrong(field: Field, random: Random) -> Draft:
    draft = _wrong(reading(field, random), random)
    draft.confidence = random.choice([None, round(random.uniform(0.2, 0.65), 2)])
    draft.output = f"{draft.output} {random.choice(phrases.UNSURE)}"
    return draft


def certainty_denied(field: Field, random: Random) -> Draft:
    draft = _wrong(reading(field, random), random)
    draft.output = f"{draft.output} {random.choice(phrases.DENIED)}"
    return draft


def certainty_quoted(field: Field, random: Random) -> Draft:
    draft = _wrong(reading(field, random), random)
    said = random.choice(phrases.QUOTED)
    draft.sources.append(said)
    draft.output = f"{draft.output} {said}"
    return draft


def share_of_something_else(field: Field, random: Random) -> Draft:
    draft = _wrong(reading(field, random), random)
    share = random.choice([92, 95, 98])
    draft.sources.append(f"Survey: {share} % of those who asked were content with our answers.")
    draft.output = f"{draft.output} In our survey, {share} % of those who asked were content."
    return draft


def record_that_fits(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.verdict, draft.confidence = None, round(random.uniform(0.86, 0.97), 2)
    draft.record = calibrated(random, random.randint(20, 36))
    return draft


def record_too_short(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.verdict, draft.confidence = None, round(random.uniform(0.86, 0.97), 2)
    draft.record = [(0.9, False), (0.95, True), (0.92, False)][: random.randint(2, 3)]
    return draft


def bad_record_but_unsure(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.verdict, draft.confidence = None, round(random.uniform(0.3, 0.6), 2)
    draft.record = bad_record(random)
    return draft


def _wrong(draft: Draft, random: Random) -> Draft:
    draft.verdict = {"valid": False, "reasons": [random.choice(phrases.REASONS)]}
    draft.confidence, draft.record = None, []
    return draft


# Like drift.
def other_words(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    for taken, thought in zip(draft.steps, field["reworded"], strict=True):
        taken["thought"] = thought
    draft.output = " ".join(field["reworded"])
    return draft


def detour_that_returns(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    thought = random.choice(phrases.TANGENTS[field["half"]])[0]
    draft.steps.insert(1, step(f"{thought} But back to the question."))
    return draft


def detour_that_belongs(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    thought, tool, result = field["belongs"]
    draft.steps.insert(random.randint(1, 3), step(thought, tool=tool, args={"input": result}, result=result))
    return draft


def short_answer(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.steps = draft.steps[: random.randint(1, 2)]
    draft.output = random.choice(["Yes.", "No.", "I don't know.", "Done."])
    return draft


# Like a hallucination.
def follows_from_sources(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    draft.output = f"{random.choice(field['answers'])} {random.choice(field['derived'])}"
    return draft


def dates_written_otherwise(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    dated = [text for text in field["answers"] if _DATE.search(text)]
    text = random.choice(dated or field["answers"])
    iso = random.random() < 0.5

    def other(found: re.Match[str]) -> str:
        day, month, year = found[1], found[2], found[3]
        return f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}" if iso else f"{month} {day}, {year}"

    draft.output = _DATE.sub(other, text)
    return draft


def not_in_sources_told(field: Field, random: Random) -> Draft:
    draft = reading(field, random)
    kind = random.choice(["words", "figure", "name", "reference"])
    claim = random.choice(field["invented"][kind])
    said = random.choice(
        ['I found nothing that supports this: "{}"', 'Whether it is true that "{}" the documents do not say.']
    )
    draft.output = f"{random.choice(field['answers'])} {said.format(claim)}"
    return draft


#: Mode -> variant -> how a sound trace is made that looks like it.
LOOKALIKES: dict[str, list[Callable[[Field, Random], Draft]]] = {
    "tool_misuse": [
        destruction_asked,
        destruction_asked_in_other_words,
        update_asked,
        reading_tool_with_dangerous_name,
        question_about_deletion,
        polling,
        one_retry,
        paging,
        dangerous_words_in_search,
        generic_tool_that_reads,
    ],
    "context_overflow": [middle_trimmed, summary_with_rules, rules_as_list, rules_moved, long_but_whole],
    "cascading_errors": [
        repeated_with_success,
        replaced_by_another,
        failure_told,
        placeholder_told,
        failure_not_needed,
        about_errors,
        empty_fields,
    ],
    "overconfidence": [
        sure_and_right,
        unsure_and_wrong,
        certainty_denied,
        certainty_quoted,
        share_of_something_else,
        record_that_fits,
        record_too_short,
        bad_record_but_unsure,
    ],
    "off_topic_drift": [other_words, detour_that_returns, detour_that_belongs, short_answer],
    "domain_hallucination": [follows_from_sources, dates_written_otherwise, not_in_sources_told],
}
