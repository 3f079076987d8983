"""What an error proves, how an effect looks to a model, and what is there outside of runs."""

import inspect
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool

import outlast
from outlast.agents.codec import Codec
from outlast.calls.effect_arguments import Signature, hashed, shown
from outlast.calls.effect_outcomes import decode_error, encode_error, is_not_applied
from outlast.calls.effect_questions import verdict_of
from outlast.errors import InvalidInput, NotApplied

CODEC = Codec()
REQUEST = httpx.Request("POST", "http://receiver")


def refused(status: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("no", request=REQUEST, response=httpx.Response(status, request=REQUEST))


class StripeError(Exception):
    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


@pytest.mark.parametrize(
    ("error", "proven"),
    [
        (NotApplied("declined"), True),
        (httpx.ConnectError("no route"), True),
        (httpx.ConnectTimeout("slow"), True),
        (ConnectionRefusedError(), True),
        (socket.gaierror(), True),
        (refused(400), True),
        (refused(409), True),
        (refused(429), True),
        (StripeError("card", 402), True),
        (refused(408), False),
        (refused(500), False),
        (refused(503), False),
        (httpx.ReadTimeout("late"), False),
        (httpx.WriteTimeout("late"), False),
        (httpx.RemoteProtocolError("cut"), False),
        (ConnectionResetError(), False),
        (TimeoutError(), False),
        (OSError(), False),
        (ValueError("a surprise"), False),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else f"{type(value).__name__} {value}",
)
def test_only_a_refusal_or_a_missing_connection_proves_that_nothing_was_applied(
    error: BaseException, proven: bool
) -> None:
    assert is_not_applied(error, doubtful=False, again=False) is proven
    assert is_not_applied(error, doubtful=True, again=True) is isinstance(error, NotApplied)


def test_a_conflict_over_a_key_that_was_sent_before_proves_nothing() -> None:
    assert not is_not_applied(refused(409), doubtful=False, again=True)


def test_an_error_is_caught_by_the_same_except_when_it_is_replayed() -> None:
    again = decode_error(encode_error(StripeError("card declined", 402), CODEC), CODEC)
    assert isinstance(again, StripeError)
    assert (str(again), again.http_status) == ("card declined", 402)
    assert isinstance(decode_error(encode_error(refused(402), CODEC), CODEC), httpx.HTTPStatusError)


def test_an_error_whose_class_is_gone_is_told_as_it_was() -> None:
    class Local(Exception):
        pass

    again = decode_error(encode_error(Local("gone"), CODEC), CODEC)
    assert isinstance(again, NotApplied)
    assert str(again) == "Local: gone"
    assert isinstance(decode_error(b"junk", CODEC), NotApplied)


def test_a_class_that_is_no_error_is_never_made_of_stored_bytes() -> None:
    stored = CODEC.encode(["subprocess", "Popen", ["true"], {}, "harmless"], path="error")
    assert str(decode_error(stored, CODEC)) == "harmless"


@pytest.mark.parametrize("answer", [None, True, "yes", {"applied": "yes"}, {"done": True}, [True]])
def test_what_could_be_an_answer_to_another_question_is_none_to_this_one(answer: Any) -> None:
    assert verdict_of(answer) is None


def test_arguments_are_the_same_whatever_langchain_hands_in_beside_them() -> None:
    def charge(amount: int, config: RunnableConfig, client: Any = None, idempotency_key: str = "") -> None: ...

    signature = Signature.of(charge)
    given = signature.bind((5, {"metadata": {"attempt": 1}}), {"client": object()})
    again = signature.bind((5,), {"config": {}, "client": object()})
    other = signature.bind((6, {}), {})
    assert hashed(given, CODEC) == hashed(again, CODEC) != hashed(other, CODEC)
    assert set(given) == {"amount", "client"}


def test_what_people_see_of_arguments_has_no_secrets_and_an_end() -> None:
    text = shown({"amount": 5, "api_key": "sk-1", "text": "x" * 5000, "object": object()}).decode()
    assert "sk-1" not in text
    assert '"amount":5' in text
    assert len(text) < 2100


@pytest.mark.parametrize("made", ["sync", "async"])
def test_a_model_that_calls_an_effect_as_a_tool_is_not_asked_for_the_key(made: str) -> None:
    @outlast.effect
    def charge(amount: int, idempotency_key: str = "") -> str:
        """Charge an amount."""
        return idempotency_key

    @outlast.effect(on_unknown="retry")
    async def charge_async(amount: int, *, idempotency_key: str) -> str:
        """Charge an amount."""
        return idempotency_key

    function: Callable[..., Any] = charge if made == "sync" else charge_async
    assert set(tool(function).args) == {"amount"}
    assert list(inspect.signature(function).parameters) == ["amount"]


async def test_outside_of_a_run_the_function_is_called_with_a_new_key_each_time() -> None:
    keys: list[str] = []

    @outlast.effect
    async def send(text: str, *, idempotency_key: str) -> str:
        keys.append(idempotency_key)
        return text

    @outlast.effect(timeout=timedelta(seconds=1))
    def send_sync(text: str, idempotency_key: str = "") -> str:
        keys.append(idempotency_key)
        return text

    assert [await send("a"), await send("a"), send_sync("b")] == ["a", "a", "b"]
    assert await outlast.effect.call("upper", str.upper, "c") == "C"
    assert len(set(keys)) == 3
    assert {len(key) for key in keys} == {64}


def test_options_that_make_no_sense_are_refused_where_the_effect_is_declared() -> None:
    with pytest.raises(InvalidInput, match="on_unknown"):
        outlast.effect(on_unknown="perhaps")  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="timeout"):
        outlast.effect(timeout=0)
    with pytest.raises(TypeError, match="yields"):

        @outlast.effect
        def many() -> Any:
            yield 1
