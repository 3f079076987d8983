"""The thread-centred protocol on the wire: order, numbers, filters, replay, refusals, and several API processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import httpx
import orjson
import pytest
from agent_server_api import Server, served, serving, some_id
from agent_server_gates import has_arrived
from protocol_api import INPUT, protocol_project
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from outlast.agents.project import Project
from outlast.server.protocol_frames import CHANNELS
from outlast.testing.postgres import Databases
from runtimes import Opens
from waiting import until

LIMIT = 10.0
ALL = list(CHANNELS)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: Any) -> Project:
    return protocol_project(tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, graphs: Project) -> AsyncIterator[Server]:
    url = await databases.create()
    async with served(open_runtime, url, project=graphs) as server:
        yield server
    await databases.leave(url)


async def command(server: Server, thread_id: str, method: str, **params: Any) -> dict[str, Any]:
    answer = await server.http.post(
        f"/threads/{thread_id}/commands", json={"id": 7, "method": method, "params": params}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == 7
    return answer.json()


async def start(server: Server, thread_id: str, assistant: str, given: Any, **more: Any) -> dict[str, Any]:
    answer = await command(server, thread_id, "run.start", assistant_id=assistant, input=given, **more)
    assert answer["type"] == "success", answer
    return answer


@asynccontextmanager
async def following(server: Server, thread_id: str, **body: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Open a stream; it is open when the block begins."""
    body.setdefault("channels", ALL)
    async with server.http.stream("POST", f"/threads/{thread_id}/stream/events", json=body) as answer:
        assert answer.status_code == 200, (await answer.aread()).decode()
        async with aclosing(answer.aiter_lines()) as lines:
            yield (orjson.loads(line[6:]) async for line in lines if line.startswith("data: "))


def is_end(event: dict[str, Any]) -> bool:
    ends = ("completed", "failed", "interrupted")
    return (
        event.get("method") == "lifecycle"
        and not event["params"]["namespace"]
        and event["params"]["data"]["event"] in ends
    )


async def up_to(events: AsyncIterator[dict[str, Any]], last: Callable[[dict[str, Any]], bool] = is_end) -> list[Any]:
    found: list[Any] = []

    async def gather() -> None:
        async for event in events:
            found.append(event)
            if last(event):
                return

    await asyncio.wait_for(gather(), LIMIT)
    return found


async def ran(server: Server, assistant: str, given: Any) -> tuple[str, list[Any]]:
    """Run a graph on a new thread; return the thread and all events."""
    thread_id = some_id()
    async with following(server, thread_id) as events:
        await start(server, thread_id, assistant, given)
        return thread_id, await up_to(events)


def kinds(events: list[Any]) -> list[tuple[str, Any]]:
    return [(event["method"], event["params"]["data"].get("event")) for event in events]


async def test_every_event_has_a_number_and_an_id_of_its_own(server):
    _, events = await ran(server, "helper", INPUT)

    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert len({event["event_id"] for event in events}) == len(events)
    derived = [event for event in events if event["method"] in ("lifecycle", "input.requested")]
    assert all(event["event_id"].startswith("synth:") for event in derived)
    assert len({event["event_id"].split(":")[1] for event in derived}) == 1


async def test_the_order_that_clients_rely_on(server):
    _, events = await ran(server, "helper", INPUT)

    assert kinds(events)[0] == ("lifecycle", "running")
    assert kinds(events)[-2:] == [("input.requested", None), ("lifecycle", "interrupted")]
    for before, event in pairwise(events):
        if event["method"] == "values" and before["method"] == "checkpoints":
            assert before["params"]["namespace"] == event["params"]["namespace"]
    pairs = [(a["method"], b["method"]) for a, b in pairwise(events)]
    assert pairs.count(("checkpoints", "values")) >= 5
    inner = [event for event in events if event["params"]["namespace"] and event["method"] in ("lifecycle", "tasks")]
    assert kinds(inner)[0] == ("lifecycle", "started")
    assert kinds(inner)[-1] == ("lifecycle", "completed")
    assert {event["method"] for event in events} == {*CHANNELS, "input.requested"} - {"input"}


async def test_a_stream_that_was_cut_anywhere_goes_on_behind_what_was_seen(server):
    thread_id, events = await ran(server, "helper", INPUT)

    for seen in range(0, len(events) - 1, 5):
        async with following(server, thread_id, since=events[seen]["seq"]) as again:
            assert [event["seq"] for event in await up_to(again)] == [event["seq"] for event in events[seen + 1 :]]
    # Between the question and the end, which are read from one row.
    async with following(server, thread_id, since=events[-2]["seq"]) as again:
        assert kinds(await up_to(again)) == [("lifecycle", "interrupted")]


async def test_a_thread_is_followed_before_it_exists_and_from_run_to_run(server):
    thread_id = some_id()
    async with following(server, thread_id, channels=["lifecycle"]) as events:
        await start(server, thread_id, "quick", {"items": []})
        first = await up_to(events)
        await start(server, thread_id, "quick", {"items": []})
        second = await up_to(events)

    assert kinds(first) == kinds(second) == [("lifecycle", "running"), ("lifecycle", "completed")]
    assert first[-1]["seq"] < second[0]["seq"]


async def test_what_a_command_began_lies_behind_the_number_in_its_reply(server):
    thread_id, events = await ran(server, "helper", INPUT)
    question = next(event for event in events if event["method"] == "input.requested")["params"]["data"]

    answer = await command(
        server, thread_id, "input.respond", interrupt_id=question["interrupt_id"], namespace=[], response="yes"
    )
    since = answer["meta"]["applied_through_seq"]
    async with following(server, thread_id, since=since) as more:
        resumed = await up_to(more)

    assert since == events[-1]["seq"]
    assert kinds(resumed)[:2] == [("lifecycle", "running"), ("input.answered", None)]
    assert resumed[1]["params"]["data"] == {"interrupt_ids": [question["interrupt_id"]]}


@pytest.mark.parametrize(
    ("wanted", "depths"),
    [
        ({}, {0, 1}),
        ({"namespaces": [[]], "depth": 0}, {0}),
        ({"namespaces": [["inner"]]}, {1}),
        ({"namespaces": [["inner"], ["nothing"]], "depth": 0}, {1}),
        ({"namespaces": [["nothing"]]}, set()),
        ({"namespaces": [["inner:no-such-task"]]}, set()),
    ],
)
async def test_a_subscription_is_about_namespaces(server, wanted, depths):
    thread_id, events = await ran(server, "helper", INPUT)
    expected = [event["seq"] for event in events if len(event["params"]["namespace"]) in depths]

    async with following(server, thread_id, since=1, **wanted) as again:
        seen = [event["seq"] for event in await gathered(again) if "seq" in event]

    assert seen == expected


async def gathered(events: AsyncIterator[Any]) -> list[Any]:
    """Read what is there, up to half a second of silence: what a stream replays comes at once."""
    found: list[Any] = []
    with suppress(TimeoutError, StopAsyncIteration):
        while True:
            found.append(await asyncio.wait_for(anext(events), 0.5))
    return found


async def test_a_named_channel_of_what_nodes_say(server):
    thread_id, events = await ran(server, "helper", INPUT)
    said = [event["params"]["data"] for event in events if event["method"] == "custom"]

    async with following(server, thread_id, since=1, channels=["custom:progress"]) as again:
        named = [event["params"]["data"] for event in await gathered(again) if "seq" in event]

    assert said == [
        {"payload": {"name": "progress", "step": 1}, "name": "progress", "step": 1},
        {"payload": "raw text"},
    ]
    assert named == said[:1]


async def test_a_client_that_was_away_for_too_long_is_told(server):
    thread_id, events = await ran(server, "quick", {"items": []})

    async with following(server, thread_id, since=1) as again:
        told = await up_to(again)

    assert (told[0]["type"], told[0]["error"], told[0]["id"]) == ("error", "unknown_error", None)
    assert [event["seq"] for event in told[1:]] == [event["seq"] for event in events]


@pytest.mark.parametrize("channels", [[], ["nonsense"], ["custom:"], ["values", "input.requested"]])
async def test_channels_that_do_not_exist_are_refused(server, channels):
    answer = await server.http.post(f"/threads/{some_id()}/stream/events", json={"channels": channels})

    assert answer.status_code == 400
    assert "channels" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"channels": ["values"], "since": -1},
        {"channels": ["values"], "since": 2**60},
        {"channels": ["values"], "depth": "deep"},
        {"channels": ["values"], "namespaces": "root"},
        {"channels": ["values"], "unknown": 1},
        {},
    ],
)
async def test_fields_that_are_wrong_are_named(server, body):
    answer = await server.http.post(f"/threads/{some_id()}/stream/events", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "frame", [{}, {"id": "1", "method": "run.start"}, {"id": True, "method": "x"}, {"id": 1}, {"method": "run.start"}]
)
async def test_what_is_no_command_is_a_bad_request(server, frame):
    answer = await server.http.post(f"/threads/{some_id()}/commands", json=frame)

    assert answer.status_code == 400
    assert (answer.json()["type"], answer.json()["id"]) == ("error", None)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nonsense", {}, "unknown_command"),
        ("input.inject", {"namespace": [], "message": {}}, "not_supported"),
        ("subscription.reconnect", {"run_id": "x"}, "not_supported"),
        ("run.start", {"assistant_id": "nobody"}, "invalid_argument"),
        ("run.start", {"assistant_id": "quick", "inputs": {}}, "invalid_argument"),
        ("run.start", {"assistant_id": "quick", "multitask_strategy": "maybe"}, "invalid_argument"),
        ("run.start", {}, "invalid_argument"),
        ("input.respond", {"interrupt_id": "x", "response": 1}, "no_such_interrupt"),
        ("input.respond", {"response": 1}, "invalid_argument"),
        ("agent.getTree", {}, "no_such_interrupt"),
        ("state.fork", {"checkpoint_id": "x"}, "no_such_interrupt"),
    ],
)
async def test_commands_that_cannot_be_carried_out(server, method, params, code):
    answer = await command(server, some_id(), method, **params)

    assert (answer["type"], answer["error"]) == ("error", code), answer


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("state.get", {"namespace": ["nothing"]}),
        ("state.get", {"namespace": ["inner"]}),
        ("state.get", {"namespace": ["inner:no-such-task"]}),
        ("state.get", {"namespace": ["\x00"]}),
        ("state.get", {"namespace": [], "keys": ["\x00"]}),
        ("state.get", {"namespace": ["a|b", ":", ""]}),
        ("state.listCheckpoints", {"before": "no id"}),
        ("state.listCheckpoints", {"before": some_id(), "namespace": ["nothing"]}),
        ("state.listCheckpoints", {"limit": 0}),
        ("state.fork", {"checkpoint_id": some_id()}),
        ("state.fork", {"checkpoint_id": "no id"}),
        ("run.start", {"assistant_id": "helper", "config": {"configurable": {"checkpoint_id": some_id()}}}),
        ("run.start", {"assistant_id": "helper", "config": {"configurable": {"checkpoint_ns": 5}}}),
        ("run.start", {"assistant_id": "helper", "config": {"configurable": {"thread_id": some_id()}}}),
        ("run.start", {"assistant_id": "helper\x00"}),
        ("agent.getTree", {"run_id": "no id"}),
        ("input.respond", {"responses": []}),
        ("input.respond", {"interrupt_id": "x", "response": 1, "goto": {"node": 1}}),
        ("input.respond", {"interrupt_id": "x", "response": 1, "update": "no state"}),
    ],
)
async def test_odd_parameters_get_a_reply_and_harm_nothing(server, asking, method, params):
    answer = await command(server, asking, method, **params)

    assert answer["type"] in ("success", "error")
    assert answer.get("error") != "unknown_error"


@pytest.fixture(scope="module")
async def asking(server: Server) -> str:
    """A thread that asks."""
    return (await ran(server, "helper", INPUT))[0]


async def test_an_answer_is_given_once_and_only_to_what_is_asked(server):
    thread_id, events = await ran(server, "helper", INPUT)
    asked = next(event for event in events if event["method"] == "input.requested")["params"]["data"]["interrupt_id"]

    wrong = await command(server, thread_id, "input.respond", interrupt_id="0" * 32, response=1)
    answers = await asyncio.gather(
        *(command(server, thread_id, "input.respond", interrupt_id=asked, response=n) for n in range(10))
    )

    assert wrong["error"] == "no_such_interrupt"
    assert [answer["type"] for answer in answers].count("success") == 1
    assert {answer.get("error") for answer in answers} == {None, "no_such_interrupt"}


async def test_an_input_answers_the_question_of_a_thread_that_waits(server):
    thread_id, _ = await ran(server, "helper", INPUT)

    answer = await start(server, thread_id, "helper", "by input")
    async with following(server, thread_id, since=answer["meta"]["applied_through_seq"]) as events:
        await up_to(events)

    state = await server.sdk.threads.get_state(thread_id)
    assert state["values"]["items"][-1] == "answered by input"


async def test_an_old_question_is_asked_again_of_a_client_that_comes(server):
    thread_id, events = await ran(server, "helper", INPUT)
    runs = "thread_key = (SELECT key FROM outlast.threads WHERE thread_id = %s)"
    await server.rows(f"DELETE FROM outlast.run_events WHERE {runs}", thread_id)
    old = "created_at - interval '3 hours'"
    await server.rows(
        f"UPDATE outlast.runs SET started_at = {old}, claimed_at = {old}, ended_at = {old} WHERE {runs}", thread_id
    )

    async with following(server, thread_id, channels=["lifecycle", "input"]) as again:
        seen = await up_to(again)
        await start(server, thread_id, "helper", "at last")
        more = await up_to(again)

    assert kinds(seen) == [("input.requested", None), ("lifecycle", "interrupted")]
    assert seen[0]["params"]["data"] == events[-2]["params"]["data"]
    assert kinds(more) == [("lifecycle", "running"), ("input.answered", None), ("lifecycle", "completed")]


@pytest.mark.parametrize(("age", "told"), [("5 seconds", ["completed"]), ("2 minutes", [])])
async def test_an_end_is_told_to_a_client_that_comes_unless_it_is_old(server, age, told):
    thread_id = some_id()
    # Nobody followed it, so nothing of it is kept but its row.
    await server.sdk.runs.wait(thread_id, "quick", input={"items": []}, if_not_exists="create")
    await server.rows(
        f"UPDATE outlast.runs SET ended_at = clock_timestamp() - interval '{age}' "
        "WHERE thread_key = (SELECT key FROM outlast.threads WHERE thread_id = %s)",
        thread_id,
    )

    async with following(server, thread_id, channels=["lifecycle"]) as again:
        assert [event for _, event in kinds(await gathered(again))] == told


async def test_several_questions_are_not_answered_by_one_input(server):
    thread_id, events = await ran(server, "two_questions", {"items": []})
    asked = [event["params"]["data"] for event in events if event["method"] == "input.requested"]

    refused = await command(server, thread_id, "run.start", assistant_id="two_questions", input="which?")
    answers = {question["interrupt_id"]: question["value"].lower() for question in asked}
    answer = await start(server, thread_id, "two_questions", answers)
    async with following(server, thread_id, since=answer["meta"]["applied_through_seq"]) as more:
        last = (await up_to(more))[-1]

    assert (refused["error"], len(asked)) == ("invalid_argument", 2)
    assert "input.respond" in refused["message"]
    assert last["params"]["data"]["event"] == "completed"


async def test_an_input_at_an_older_checkpoint_is_no_answer_but_a_fork(server):
    thread_id, _ = await ran(server, "helper", INPUT)
    history = await server.sdk.threads.get_history(thread_id, limit=20)
    older = history[-1]["checkpoint"]["checkpoint_id"]

    given = {"messages": [{"role": "user", "content": "edited", "id": "h1"}], "items": []}
    forked = await start(server, thread_id, "helper", given, config={"configurable": {"checkpoint_id": older}})
    async with following(server, thread_id, since=forked["meta"]["applied_through_seq"]) as events:
        last = (await up_to(events))[-1]

    assert last["params"]["data"]["event"] == "interrupted"
    state = await server.sdk.threads.get_state(thread_id)
    assert state["values"]["messages"][0]["content"] == "edited"


async def test_another_run_of_a_busy_thread_by_every_strategy(server):
    thread_id, doors = some_id(), [some_id(), some_id()]
    async with following(server, thread_id, channels=["lifecycle"]) as events:
        await start(server, thread_id, "held", {"items": [doors[0]]})
        await until(lambda: has_arrived(doors[0]), LIMIT, "it does not begin")
        refused = await command(
            server, thread_id, "run.start", assistant_id="quick", input={}, multitask_strategy="reject"
        )
        # JavaScript sends both spellings.
        both = {"multitask_strategy": "interrupt", "multitaskStrategy": "interrupt"}
        second = await start(server, thread_id, "quick", {"items": []}, **both)
        ended = await up_to(events)
        more = await up_to(events)

    assert refused["error"] == "invalid_argument"
    assert (ended[-1]["params"]["data"]["event"], ended[-1]["params"]["data"]["error"]) == ("failed", "cancelled")
    assert more[-1]["params"]["data"]["event"] == "completed"
    assert second["result"]["run_id"] in more[-1]["event_id"]


async def test_open_messages_are_ended_when_their_run_is_stopped(server):
    thread_id, door = some_id(), some_id()
    async with following(server, thread_id, channels=["messages", "lifecycle"]) as events:
        run = await start(server, thread_id, "held", {"items": [door]})
        await until(lambda: has_arrived(door), LIMIT, "it does not begin")
        await server.sdk.runs.cancel(thread_id, run["result"]["run_id"])
        seen = await up_to(events)

    said = [event["params"]["data"]["event"] for event in seen if event["method"] == "messages"]
    assert said[0] == "message-start"
    assert said[-1] in ("message-finish", "error")


async def test_state_and_tree_by_commands(server):
    thread_id, _ = await ran(server, "helper", INPUT)

    state = await command(server, thread_id, "state.get", namespace=[], keys=["items"])
    listed = await command(server, thread_id, "state.listCheckpoints", limit=3)
    before = listed["result"]["checkpoints"][1]["id"]
    older = await command(server, thread_id, "state.listCheckpoints", limit=1, before=before)
    tree = (await command(server, thread_id, "agent.getTree"))["result"]["tree"]
    nobody = await command(server, thread_id, "agent.getTree", run_id=some_id())

    assert state["result"]["values"] == {"items": ["begun", "begun", "inside"]}
    assert len(listed["result"]["checkpoints"]) == 3
    assert older["result"]["checkpoints"][0]["id"] == listed["result"]["checkpoints"][2]["id"]
    assert (tree["graph_name"], tree["status"]) == ("helper", "interrupted")
    assert [(child["graph_name"], child["status"]) for child in tree["children"]] == [("inner", "completed")]
    assert nobody["error"] == "no_such_run"


async def test_a_run_of_the_first_protocol_is_told_by_its_lifecycle(server):
    thread_id = some_id()
    async with following(server, thread_id, channels=["lifecycle", "input"]) as events:
        await server.sdk.runs.create(thread_id, "helper", input=INPUT, if_not_exists="create")
        seen = await up_to(events)

    assert kinds(seen) == [("lifecycle", "running"), ("input.requested", None), ("lifecycle", "interrupted")]


async def test_a_server_that_stops_cuts_its_streams(databases, open_runtime, graphs):
    url, thread_id = await databases.create(), some_id()
    path, body = f"/threads/{thread_id}/stream/events", {"channels": ["values"]}
    async with served(open_runtime, url, project=graphs) as server, server.http.stream("POST", path, json=body) as got:
        reading = asyncio.create_task(got.aread())
        server.runtime.hub.close()
        with pytest.raises(httpx.RemoteProtocolError):
            await asyncio.wait_for(reading, LIMIT)
    await databases.leave(url)


async def test_a_websocket_takes_commands_and_many_subscriptions(server):
    thread_id = some_id()
    address = server.url.replace("http", "ws") + f"/threads/{thread_id}/stream/events"
    async with connect(address) as socket:

        async def ask(**frame: Any) -> Any:
            await socket.send(orjson.dumps(frame).decode())
            return await reply()

        async def reply() -> Any:
            while (received := orjson.loads(await asyncio.wait_for(socket.recv(), LIMIT)))["type"] == "event":
                seen.append(received)
            return received

        seen: list[Any] = []
        await socket.send("no json")
        assert (await reply())["error"] == "invalid_argument"
        assert (await ask(id=1, method="subscription.subscribe", params={"channels": ["x"]}))["id"] == 1
        ends = await ask(id=2, method="subscription.subscribe", params={"channels": ["lifecycle"]})
        states = await ask(id=3, method="subscription.subscribe", params={"channels": ["values"]})
        unknown = await ask(id=4, method="subscription.unsubscribe", params={"subscription_id": "x"})
        started = await ask(id=5, method="run.start", params={"assistant_id": "quick", "input": {"items": []}})
        while not any(map(is_end, seen)) or not any(event["method"] == "values" for event in seen):
            seen.append(orjson.loads(await asyncio.wait_for(socket.recv(), LIMIT)))
        gone = await ask(
            id=6, method="subscription.unsubscribe", params={"subscription_id": states["result"]["subscription_id"]}
        )

    assert ends["result"]["subscription_id"] != states["result"]["subscription_id"]
    assert unknown["error"] == "no_such_subscription"
    assert started["type"] == gone["type"] == "success"
    assert {event["method"] for event in seen} == {"lifecycle", "values"}


async def test_a_frame_that_is_no_text_is_refused_and_the_websocket_stays(server):
    address = server.url.replace("http", "ws") + f"/threads/{some_id()}/stream/events"
    async with connect(address) as socket:
        await socket.send(b'{"id": 1, "method": "input.inject"}')
        refused = orjson.loads(await asyncio.wait_for(socket.recv(), LIMIT))
        await socket.send('{"id": 2, "method": "input.inject"}')
        answered = orjson.loads(await asyncio.wait_for(socket.recv(), LIMIT))

    assert (refused["id"], refused["error"]) == (None, "invalid_argument")
    assert (answered["id"], answered["error"]) == (2, "not_supported")


async def test_a_frame_that_is_deep_or_no_json_is_refused_and_the_websocket_stays(server):
    address = f"{server.url.replace('http', 'ws')}/threads/{some_id()}/stream/events"
    deep = '{"id":1,"method":"run.start","params":' + "[" * 1000 + "]" * 1000 + "}"
    async with connect(address) as socket:
        for frame in (deep, "[" * 100_000, '{"id":1,"method":"run.start","params":{"a":NaN}}'):
            await socket.send(frame)
            assert orjson.loads(await asyncio.wait_for(socket.recv(), LIMIT))["error"] == "invalid_argument"


async def test_a_websocket_of_no_thread_is_closed_for_good(server):
    address = server.url.replace("http", "ws") + "/threads/no%20uuid/stream/events"
    async with connect(address) as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), LIMIT)

    assert socket.close_code == 4422


@asynccontextmanager
async def two_processes(databases: Databases, open_runtime: Opens, graphs: Project) -> AsyncIterator[list[Any]]:
    """SDK clients of two API processes on one database, with one worker elsewhere."""
    url = await databases.create()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(served(open_runtime, url, project=graphs))
        runtime = await stack.enter_async_context(open_runtime(url, project=graphs))
        second = await stack.enter_async_context(serving(runtime))
        yield [first, second]
    await databases.leave(url)


async def test_the_end_that_one_session_saw_is_not_shown_to_the_next_one_elsewhere(databases, open_runtime, graphs):
    async with two_processes(databases, open_runtime, graphs) as servers:
        thread_id, seen = some_id(), []
        for turn in range(4):
            server = servers[turn % 2]
            async with server.sdk.threads.stream(thread_id=thread_id, assistant_id="slow") as thread:
                await thread.run.start(input={"items": [f"in {turn}"]})
                seen.append(len((await asyncio.wait_for(thread.output, LIMIT))["items"]))
            await until(lambda: noted(servers[0], thread_id), LIMIT, "that it was seen is not noted")

    assert seen == [2, 4, 6, 8]


async def noted(server: Server, thread_id: str) -> bool:
    rows = await server.rows(
        "SELECT protocol_floor >= last_pos FROM outlast.thread_details d "
        "JOIN outlast.threads t ON t.key = d.thread_key WHERE t.thread_id = %s",
        thread_id,
    )
    return bool(rows and rows[0][0])
