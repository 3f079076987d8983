"""The stream of a thread: all of its runs, one after the other."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from agent_server_api import Server, parts_of, some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import NotFoundError

from outlast.storage.postgres.checkpoints import thread_key
from waiting import until

INPUT = {"messages": [{"role": "user", "content": "hi"}]}


class Listening:
    """Reads a thread's stream beside the test."""

    def __init__(self, stream: Any) -> None:
        self.parts: list[Any] = []
        self.task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: Any) -> None:
        async for part in await stream:
            self.parts.append(part)

    def done_runs(self) -> list[str]:
        return [part.data["run_id"] for part in self.parts if "status" in (part.data or {})]

    async def until_done(self, count: int) -> None:
        async def done() -> bool:
            return len(self.done_runs()) >= count

        await until(done)


@pytest.fixture
async def listen(server: Server, thread_id: str) -> Any:
    """Opens streams of the thread; when it returns, runs that start from now on are heard."""
    open_ones: list[Listening] = []
    key = UUID(bytes=thread_key(thread_id))

    def followers() -> set[Any]:
        topic = server.runtime.hub._topics.get(key.bytes)
        return set() if topic is None else set(topic.followers)

    async def one(**options: Any) -> Listening:
        before = followers()
        listening = Listening(server.sdk.threads.join_stream(thread_id, **options))
        open_ones.append(listening)

        async def heard() -> bool:
            watched = await server.rows("SELECT 1 FROM thread_watches WHERE thread_key = %s", key)
            return bool(watched) and any(follower.cursor is not None for follower in followers() - before)

        await until(heard)
        return listening

    yield one
    for listening in open_ones:
        listening.task.cancel()
    await asyncio.gather(*(listening.task for listening in open_ones), return_exceptions=True)


async def test_all_runs_of_a_thread_are_heard_whoever_starts_them(server: Server, thread_id: str, listen: Any) -> None:
    listening = await listen()
    first = await server.sdk.runs.create(thread_id, "agent", input=INPUT, stream_mode=["updates"])
    await listening.until_done(1)
    second = await server.sdk.runs.wait(thread_id, "agent", input=INPUT)
    await listening.until_done(2)

    assert second["messages"][-1]["content"] == "2: hi"
    assert [part.event for part in listening.parts] == [
        "metadata", "updates", "metadata", "metadata", "values", "values", "metadata",
    ]  # fmt: skip
    assert listening.parts[0].data == {"run_id": first["run_id"], "attempt": 1}
    assert listening.parts[2].data == {"status": "run_done", "run_id": first["run_id"]}
    ids = [int(part.id) for part in listening.parts]
    assert ids == sorted(set(ids))


async def test_lifecycle_is_beginnings_and_ends(server: Server, thread_id: str, listen: Any) -> None:
    listening = await listen(stream_mode="lifecycle")
    run = await server.sdk.runs.create(thread_id, "broken", input={"log": []})
    await listening.until_done(1)

    assert {part.event for part in listening.parts} == {"metadata"}
    assert listening.parts[0].data == {"run_id": run["run_id"], "attempt": 1}
    assert listening.parts[-1].data == {"status": "run_done", "run_id": run["run_id"]}


async def test_a_change_of_the_state_from_outside(server: Server, thread_id: str, listen: Any) -> None:
    await server.sdk.runs.wait(thread_id, "steps", input={"log": []})
    updates, runs = await listen(stream_mode="state_update"), await listen()
    await server.sdk.threads.update_state(thread_id, {"log": ["by hand"]})

    async def told() -> bool:
        return bool(updates.parts)

    await until(told)
    assert updates.parts[0].event == "state_update"
    assert updates.parts[0].data["values"]["log"] == ["one", "two", "three", "by hand"]
    assert runs.parts == []


async def test_several_modes_of_a_thread(server: Server, thread_id: str, listen: Any) -> None:
    await server.sdk.runs.wait(thread_id, "steps", input={"log": []})
    listening = await listen(stream_mode=["run_modes", "state_update"])
    await server.sdk.threads.update_state(thread_id, {"log": ["by hand"]})
    await server.sdk.runs.create(thread_id, "steps", input={"log": ["again"]}, stream_mode="updates")
    await listening.until_done(1)

    assert [part.event for part in listening.parts] == [
        "state_update", "metadata", "updates", "updates", "updates", "metadata"
    ]  # fmt: skip


async def test_a_stream_goes_on_behind_a_position(server: Server, thread_id: str, listen: Any) -> None:
    listening = await listen()
    for _ in range(2):
        await server.sdk.runs.wait(thread_id, "agent", input=INPUT)
    await listening.until_done(2)
    whole = [(part.id, part.event) for part in listening.parts]

    for index, part in enumerate(listening.parts[:-1]):
        again = await listen(last_event_id=part.id)
        await again.until_done(2 if index < 3 else 1)
        assert [(part.id, part.event) for part in again.parts] == whole[index + 1 :]
        again.task.cancel()


async def test_a_thread_stream_may_begin_in_the_middle_of_a_run(server: Server, thread_id: str, listen: Any) -> None:
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"log": [], "at": door}, stream_mode="updates")
    await until(lambda: has_arrived(door))
    listening = await listen()
    open_door(door)
    await listening.until_done(1)

    assert [part.data for part in listening.parts][-2:] == [
        {"hold": {"log": ["held"]}}, {"status": "run_done", "run_id": run["run_id"]}
    ]  # fmt: skip


async def test_runs_of_other_threads_are_not_heard(server: Server, thread_id: str, listen: Any) -> None:
    listening = await listen()
    other = await server.sdk.threads.create()
    await server.sdk.runs.wait(other["thread_id"], "agent", input=INPUT)
    await server.sdk.runs.wait(thread_id, "agent", input=INPUT)
    await listening.until_done(1)

    assert len(listening.parts) == 4


async def test_a_thread_that_is_not_there(client: Any) -> None:
    with pytest.raises(NotFoundError):
        await parts_of(client.threads.join_stream(some_id()))


@pytest.mark.parametrize("parameter", ["stream_mode", "stream_modes"])
async def test_modes_that_do_not_exist(server: Server, thread_id: str, parameter: str) -> None:
    response = await server.http.get(f"/threads/{thread_id}/stream", params={parameter: "values"})
    assert (response.status_code, response.json()["field"]) == (422, "stream_mode")
