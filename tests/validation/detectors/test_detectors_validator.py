"""The detectors as a validator: what they read of a run, and what they answer."""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages import messages_to_dict as to_dicts

from outlast.errors import ConfigurationError
from outlast.settings_validation import ValidationSettings
from outlast.validation.building import one
from outlast.validation.detectors.reading import Known, trace_of
from outlast.validation.engine import Validation
from outlast.validation.validator import Context, Invalid, Valid


def messages(*, tool: str = "get_order", result: str = '{"state": "sent"}', status: str = "success") -> list[Any]:
    said = AIMessage("I look.", tool_calls=[{"name": tool, "args": {"id": 7}, "id": "c1", "type": "tool_call"}])
    given = [
        SystemMessage("Never mention prices to customers."),
        HumanMessage("Hello"),
        AIMessage("Hello, what can I do?"),
        HumanMessage("Where is order 7?"),
        said,
        ToolMessage(result, tool_call_id="c1", name=tool, status=status),
        AIMessage("Order 7 was sent."),
    ]
    return [{"type": shown["type"], **shown["data"]} for shown in to_dicts(given)]


async def asked(output: Any, context: Context, **table: Any) -> Valid | Invalid:
    verdict: Any = await one({"use": "detectors", **table}, where="here").validate(output, context)  # type: ignore[misc]
    return verdict


def test_the_last_turn_of_a_conversation_is_the_trace() -> None:
    context = Context(messages=messages(status="error"), sources={"faq": "Parcels take two days."})
    trace = trace_of(
        {"messages": messages(), "confidence": 90}, context, Known(tools=["get_*"], instructions=["Be kind."])
    )

    assert (trace.task, trace.output) == ("Where is order 7?", "Order 7 was sent.")
    (step,) = trace.steps
    assert (step.thought, step.tool, step.args, step.failed) == ("I look.", "get_order", {"id": 7}, True)
    assert step.result == {"state": "sent"}
    assert trace.instructions == ["Be kind.", "Never mention prices to customers."]
    assert trace.given is not None
    assert len(trace.given) == 7
    assert (trace.sources, trace.confidence) == (["Parcels take two days."], 0.9)
    assert trace.tools == {"get_order"}


def test_objects_are_read_as_their_json_is() -> None:
    context = Context(input={"question": "Where is order 7?"})
    assert trace_of("Sent.", context, Known()).task == "question: Where is order 7?"
    spoken = [HumanMessage("Where is order 7?"), AIMessage("Sent.")]
    assert trace_of({"messages": spoken}, Context(messages=spoken), Known()).task == "Where is order 7?"


async def test_a_sound_run_is_valid() -> None:
    every = ["tool_misuse", "context_overflow", "cascading_errors", "overconfidence", "off_topic_drift"]
    context = Context(messages=messages())
    assert await asked({"messages": messages()}, context, tools=["get_order"], modes=every) == Valid()


async def test_each_mode_is_a_code_and_its_reason_says_what_was_seen() -> None:
    context = Context(messages=messages(tool="cancel_order", result="cancelled"))
    verdict = await asked({"messages": context.messages}, context, tools=["get_*"], severity="high")

    assert isinstance(verdict, Invalid)
    assert verdict.severity == "high"
    assert {reason.code for reason in verdict.reasons} == {"tool_misuse"}
    assert [reason.text for reason in verdict.reasons] == [
        "cancel_order is not among the tools that the agent may call",
        "cancel_order (cancel) was called, and the task asks for nothing like it",
    ]


async def test_instructions_that_the_thread_has_lost_are_missed() -> None:
    context = Context(messages=messages())
    assert await asked("x", context, instructions=["Never mention prices to any customer."]) == Valid()
    verdict = await asked("x", context, instructions=["Answer in Portuguese, politely."])
    assert isinstance(verdict, Invalid)
    assert [reason.code for reason in verdict.reasons] == ["context_overflow"]


async def test_confidence_is_held_against_the_validators_that_are_named() -> None:
    against = [{"use": "required", "fields": ["iban"]}]
    sure, unsure = {"confidence": 0.95}, {"confidence": 0.4}

    assert isinstance(await asked(sure, Context(), against=against), Invalid)
    assert await asked(unsure, Context(), against=against) == Valid()
    assert await asked(sure | {"iban": "DE02"}, Context(), against=against) == Valid()
    assert await asked(sure, Context()) == Valid()
    assert isinstance(await asked(sure, Context(), record=[(0.95, n % 2 == 0) for n in range(12)]), Invalid)


async def test_before_a_tool_is_called_its_misuse_is_seen() -> None:
    before = messages()[:4]
    context = Context(messages=before, tool="wipe_orders")
    verdict = await asked({"id": 7}, context, instructions=["Something that is not there at all."])

    assert isinstance(verdict, Invalid)
    assert [reason.code for reason in verdict.reasons] == ["tool_misuse"]
    assert await asked({"id": 7}, Context(messages=before, tool="get_order")) == Valid()


async def test_a_threshold_may_be_set_for_each_mode() -> None:
    context = Context(messages=messages(tool="cancel_order", result="cancelled"))
    assert isinstance(await asked("x", context, thresholds={"tool_misuse": 1.0}), Invalid)
    unlikely = {"confidence": 0.8}
    against = [{"use": "required", "fields": ["iban"]}]
    assert await asked(unlikely, Context(), against=against, thresholds={"overconfidence": 0.9}) == Valid()


@pytest.mark.parametrize(
    ("table", "named"),
    [({"modes": ["laziness"]}, "modes"), ({"thresholds": {"tool_misuse": 2}}, "thresholds"), ({"tool": ["x"]}, "tool"),
     ({"against": ["nobody"]}, "against")],
)  # fmt: skip
def test_a_mistake_in_the_table_is_named(table: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        one({"use": "detectors", **table}, where="validation.validators[0]")


async def test_an_agents_settings_bring_the_detectors_into_its_validation() -> None:
    named = {"validators": ["detectors", {"use": "detectors", "name": "drift", "modes": ["off_topic_drift"]}]}
    validation = Validation(
        ValidationSettings.model_validate({"agents": {"support": named}}), agents=["support"], load=lambda _: None
    )
    context = Context(messages=messages(tool="cancel_order", result="cancelled"))
    verdict = await validation.of("support").check({"messages": context.messages}, context)
    await validation.aclose()

    assert isinstance(verdict, Invalid)
    assert [(reason.code, reason.by) for reason in verdict.reasons] == [("tool_misuse", "detectors")]


async def test_many_runs_may_be_looked_at_at_once() -> None:
    check = one("detectors", where="here")
    fine, wrong = Context(messages=messages()), Context(messages=messages(tool="cancel_order"))
    given = [fine, wrong] * 10
    verdicts = await asyncio.gather(*(check.validate("x", context) for context in given))  # type: ignore[arg-type]
    assert [isinstance(verdict, Invalid) for verdict in verdicts] == [context is wrong for context in given]
