"""Values of labels come from closed sets, and name nobody."""

import pytest

from outlast.monitoring.metrics.labels import Labels
from outlast.telemetry import about


@pytest.fixture
def labels():
    made = Labels(most=3)
    made.know(["shop", "café"], most=3)
    return made


def test_an_agent_is_one_of_the_project(labels):
    assert labels.closed("agent_name", "shop", None) == "shop"
    assert labels.closed("agent_name", "café", None) == "café"
    assert labels.closed("agent_name", "somebody-else's", None) == "other"
    assert labels.closed("agent_name", None, None) == "none"


def test_a_listed_value_is_one_of_the_list(labels):
    assert labels.closed("outcome", "ok", ("ok", "error")) == "ok"
    assert labels.closed("outcome", "OK", ("ok", "error")) == "other"


def test_names_are_taken_up_to_a_limit_and_those_that_were_taken_stay(labels):
    assert [labels.closed("tool", name, None) for name in "abcd"] == ["a", "b", "c", "other"]
    assert labels.closed("tool", "b", None) == "b"
    assert labels.closed("node", "d", None) == "d", "each kind has its own"


@pytest.mark.parametrize(
    "value",
    [
        "6f1e2d3c-4b5a-4978-8796-a5b4c3d2f301",
        "6f1e2d3c4b5a49788796a5b4c3d30412",
        "node-6f1e2d3c-4b5a-4978-8796-a5b4c3d31523",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "deadbeefdeadbeef",
        "customer-4711000001",
        "jane.doe@example.org",
        "two\nlines",
        "right\u2028left",
        "x" * 101,
        "",
    ],
)
def test_what_looks_like_an_id_is_taken_nowhere(labels, value):
    assert labels.closed("node", value, None) == "other"


@pytest.mark.parametrize(
    "value",
    ["openai:gpt-4o-2024-08-06", "anthropic:claude-3-5-sonnet-20241022", "bedrock:us.anthropic.claude-v1:0",
     "call_model", "/threads/{thread_id}/runs/{run_id}", "groq:meta-llama/llama-3.1-8b-instant"],
)  # fmt: skip
def test_names_of_models_nodes_and_routes_are_taken(labels, value):
    assert labels.closed("model", value, None) == value


def test_ids_of_the_run_at_hand_are_taken_nowhere(labels):
    with about(user_id="Jane Doe", thread_id="ward 7 bed 3", run_id="run"):
        assert labels.closed("node", "jane doe", None) == "other"
        assert labels.closed("node", "about ward 7 bed 3", None) == "other"
        assert labels.closed("node", "run", None) == "other"
        assert labels.closed("node", "rerun", None) == "rerun", "a short one may be in a name by chance"
