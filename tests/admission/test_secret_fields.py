"""No secret comes along where everything is kept, shown and searched."""

from typing import Any

import pytest

from outlast.admission.request import RunRequest, ThreadRules
from outlast.admission.secrets import check_secrets, free_of_secrets
from outlast.domain.options import RunOptions
from outlast.errors import InvalidInput

KNOWN = "sk-proj-Zk3vQ9xWb7LmT2pRy8NcJ5dHs6FgA1eU"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (RunRequest(input=1, config={"configurable": {"openai_api_key": "x"}}), "config.configurable.openai_api_key"),
        (RunRequest(input=1, config={"configurable": {"model": KNOWN}}), "config.configurable.model"),
        (
            RunRequest(input=1, config={"configurable": {"mcp": {"Auth-Token": "x"}}}),
            "config.configurable.mcp.Auth-Token",
        ),
        (RunRequest(input=1, config={"metadata": {"password": "x"}}), "config.metadata.password"),
        (RunRequest(input=1, metadata={"client_secret": "x"}), "metadata.client_secret"),
        (RunRequest(input=1, options=RunOptions(protocol="v1", context={"token": "x"})), "context.token"),
        (RunRequest(input=1, thread=ThreadRules(metadata={"cookie": "x"})), "thread.metadata.cookie"),
    ],
)
def test_a_secret_beside_the_input_is_refused_with_the_name_of_its_field(request_: RunRequest, field: str) -> None:
    with pytest.raises(InvalidInput, match="OPENAI_API_KEY_FILE") as caught:
        free_of_secrets(request_)

    assert caught.value.field == field
    assert KNOWN not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {"model": "gpt-4o", "max_tokens": 100, "thread_id": "t", "token_budget": "small", "author": "ada"},
        {"openai_api_key": "", "password": None, "secret": True, "api_keys_used": 3},
        {"langgraph_auth_user": {"token": "x"}, "langgraph_auth_user_id": "ada"},
        None, "text", {"a": {"b": {"c": {"d": {"e": {"password": "too deep to be a setting"}}}}}},
    ],
)  # fmt: skip
def test_what_is_no_secret_passes(value: Any) -> None:
    check_secrets(value, field="config.configurable")


def test_what_an_agent_works_with_is_its_own_matter() -> None:
    request = RunRequest(input={"password": "x", "text": KNOWN})

    assert free_of_secrets(request) is request
