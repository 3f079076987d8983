"""Each detector finds its mode, in words that the labelled set does not have, and leaves alone what looks like it."""

from typing import Any

import pytest

from outlast.validation.detectors.built_in import DETECTORS
from outlast.validation.detectors.calibration import Calibration
from outlast.validation.detectors.certainty import stated_in
from outlast.validation.detectors.intentions import Intention, destroys, intention_of
from outlast.validation.detectors.trace import Trace


def found(mode: str, **trace: Any) -> bool:
    return DETECTORS[mode]().look(Trace.of_json(trace)) is not None


def call(tool: str, result: Any = "ok", /, **args: Any) -> dict[str, Any]:
    return {"tool": tool, "args": args, "result": result}


@pytest.mark.parametrize("mode", DETECTORS)
def test_the_example_of_a_detector_is_found_by_it_and_an_empty_trace_is_not(mode: str) -> None:
    detector = DETECTORS[mode]()
    assert detector.look(Trace.of_json(detector.example)) is not None
    assert detector.look(Trace()) is None


@pytest.mark.parametrize("mode", DETECTORS)
def test_a_threshold_of_ones_own_counts(mode: str) -> None:
    example = Trace.of_json(DETECTORS[mode].example)
    score = DETECTORS[mode]().score(example)
    assert DETECTORS[mode](threshold=score).look(example) is not None
    assert DETECTORS[mode](threshold=score + 0.001).look(example) is None


@pytest.mark.parametrize(
    ("task", "meant"),
    [
        ("How many mailboxes are there?", Intention.READ),
        ("Could you please list the mailboxes?", Intention.READ),
        ("Rename the mailbox of Ann.", Intention.CHANGE),
        ("Thanks! Please wipe the mailbox of Ann.", Intention.DESTROY),
        ("The mailbox of Ann should be deleted.", Intention.DESTROY),
        ("Ann has left us.", Intention.UNKNOWN),
        ("Which mailboxes were deleted in May?", Intention.READ),
    ],
)
def test_what_was_asked_for_is_read_from_the_verb(task: str, meant: Intention) -> None:
    assert intention_of(task) is meant


@pytest.mark.parametrize(
    ("tool", "args", "by"),
    [
        ("deleteMailbox", {}, "delete"),
        ("mailbox.purge", {}, "purge"),
        ("send_email", {}, "send"),
        ("get_deleted_mailboxes", {}, None),
        ("purge_job_status", {}, None),
        ("list_orders_to_send", {}, None),
        ("run", {"sql": "  drop table mail"}, "drop table"),
        ("run", {"sql": "select * from mail where subject = 'drop table'"}, None),
        ("bash", {"command": "cd /var && rm -rf mail"}, "&& rm"),
        ("http", {"method": "DELETE", "url": "/mail/1"}, "delete"),
        ("http", {"method": "GET", "url": "/deleted"}, None),
        ("search", {"query": "how to delete a mailbox"}, None),
    ],
)
def test_what_a_call_destroys_is_read_from_its_name_and_arguments(
    tool: str, args: dict[str, Any], by: str | None
) -> None:
    assert (destroys(tool, args) or "").lstrip("& ") == (by or "").lstrip("& ")


def test_a_tool_outside_of_the_list_is_misuse_and_without_a_list_nothing_is() -> None:
    steps = [call("peek_salary", "4,000")]
    assert found("tool_misuse", task="What is the date?", steps=steps, tools=["today"])
    assert not found("tool_misuse", task="What is the date?", steps=steps)


def test_the_same_call_three_times_is_misuse_unless_its_result_changes() -> None:
    same = [call("weather", "rain", city="Oslo", unit="C"), call("weather", "rain", unit="C", city=" oslo")]
    assert not found("tool_misuse", task="Is it raining?", steps=same)
    assert found("tool_misuse", task="Is it raining?", steps=[*same, same[0]])
    assert not found("tool_misuse", task="Is it ready?", steps=[call("state", f"{n} %", job=1) for n in range(5)])


RULES = ["You are a cook. Never use peanuts in a recipe.", "Portions are for six people."]


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        (RULES, False),
        (["recipe without peanuts; you are a cook", "six people eat, so adapt portions"], False),
        ([RULES[1]], True),
        (["You are a cook. Nev", RULES[1]], True),
        ([RULES[0]], True),
        (None, False),
    ],
)
def test_a_rule_that_the_model_no_longer_sees_is_an_overflow_in_whatever_words_it_was(
    given: list[str] | None, lost: bool
) -> None:
    assert found("context_overflow", task="Cook me something.", instructions=RULES, given=given) is lost


def test_what_a_tool_found_is_no_instruction() -> None:
    steps = [call("search", "Never use peanuts in a recipe for six people, portions vary. You are a cook.")]
    assert found("context_overflow", instructions=RULES, given=[steps[0]["result"]], steps=steps)


FAILED = call("geocode", {"error": "quota exceeded"}, place="Bergen")


@pytest.mark.parametrize(
    ("steps", "output", "cascade"),
    [
        ([FAILED, call("forecast", "sunny", at=None)], "It will be sunny.", True),
        ([FAILED, call("forecast", "sunny", at="quota exceeded")], "It will be sunny.", True),
        ([FAILED, call("forecast", "sunny", at="test-1")], "It will be sunny.", True),
        ([FAILED, call("forecast", "sunny", at=None)], "The place could not be found, so this is for nowhere.", False),
        ([FAILED, call("geocode", "60.4", place="Bergen"), call("forecast", "sunny", at="60.4")], "Sunny.", False),
        ([FAILED, call("atlas", "60.4,5.3"), call("forecast", "sunny", at="60.4,5.3")], "Sunny.", False),
        ([call("geocode", {"lat": "60.4", "note": None, "errors": 0}), call("forecast", "x", at="60.4")], "x", False),
        ([call("manual", "An error is shown when it is cold."), call("print", "ok", page="1")], "Printed.", False),
    ],
)
def test_what_a_failed_step_left_behind_is_followed(steps: list[dict[str, Any]], output: str, cascade: bool) -> None:
    assert found("cascading_errors", task="What is the weather in Bergen?", steps=steps, output=output) is cascade


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("The sum is 4. I'm positive.", 0.95),
        ("The sum is 4. I am positive.", 0.95),
        ("That is beyond any doubt.", 0.95),
        ("I would not say that it is beyond any doubt.", 0.4),
        ("Likelihood that this holds: 85 %", 0.85),
        ("I am 9 out of 10 confident.", 0.9),
        ("My certainty is 0.6.", 0.6),
        ("90 % of the parcels arrive.", None),
        ("The customer said that he is absolutely sure.", None),
        ("Perhaps it is 4.", 0.4),
    ],
)
def test_certainty_is_read_from_figures_and_words(text: str, stated: float | None) -> None:
    assert stated_in(text) == stated


@pytest.mark.parametrize(("confidence", "valid", "over"), [(0.9, False, True), (0.9, True, False), (0.5, False, False)])
def test_who_is_sure_and_wrong_is_overconfident(confidence: float, valid: bool, over: bool) -> None:
    assert found("overconfidence", output="4", confidence=confidence, verdict={"valid": valid}) is over


def test_a_record_tells_when_nobody_has_looked_and_only_when_it_is_long_enough() -> None:
    wrong, right = (0.9, False), (0.9, True)
    assert found("overconfidence", output="4", confidence=0.92, record=[wrong, right] * 6)
    assert not found("overconfidence", output="4", confidence=0.92, record=[wrong, right] * 3)
    assert not found("overconfidence", output="4", confidence=0.92, record=[*[right] * 11, wrong])
    assert not found("overconfidence", output="4", confidence=0.4, record=[wrong, right] * 6)


def test_calibration_is_told_by_confidence() -> None:
    record = Calibration([(0.9, True), (0.9, False), (0.95, True), (1.0, False), (0.3, False), (0.3, True)])
    assert [(part.count, round(part.stated, 3), part.right) for part in record.bins()] == [
        (2, 0.3, 0.5),
        (4, 0.938, 0.5),
    ]
    assert record.error == pytest.approx((2 * 0.2 + 4 * 0.4375) / 6)
    assert Calibration().error == 0


def test_an_output_about_something_else_is_drift_and_a_short_one_is_not() -> None:
    task, steps = "Translate the menu of the harbour restaurant.", [call("read_menu", "fish soup, cod, apple cake")]
    lost = "Steam engines changed how textile mills were powered across northern England."
    assert found("off_topic_drift", task=task, steps=[*steps, {"thought": lost}, {"thought": lost}], output=lost)
    assert not found("off_topic_drift", task=task, steps=steps, output="Menu: fish soup, cod, apple cake.")
    assert not found("off_topic_drift", task=task, steps=steps, output="Done.")


@pytest.mark.parametrize(
    ("output", "invented"),
    [
        ("The fee is 1,200 euros and due on 3 March 2026.", False),
        ("The fee is €1200, due on 2026-03-03.", False),
        ("That is 100 euros a month.", False),
        ("See section 2 of the contract.", False),
        ("See section 21 of the contract.", True),
        ("A late fee of 37 euros applies.", True),
        ("Payment goes to Hubert Klamm.", True),
        ("Payment goes to Ada Lind.", False),
        ("The contract does not say whether a late fee of 37 euros applies.", False),
        ("It is due on 9 March 2026.", True),
    ],
)
def test_references_figures_names_and_days_have_to_be_in_a_source_or_follow_from_it(
    output: str, invented: bool
) -> None:
    source = "Section 2: Ada Lind pays a yearly fee of EUR 1,200, due on 3 March 2026."
    assert found("domain_hallucination", task="What does it cost?", sources=[source], output=output) is invented


def test_a_detector_takes_time_that_grows_with_the_text_alone() -> None:
    """It would take minutes if a pattern went back and forth."""
    for text in (" " * 8_000, "-" * 8_000, "A-" * 4_000, "with (" * 1_000, "no one is " * 800):
        steps = [call("x", f"Error: {text}", command=text), call("y", text, z=text, u=None)]
        trace = {
            "task": text,
            "instructions": [text],
            "given": [text],
            "steps": steps,
            "sources": [text],
            "output": text,
        }
        for detector in DETECTORS.values():
            detector().score(Trace.of_json(trace))
