"""What becomes of an output that is not to be believed as it is, for runs of both protocols."""

import json
from typing import Any

import pytest
from review_agents import CALLS, PRICES, SEEN, TOLD
from reviewed_runs import Opens, opening

from outlast import telemetry
from outlast.errors import ConfigurationError
from outlast.storage.postgres.checkpoints import thread_key

PROTOCOLS = ("plain", "v1")
both = pytest.mark.parametrize("protocol", PROTOCOLS)
# Where both go the same way.
plain = pytest.mark.parametrize("protocol", ["plain"])
of_server = pytest.mark.parametrize("protocol", ["v1"])


@pytest.fixture
def reviewed(database_url: str) -> Opens:
    return opening(database_url)


def value(view: Any) -> dict[str, Any]:
    [question] = view.interrupts
    return question["value"]


@plain
async def test_a_valid_output_succeeds_and_nothing_is_written_about_it(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol) as runs:
        run_id = await runs.start("offers", {"price": 0})
        PRICES[:] = [5]
        view = await runs.succeeds(run_id)

        assert view.output["price"] == 5
        assert await runs.decisions() == []
        [(output, context)] = SEEN
        assert output == {"price": 5, "confidence": 0.9, "log": ["offer 5"]}
        assert (context.input, context.agent, context.attempt) == ({"price": 0}, "offers", 1)


@plain
async def test_an_agent_is_told_the_reasons_and_does_better(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol) as runs:
        PRICES[:] = [-1, -2, 5]
        view = await runs.succeeds(await runs.start("offers"))

        assert view.output["price"] == 5
        assert [told and told[0]["code"] for told in TOLD] == [None, "not_positive", "not_positive"]
        assert "the price is -2" in TOLD[2][0]["text"]
        assert await runs.decisions() == [(1, "repair", None), (2, "repair", None)]
        assert [context.attempt for _, context in SEEN] == [1, 2, 3]


@of_server
async def test_a_chat_is_told_by_a_message(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol) as runs:
        view = await runs.succeeds(await runs.start("talks", {"messages": [{"role": "user", "content": "hi"}]}))

        assert [message["content"] for message in view.output["messages"]][-1] == "please give it to me"
        assert TOLD[1][:2] == ["hi", "give it to me"]
        assert "it is not polite" in TOLD[1][2]


async def test_a_function_gets_its_input_again_with_the_reasons(reviewed: Opens) -> None:
    async with reviewed() as runs:
        PRICES[:] = [-1, 3]
        view = await runs.succeeds(await runs.start("function", {"of": 1}))

        assert view.output == 3
        assert TOLD[0] is None
        assert TOLD[1][0]["code"] == "not_positive"


@both
async def test_repairs_have_an_end_and_then_a_person_is_asked(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, repairs=2) as runs:
        view = await runs.asks(await runs.start("offers"))

        assert CALLS["offer"] == 3
        asked = value(view)
        assert asked["type"] == "review"
        assert asked["subject"] == {"price": -1, "confidence": 0.9, "log": ["offer -1"] * 3}
        assert [reason["code"] for reason in asked["reasons"]] == ["not_positive"]
        assert asked["fields"] == ["price"]
        assert asked["allowed"] == ["approve", "edit", "reject", "respond"]
        assert [action for _, action, _ in await runs.decisions()] == ["repair", "repair", "escalate"]


async def test_an_agent_that_cannot_be_told_anything_is_not_called_again(reviewed: Opens) -> None:
    async with reviewed(repairs=5) as runs:
        view = await runs.asks(await runs.start("deaf"))

        assert CALLS == {"deaf": 1}
        assert value(view)["allowed"] == ["approve", "edit", "reject"]


async def test_a_run_fails_for_its_output_if_that_is_wanted(reviewed: Opens) -> None:
    async with reviewed(on_invalid="fail") as runs:
        view = await runs.fails(await runs.start("offers"))

        assert view.error_code == "validation_failed"
        assert "the price is -1" in (view.error_message or "")
        assert view.errors == 1, "no attempt can help"


@of_server
async def test_an_output_is_accepted_with_a_mark_if_that_is_wanted(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="accept") as runs:
        view = await runs.succeeds(await runs.start("offers", metadata={"of": "me"}))

        assert view.output["price"] == -1
        assert view.metadata == {
            "of": "me", "review": {"verdict": "accepted", "severity": "medium", "codes": ["not_positive"]}
        }  # fmt: skip


@both
async def test_what_a_person_approves_is_the_output_as_it_is(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))
        view = await runs.succeeds(await runs.answer(asked, {"decision": "approve"}))

        assert view.output["price"] == -1
        assert CALLS == {"offer": 1}, "nothing is executed again"
        assert await runs.decisions() == [(1, "escalate", "approve")]


@both
async def test_what_a_person_edits_is_the_output_and_stands_in_the_thread(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))
        edited = {**value(asked)["subject"], "price": 7, "log": ["by a person"]}
        view = await runs.succeeds(await runs.answer(asked, {"decision": "edit", "value": edited}))

        assert (view.output["price"], view.output["log"]) == (7, ["by a person"])
        state = await runs.state("offers", asked.thread_id)
        assert (state.values["price"], state.values["log"]) == (7, ["by a person"])
        assert state.next == ()
        assert CALLS == {"offer": 1}, "an edit is the end, whatever the edges make of it"
        assert len(SEEN) == 1, "nobody asks a person about what a person has written"


@of_server
async def test_an_edited_message_takes_the_place_of_the_one_that_was_shown(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("talks", {"messages": [{"role": "user", "content": "hi"}]}))
        [shown] = value(asked)["subject"]["messages"]
        edit = {"messages": [{**shown, "content": "please"}]}
        view = await runs.succeeds(await runs.answer(asked, {"decision": "edit", "value": edit}))

        assert [message["content"] for message in view.output["messages"]] == ["hi", "please"]
        assert [message["type"] for message in view.output["messages"]] == ["human", "ai"]


async def test_an_edited_result_of_a_function_is_the_output(reviewed: Opens) -> None:
    async with reviewed(on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("function", {"of": 1}))
        view = await runs.succeeds(await runs.answer(asked, {"decision": "edit", "value": 12}))

        assert view.output == 12
        assert CALLS == {"function": 1}


@of_server
async def test_a_rejected_run_fails_and_says_why(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))
        view = await runs.fails(await runs.answer(asked, {"decision": "reject", "message": "never"}))

        assert view.error_code == "rejected"
        assert "never" in (view.error_message or "")


@both
async def test_a_response_goes_to_the_agent_and_its_next_output_is_looked_at(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, repairs=1) as runs:
        PRICES[:] = [-1, -2, -3, 4]
        asked = await runs.asks(await runs.start("offers"))
        answered = await runs.answer(asked, {"decision": "respond", "message": "more than nothing"})
        view = await runs.succeeds(answered)

        assert view.output["price"] == 4
        assert TOLD[2] == [{"code": "person", "text": "more than nothing"}]
        # After a person has spoken there is one more try to do better.
        assert [(action, said) for _, action, said in await runs.decisions()] == [
            ("repair", None), ("escalate", "respond"), ("repair", None)
        ]  # fmt: skip


@plain
async def test_each_round_asks_under_an_id_of_its_own(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        first = await runs.asks(await runs.start("offers"))
        [old] = first.interrupts or []
        second = await runs.asks(await runs.answer(first, {"decision": "respond", "message": "no"}), asked=old["id"])
        [new] = second.interrupts or []

        assert new["id"] != old["id"]
        await runs.succeeds(await runs.answer(second, True))


@plain
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("perhaps", "decide one of"),
        ({"decision": "edit"}, "an edit brings"),
        ({"decision": "edit", "value": {"cost": 1}}, "no 'cost'"),
        ({"decision": "approve", "hash": "0" * 64}, "not what stands there"),
    ],
)
async def test_an_answer_that_is_none_is_asked_for_again(
    reviewed: Opens, protocol: str, answer: Any, problem: str
) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))
        [old] = asked.interrupts or []
        again = await runs.asks(await runs.answer(asked, answer), asked=old["id"])

        assert problem in value(again)["problem"]
        assert value(again)["subject"] == value(asked)["subject"]
        await runs.succeeds(await runs.answer(again, {"decision": "approve"}))


async def test_a_replay_after_a_rejection_looks_at_the_output_anew(reviewed: Opens) -> None:
    async with reviewed(on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))
        await runs.fails(await runs.answer(asked, False))
        await runs.runtime.queue.replay(asked.id)
        again = await runs.asks(asked.id, asked=(asked.interrupts or [])[0]["id"])

        await runs.succeeds(await runs.answer(again, "yes"))


@pytest.mark.parametrize("point", ["run.settle.before_commit", "review.repair.before"])
@plain
async def test_an_attempt_that_ends_between_the_graph_and_the_settlement_counts_no_repair_twice(
    reviewed: Opens, protocol: str, point: str
) -> None:
    async with reviewed(protocol, repairs=2) as runs:
        PRICES[:] = [-1, -2, 5]
        telemetry.arm(f"{point}:lost:1:1")
        view = await runs.succeeds(await runs.start("offers"))

        assert view.output["price"] == 5
        assert CALLS["offer"] == 3
        assert [position for position, _, _ in await runs.decisions()] == [1, 2]


@pytest.mark.parametrize("point", ["review.escalated"])
@of_server
async def test_a_question_is_asked_again_under_the_same_id(reviewed: Opens, protocol: str, point: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        telemetry.arm(f"{point}:lost:1:1")
        asked = await runs.asks(await runs.start("offers"))

        assert await runs.decisions() == [(1, "escalate", None)]
        assert len(SEEN) == 1, "validators are not asked about an output that was decided about"
        await runs.succeeds(await runs.answer(asked, True))


@pytest.mark.parametrize("point", ["review.answered", "review.edited"])
@both
async def test_an_edit_is_written_once(reviewed: Opens, protocol: str, point: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))
        telemetry.arm(f"{point}:lost:1:1")
        edit = {"price": 7, "log": ["by a person"]}
        view = await runs.succeeds(await runs.answer(asked, {"decision": "edit", "value": edit}))

        assert (view.output["price"], view.output["log"]) == (7, ["by a person"])
        assert CALLS == {"offer": 1}


@of_server
async def test_a_message_of_a_person_reaches_the_agent_once(reviewed: Opens, protocol: str) -> None:
    async with reviewed(protocol, on_invalid="escalate") as runs:
        PRICES[:] = [-1, 5]
        asked = await runs.asks(await runs.start("offers"))
        telemetry.arm("run.settle.before_commit:lost:1:1")
        view = await runs.succeeds(await runs.answer(asked, {"decision": "respond", "message": "more"}))

        assert view.output["price"] == 5
        assert CALLS["offer"] == 2


async def test_a_run_that_waits_has_no_output_yet(reviewed: Opens) -> None:
    async with reviewed(on_invalid="escalate") as runs:
        asked = await runs.asks(await runs.start("offers"))

        assert asked.output is None
        assert (await runs.succeeds(await runs.answer(asked, True))).output["price"] == -1


async def test_a_replay_of_a_run_that_failed_its_validation_has_tries_again(reviewed: Opens) -> None:
    async with reviewed(repairs=1, then="fail") as runs:
        PRICES[:] = [-1, -2, 5]
        failed = await runs.fails(await runs.start("offers"))
        await runs.runtime.queue.replay(failed.id)
        view = await runs.succeeds(failed.id)

        assert view.output["price"] == 5
        assert [action for _, action, _ in await runs.decisions()] == ["repair", "fail", "repair"]


async def test_the_stream_of_a_run_ends_with_the_question(reviewed: Opens) -> None:
    async with reviewed("v1", on_invalid="escalate") as runs:
        run_id = await runs.start("offers", thread="t", stream_modes=("values", "updates"), live=True)
        follower = runs.runtime.hub.follow_run(thread_key("t"), run_id, after=0)
        said = [item async for item in follower]
        await follower.aclose()
        records = [(item.mode, json.loads(item.data)) for item in said[:-1]]
        asked = await runs.asks(run_id)

        [(mode, last)] = records[-1:]
        assert mode == "values"
        [told], [question] = last["__interrupt__"], asked.interrupts or []
        assert (told["id"], told["value"]) == (question["id"], question["value"])
        assert last["price"] == -1
        assert ("updates", {"__interrupt__": last["__interrupt__"]}) in records


async def test_rules_of_an_agent_that_there_is_none_of_stop_the_worker(reviewed: Opens) -> None:
    with pytest.raises(ConfigurationError, match=r"escalation\.agents\.suport"):
        async with reviewed(escalation={"agents": {"suport": {"rules": ["stakes"]}}}):
            pass
