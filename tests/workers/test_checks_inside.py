"""Validators inside of a graph, and questions that a node asks: what is not acceptable gets no further."""

from typing import Any

import pytest
from review_agents import CALLS, PRICES, TOLD
from reviewed_runs import Opens, opening

from waiting import until

NODE = {"agents": {"checked": {"nodes": {"offer": ["review_agents:PositivePrice"]}}}}
TOOL = {"tools": {"pay*": ["review_agents:PositiveAmount"]}}
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def reviewed(database_url: str) -> Opens:
    return opening(database_url)


def value(view: Any) -> dict[str, Any]:
    [question] = view.interrupts
    return question["value"]


async def test_a_node_is_told_and_called_again_before_anything_of_it_is_written(reviewed: Opens) -> None:
    async with reviewed(**NODE) as runs:
        PRICES[:] = [-1, -2, 5]
        view = await runs.succeeds(await runs.start("checked"))

        assert view.output["log"] == ["offer 5", "checked"], "nothing of what was refused is in the state"
        assert [told and "-" in told[0]["text"] for told in TOLD] == [None, True, True]


@pytest.mark.parametrize(
    ("answer", "log"),
    [
        ({"decision": "approve"}, ["offer -1", "checked"]),
        ({"decision": "edit", "value": {"price": 9, "log": ["edited"]}}, ["edited", "checked"]),
    ],
)
async def test_a_person_decides_about_what_a_node_returned(reviewed: Opens, answer: Any, log: list[str]) -> None:
    async with reviewed(on_invalid="escalate", **NODE) as runs:
        asked = await runs.asks(await runs.start("checked"))
        assert (value(asked)["node"], value(asked)["subject"]["price"]) == ("offer", -1)
        assert "check" not in CALLS
        view = await runs.succeeds(await runs.answer(asked, answer))

        assert view.output["log"] == log


async def test_a_node_whose_output_is_rejected_ends_the_run(reviewed: Opens) -> None:
    async with reviewed(on_invalid="escalate", **NODE) as runs:
        asked = await runs.asks(await runs.start("checked"))
        view = await runs.fails(await runs.answer(asked, {"decision": "reject", "message": "too cheap"}))

        assert (view.error_code, view.errors) == ("rejected", 1)
        assert "too cheap" in (view.error_message or "")


async def test_an_approval_of_a_nodes_output_is_for_nothing_else(reviewed: Opens) -> None:
    async with reviewed(on_invalid="escalate", **NODE) as runs:
        PRICES[:] = [-1, -2]
        asked = await runs.asks(await runs.start("checked"))
        approval = {"decision": "approve", "hash": "0" * 64}
        await runs.runtime.queue.answer(asked.id, approval)

        async def problem() -> str | None:
            return value(await runs.asks(asked.id)).get("problem")

        await until(problem, 15)
        assert "something else" in (await problem() or "")


async def test_a_node_fails_the_run_if_that_is_wanted(reviewed: Opens) -> None:
    async with reviewed(on_invalid="fail", **NODE) as runs:
        view = await runs.fails(await runs.start("checked"))

        assert (view.error_code, view.errors, "check" in CALLS) == ("validation_failed", 1, False)


async def test_a_model_is_told_of_arguments_that_are_not_acceptable(reviewed: Opens) -> None:
    async with reviewed(**TOOL) as runs:
        view = await runs.succeeds(await runs.start("pays", HELLO))

        assert TOLD == [5], "the tool was not called with the first ones"
        refusal = view.output["messages"][2]
        assert refusal["status"] == "error"
        assert "it is not positive (amount). Correct them and call it again" in refusal["content"]


async def test_a_tool_that_is_called_wrongly_again_and_again_comes_before_a_person(reviewed: Opens) -> None:
    async with reviewed(repairs=2, **TOOL) as runs:
        asked = await runs.asks(await runs.start("pays_badly", HELLO))

        assert TOLD == []
        assert (value(asked)["type"], value(asked)["arguments"]) == ("tool_approval", {"amount": -7})
        assert value(asked)["reasons"][0]["text"] == "it is not positive"
        await runs.succeeds(await runs.answer(asked, {"approved": True}))
        assert TOLD == [-7]


@pytest.mark.parametrize("protocol", ["plain", "v1"])
async def test_a_node_that_escalates_gets_the_decision(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol) as runs:
        asked = await runs.asks(await runs.start("asks", {"price": 3}))
        assert value(asked) | {"how": ""} == {
            "type": "escalation", "question": "Take it?", "reasons": [{"code": "escalated", "text": "it is cheap"}],
            "allowed": ["approve", "edit", "reject", "respond"], "deadline_seconds": 60,
            "default": {"decision": "reject"}, "subject": {"price": 3}, "how": "",
        }  # fmt: skip
        edit = {"decision": "edit", "value": {"price": 4}, "message": "a little more"}
        view = await runs.succeeds(await runs.answer(asked, edit))

        assert [edit] == TOLD
        assert (view.output["price"], view.output["log"]) == (4, ["edit"])


async def test_a_node_that_escalates_asks_again_when_nobody_can_read_the_answer(reviewed: Opens) -> None:
    async with reviewed() as runs:
        run_id = await runs.start("asks", {"price": 3})
        await runs.answer(await runs.asks(run_id), "hm")

        async def problem() -> Any:
            return value(await runs.asks(run_id)).get("problem")

        await until(problem, 15)
        await runs.answer(await runs.asks(run_id), "approve")
        view = await runs.succeeds(run_id)

        assert view.output["log"] == ["approve"]


async def test_an_input_unlike_all_that_an_agent_has_seen_comes_before_a_person(reviewed: Opens) -> None:
    rules = {"agents": {"offers": {"rules": ["novel"], "novel_after": 2}}}
    async with reviewed(escalation=rules) as runs:
        PRICES[:] = [5]
        for text in ("where is my parcel", "where is my invoice", "where is my parcel please"):
            await runs.succeeds(await runs.start("offers", {"stakes": text}))
        asked = await runs.asks(await runs.start("offers", {"log": ["DROP TABLE users", "-- select everything"]}))

        assert [reason["code"] for reason in value(asked)["reasons"]] == ["novel_input"]
        await runs.succeeds(await runs.answer(asked, True))
        # An input is known from then on.
        await runs.succeeds(await runs.start("offers", {"log": ["DROP TABLE users", "-- select everything"]}))
        assert await runs.rows("SELECT count(*) FROM input_prints WHERE agent = 'offers'") == [(4,)]


async def test_the_input_of_a_line_of_runs_is_that_of_its_first_one(reviewed: Opens) -> None:
    rules = {"rules": ["stakes"]}
    async with reviewed("v1", escalation=rules) as runs:
        PRICES[:] = [5]
        asked = await runs.asks(await runs.start("offers", {"stakes": "high"}))
        respond = {"decision": "respond", "message": "sure?"}
        again = await runs.asks(await runs.answer(asked, respond), asked=(asked.interrupts or [])[0]["id"])

        assert value(again)["reasons"][0]["code"] == "high_stakes"
        await runs.succeeds(await runs.answer(again, True))
