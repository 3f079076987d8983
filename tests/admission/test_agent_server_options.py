"""What the Agent Server API lets a client choose: each wrong choice is refused by the name of its field."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from outlast.admission.agent_server import STREAM_MODES, usable_options
from outlast.admission.merging import merged
from outlast.admission.payload import PayloadLimits
from outlast.admission.request import RunRequest, ThreadRules
from outlast.domain.assistant import Assistant
from outlast.domain.options import RunOptions
from outlast.domain.webhook import WebhookPolicy
from outlast.errors import InvalidInput, NotSupported

LIMITS = PayloadLimits(max_bytes=1000, max_depth=5)
CHECK = usable_options(LIMITS, webhooks=None, tracing=False)
DEEP: Any = [[[[[[1]]]]]]


def wanted(**options: Any) -> RunRequest:
    return RunRequest(input=None, options=RunOptions(protocol="v1", **options), thread=ThreadRules())


@pytest.mark.parametrize(
    "options",
    [
        {"stream_modes": tuple(STREAM_MODES)},
        {"command": {"resume": {"any": ["thing"]}, "update": [["x", 1]], "goto": "node"}},
        {"command": {"goto": [{"node": "a", "input": {"x": 1}}, "b"]}},
        {"command": {"goto": None}},
        {"checkpoint": {"checkpoint_id": "1", "checkpoint_ns": "", "checkpoint_map": {"": "1"}}},
        {"context": {"x": 1}},
    ],
)
def test_what_the_sdk_sends_passes(options: dict[str, Any]) -> None:
    request = wanted(**options)

    assert CHECK(request) is request


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"stream_modes": ("values", "nonsense")}, "stream_mode"),
        ({"command": {"resum": 1}}, "command"),
        ({"command": {"resume": DEEP}}, "command.resume"),
        ({"command": {"update": "x" * 2000}}, "command.update"),
        ({"command": {"goto": 1}}, "command.goto"),
        ({"command": {"goto": [{"input": 1}]}}, "command.goto"),
        ({"command": {"goto": {"node": "a", "else": 1}}}, "command.goto"),
        ({"command": {"goto": {"node": "a", "input": DEEP}}}, "command.goto"),
        ({"checkpoint": {"id": "1"}}, "checkpoint"),
        ({"checkpoint": {"checkpoint_id": 1}}, "checkpoint.checkpoint_id"),
        ({"checkpoint": {"checkpoint_id": "1", "checkpoint_map": DEEP}}, "checkpoint.checkpoint_map"),
        ({"context": DEEP}, "context"),
    ],
)
def test_a_wrong_choice_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        CHECK(wanted(**options))

    assert refused.value.field == field


def test_a_stateless_run_has_no_question_to_answer() -> None:
    with pytest.raises(InvalidInput) as refused:
        CHECK(replace(wanted(command={"resume": "yes"}), temporary=True))

    assert refused.value.field == "command.resume"


def test_a_webhook_is_held_against_the_policy() -> None:
    request = replace(wanted(), webhook="http://127.0.0.1/hook")
    with pytest.raises(InvalidInput) as refused:
        CHECK(request)
    assert refused.value.field == "webhook"

    strict = usable_options(LIMITS, webhooks=WebhookPolicy(require_https=True), tracing=False)
    with pytest.raises(InvalidInput):
        strict(replace(wanted(), webhook="http://example.com/hook"))
    assert strict(replace(wanted(), webhook="https://example.com/hook"))


def test_a_tracer_that_is_not_there_is_not_chosen() -> None:
    request = wanted(tracer={"project_name": "x"})
    with pytest.raises(NotSupported) as refused:
        CHECK(request)

    assert refused.value.field == "langsmith_tracer"
    assert usable_options(LIMITS, webhooks=None, tracing=True)(request) is request


def test_a_plain_run_chooses_nothing_of_this() -> None:
    request = RunRequest(input=DEEP)

    assert CHECK(request) is request


def assistant(**given: Any) -> Assistant:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": uuid4(), "graph_id": "g", "name": "a", "description": None, "config": {}, "context": {}, "metadata": {},
        "version": 1, "created_at": now, "updated_at": now,
    }  # fmt: skip
    return Assistant(**(fields | given))


def test_a_request_wins_over_its_assistant_key_by_key() -> None:
    below = assistant(
        config={"recursion_limit": 5, "tags": ["a", "b"], "configurable": {"x": 1, "y": 1}}, context={"x": 1, "y": 1}
    )

    config, context = merged(below, {"tags": ["b", "c"], "configurable": {"y": 2}}, None)

    assert config == {"recursion_limit": 5, "tags": ["a", "b", "c"], "configurable": {"x": 1, "y": 2}}
    assert context == {"x": 1, "y": 2}


@pytest.mark.parametrize(("config", "context"), [({"configurable": {"x": 1}}, None), (None, {"x": 1})])
def test_either_of_the_two_says_both(config: Any, context: Any) -> None:
    assert merged(assistant(), config, context) == ({"configurable": {"x": 1}}, {"x": 1})


def test_who_says_nothing_gets_nothing() -> None:
    assert merged(assistant(), None, None) == ({}, {})


def test_the_two_may_not_differ() -> None:
    with pytest.raises(InvalidInput) as refused:
        merged(assistant(), {"configurable": {"x": 1}}, {"x": 2})

    assert refused.value.field == "context"
