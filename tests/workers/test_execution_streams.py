"""What a run says while it is executed, and what it leaves on its thread."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import execution_agents as agents
import orjson
import pytest
from engine import Engine
from execution import new_thread, serving

from outlast.domain.run import RunStatus
from outlast.domain.thread import ThreadStatus
from outlast.storage.postgres.checkpoints import thread_key
from outlast.streams.records import RunEnd
from waiting import until

ALL = ("values", "updates", "messages-tuple", "custom", "tasks", "checkpoints", "debug")


async def test_every_mode_is_said_once_and_in_order(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("says", new_thread(), {"log": ["in"]}, options={"stream_modes": ALL})

    assert said.end.status is RunStatus.SUCCEEDED
    assert said.modes[0] == "run"
    assert said.of("values") == [{"log": ["in"]}, {"log": ["in", "one"]}, {"log": ["in", "one", "say"]}]
    assert said.of("updates") == [{"one": {"log": ["one"]}}, {"say": {"log": ["say"]}}]
    assert said.of("custom") == [{"said": "hello"}]
    assert [task["name"] for task in said.of("tasks")] == ["one", "one", "say", "say"]
    assert [checkpoint["next"] for checkpoint in said.of("checkpoints")] == [["__start__"], ["one"], ["say"], []]
    assert {event["type"] for event in said.of("debug")} == {"checkpoint", "task", "task_result"}
    positions = [record.pos for record in said.records]
    assert positions == list(range(positions[0], positions[0] + len(positions)))
    assert agents.CALLS == {"one": 1, "say": 1}


async def test_only_what_was_asked_for_is_said(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("says", new_thread(), {"log": []}, options={"stream_modes": ("custom",)})

    assert said.modes == ["run", "custom"]
    assert said.run.output == {"log": ["one", "say"]}


async def test_a_run_that_nobody_follows_keeps_no_records(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        await engine.ended(await server.admit("says", thread, {"log": []}, options={"live": False}))

        assert await engine.rows("SELECT 1 FROM run_events") == []
        assert (await server.thread(thread)).values == {"log": ["one", "say"]}


async def test_tokens_are_said_as_they_come(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("talks", new_thread(), {"log": []}, options={"stream_modes": ("messages-tuple",)})

    messages = [message for message, _ in said.of("messages")]
    assert "".join(message["content"] for message in messages) == "three short words"
    assert {message["type"] for message in messages} == {"AIMessageChunk"}
    assert all(metadata["langgraph_node"] == "talk" for _, metadata in said.of("messages"))


@pytest.mark.parametrize("subgraphs", [True, False])
async def test_graphs_inside_speak_only_when_asked(engine: Engine, subgraphs: bool) -> None:
    options = {"stream_modes": ("updates", "custom"), "stream_subgraphs": subgraphs}
    async with serving(engine) as server:
        said = await server.run("nested", new_thread(), {"log": []}, options=options)

    inside = [record for record in said.records if record.ns]
    assert bool(inside) is subgraphs
    if subgraphs:
        assert {record.ns.partition(":")[0] for record in inside} == {"deep"}
        assert said.of("custom", None) == [{"said": "hello"}]


async def test_events_and_other_modes_come_from_one_execution(engine: Engine) -> None:
    async with serving(engine) as server:
        options = {"stream_modes": ("events", "values", "custom")}
        said = await server.run("says", new_thread(), {"log": []}, options=options)

    assert agents.CALLS == {"one": 1, "say": 1}
    assert [value["log"] for value in said.of("values")][-1] == ["one", "say"]
    assert said.of("custom") == [{"said": "hello"}]
    names = {event["event"] for event in said.of("events")}
    assert {"on_chain_start", "on_chain_stream", "on_chain_end"} <= names


async def test_events_of_a_failing_graph_end_in_its_error(engine: Engine) -> None:
    async with serving(engine) as server:
        options = {"stream_modes": ("events",)}
        said = await server.run("fails", new_thread(), {"log": []}, options=options, max_attempts=1)

    assert (said.end.status, said.end.error_code) == (RunStatus.FAILED, "ValueError")


async def test_a_question_is_said_with_the_values_and_stands_on_the_thread(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        said = await server.run("asks", thread, {"log": []}, options={"stream_modes": ("values", "updates")})
        view = await server.thread(thread)

    assert said.end.status is RunStatus.INTERRUPTED
    (question,) = said.of("values")[-1]["__interrupt__"]
    assert question["value"] == {"question": "which one?"}
    assert said.of("updates")[-1]["__interrupt__"][0]["id"] == question["id"]
    assert view.status is ThreadStatus.INTERRUPTED
    assert view.values == {"log": ["one"]}
    ((asked,),) = view.interrupts.values()
    assert asked == {"id": question["id"], "value": {"question": "which one?"}}
    assert said.end.interrupts[0]["id"] == question["id"]


async def test_a_question_from_inside_says_where_it_was_asked(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("nested", new_thread(), {"log": []}, options={"stream_subgraphs": True})

    (question,) = said.end.interrupts
    (segment,) = question["ns"]
    assert segment.startswith("deep:")


async def test_values_are_the_whole_state_whatever_the_graph_declares_as_output(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        said = await server.run("narrow", thread, {"log": [], "count": 2})
        plain = await engine.ended(await engine.start("narrow", {"log": [], "count": 2}))

        assert said.of("values")[-1] == {"log": ["one"], "count": 2}
        assert (await server.thread(thread)).values == {"log": ["one"], "count": 2}
        assert plain.output == {"log": ["one"]}


async def test_an_output_model_with_a_field_that_is_still_missing_stops_nobody(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("strict", new_thread(), {"asked": "what?"})

    assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
    assert said.of("values")[-1] == {"asked": "what?", "answer": "42"}


async def test_a_function_graph_says_what_it_returns(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("function", new_thread(), {"a": 1})

    assert said.of("values") == [{"got": {"a": 1}}]
    assert said.run.output == {"got": {"a": 1}}


async def test_nothing_of_the_user_is_in_checkpoints_events_or_messages(engine: Engine) -> None:
    options = {
        "stream_modes": ("checkpoints", "debug", "events", "messages-tuple"),
        "user": {"identity": "ada", "permissions": ["all"], "token": "s3cret"},
    }
    async with serving(engine) as server:
        said = await server.run("talks", new_thread(), {"log": []}, options=options)

    text = b"".join(record.data for record in said.records)
    assert b"langgraph_auth" not in text
    assert b"s3cret" not in text
    (address, *_) = [checkpoint["config"]["configurable"] for checkpoint in said.of("checkpoints")]
    assert set(address) <= {"thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map"}


async def test_a_graph_sees_who_asked_for_what_and_remembers(engine: Engine) -> None:
    user = {"identity": "ada", "permissions": ["read"], "email": "ada@example.org"}
    options = {"user": user, "context": {"model": "large"}, "cron_id": "c1"}
    forged = {"configurable": {"langgraph_auth_user_id": "root", "cron_id": "forged", "mine": 1}, "run_name": "named"}
    async with serving(engine) as server:
        thread = new_thread()
        said = await server.run("sees", thread, {"log": []}, options=options, config=forged, metadata={"m": 1})

    assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
    (saw,) = agents.SAW
    seen: dict[str, Any] = saw["configurable"]
    assert seen["mine"] == 1
    assert seen["langgraph_auth_user"].email == "ada@example.org"
    assert (seen["langgraph_auth_user_id"], seen["user_id"]) == ("ada", "ada")
    assert seen["langgraph_auth_permissions"] == ["read"]
    assert (seen["graph_id"], seen["cron_id"]) == ("sees", "c1")
    assert saw["metadata"]["m"] == 1
    assert saw["context"] == agents.Context(model="large")
    assert saw["server"].user.identity == "ada"
    assert saw["remembered"] == {"thread": thread}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_every_durability_ends_with_the_state_stored(engine: Engine, durability: str) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        said = await server.run("three", thread, {"log": []}, options={"durability": durability})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert await server.log("three", thread) == ["one", "two", "three"]
        checkpoints = len(await server.history("three", thread))
    assert checkpoints == (1 if durability == "exit" else 5)


async def test_a_run_begins_to_speak_when_somebody_comes_to_listen(engine: Engine) -> None:
    async with serving(engine) as server:
        thread, hub = new_thread(), server.runtime.hub
        followers: list[Any] = []

        async def come() -> None:
            followers.append(hub.follow_thread(thread_key(thread), after=None))
            await followers[0].ready()

        agents.MEANWHILE.append(come)
        await server.admit("meddled", thread, {"log": ["in"]}, options={"protocol": "plain", "live": False})
        heard: list[Any] = []
        async for item in followers_first(followers):
            heard.append(item)
            if isinstance(item, RunEnd):
                break

    modes = [item.mode for item in heard[:-1]]
    assert modes == ["values"], "what was said before is not said again"
    assert orjson.loads(heard[0].data) == {"log": ["in", "interfered"]}


async def followers_first(followers: list[Any]) -> AsyncIterator[Any]:
    """Iterate over the first follower once there is one."""

    async def there() -> bool:
        return bool(followers)

    await until(there)
    async with aclosing(followers[0]) as items:
        async for item in items:
            yield item


async def test_a_run_of_the_thread_protocol_says_events(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("nested", new_thread(), {"log": []}, options={"protocol": "v3"})

    modes = set(said.modes)
    assert {"run", "v3:values", "v3:updates", "v3:custom", "v3:tasks", "v3:checkpoints", "v3:lifecycle"} <= modes
    assert all(mode == "run" or mode.startswith("v3:") for mode in modes)
    inside = [event["params"]["data"] for event in said.of("v3:lifecycle", None)]
    assert [event["event"] for event in inside] == ["started", "interrupted"]
    first = said.of("v3:values")[0]
    assert first["params"]["data"] == {"log": []}


async def test_a_failure_closes_what_the_thread_protocol_has_open(engine: Engine) -> None:
    async with serving(engine) as server:
        said = await server.run("deepfail", new_thread(), {"log": []}, options={"protocol": "v3"}, max_attempts=1)

    assert said.end.status is RunStatus.FAILED
    inside = [event["params"]["data"]["event"] for event in said.of("v3:lifecycle", None)]
    assert inside == ["started", "failed"]
