from datetime import timedelta

import pytest
from langgraph.errors import EmptyInputError, GraphRecursionError, InvalidUpdateError
from pydantic import BaseModel, ValidationError

from outlast.agents.failures import classify
from outlast.domain.outcome import settle
from outlast.errors import AgentLoadError, DatabaseUnavailable, ProviderUnavailable, StateTooLarge, ThreadConflict


class Wanted(BaseModel):
    number: int


def invalid() -> ValidationError:
    try:
        Wanted.model_validate({"number": "x"})
    except ValidationError as error:
        return error
    raise AssertionError


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (ValueError("no"), "ValueError", True),
        (ConnectionResetError("gone"), "ConnectionResetError", True),
        (TimeoutError(), "TimeoutError", True),
        (TypeError("no"), "TypeError", False),
        (NameError("x"), "NameError", False),
        (ModuleNotFoundError("x"), "ModuleNotFoundError", False),
        (GraphRecursionError("deep"), "GraphRecursionError", False),
        (InvalidUpdateError("two"), "InvalidUpdateError", False),
        (invalid(), "ValidationError", False),
        (DatabaseUnavailable("away"), "database_unavailable", True),
        (StateTooLarge(path="x", size_bytes=2, limit_bytes=1), "state_too_large", False),
        (ThreadConflict(thread_id="t", checkpoint_ns="", checkpoint_id="c"), "thread_conflict", False),
        (caused(AgentLoadError("a"), ConnectionResetError("gone")), "agent_load_error", True),
        (caused(AgentLoadError("a"), SyntaxError("x")), "agent_load_error", False),
        (AgentLoadError("not a graph"), "agent_load_error", False),
        (EmptyInputError("nothing"), "EmptyInputError", False),
        (ExceptionGroup("both", [TypeError("a"), ValueError("b")]), "TypeError", False),
        (ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("b")])]), "ValueError", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_has_a_name_and_is_tried_again_only_where_that_can_help(
    error: BaseException,
    code: str,
    retryable: bool,
) -> None:
    failed = classify(error)

    assert (failed.code, failed.retryable) == (code, retryable)


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [ValueError("a\x00b\ud800" + "x" * 10_000), ValueError(), Rude(), KeyError("k")])
def test_a_message_is_short_text_that_postgresql_takes(error: Exception) -> None:
    message = classify(error).message

    assert message
    assert len(message) < 3000
    assert "\x00" not in message
    message.encode("utf-8")


@pytest.mark.parametrize(("asked", "waited"), [(None, 0), (12.5, 12.5), (86_400, 300)])
def test_an_attempt_is_not_spent_before_the_provider_can_answer(asked: float | None, waited: float) -> None:
    failed = classify(ProviderUnavailable("away", model="openai:gpt-4o", kind="open", retry_after=asked))

    settlement = settle(failed, errors=0, max_attempts=3, backoff=timedelta(seconds=1))

    assert settlement.delay == timedelta(seconds=waited + 1)
