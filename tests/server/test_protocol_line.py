"""A run that is taken up again, as a stream of the thread-centred protocol tells it."""

import json
from typing import Any
from uuid import UUID, uuid4

import orjson

from outlast.domain.records import RUN, Record, RunEnd
from outlast.domain.run import RunStatus
from outlast.server.protocol_line import Line

RUN_ID = uuid4()


def record(pos: int, mode: str, data: Any, ns: str = "", *, run_id: UUID = RUN_ID) -> Record:
    namespace = ns.split("|") if ns else []
    wrapped = data if mode == RUN else {"method": mode[3:], "params": {"namespace": namespace, "data": data}}
    return Record(b"k" * 16, pos, run_id, mode, ns, orjson.dumps(wrapped))


def begun(pos: int, attempt: int = 1, **more: Any) -> Record:
    return record(pos, RUN, {"attempt": attempt, "graph_id": "helper"}, **more)


def told(line: Line, *items: Any) -> list[Any]:
    return [json.loads(event.data) for item in items for event in line.events(item)]


def said(events: list[Any]) -> list[tuple[int, str, str]]:
    return [(event["seq"], event["method"], event["params"]["data"]["event"]) for event in events]


def test_what_a_killed_worker_left_open_is_ended_before_the_next_attempt():
    line = Line()
    told(
        line,
        begun(10),
        record(11, "v3:messages", {"event": "message-start", "id": "over"}),
        record(12, "v3:messages", {"event": "message-finish", "id": "over"}),
        record(13, "v3:lifecycle", {"event": "started", "graph_name": "sub"}, "sub:1"),
        record(14, "v3:lifecycle", {"event": "started", "graph_name": "deep"}, "sub:1|deep:2"),
        record(15, "v3:tools", {"event": "tool-started", "tool_call_id": "c"}, "sub:1"),
        record(16, "v3:messages", {"event": "message-start", "id": "cut"}, "sub:1"),
        record(17, "v3:messages", {"event": "content-block-delta", "id": "cut"}, "sub:1"),
    )

    events = told(line, begun(100, 2))

    assert [event[:2] for event in said(events)] == [
        (18, "tools"), (19, "messages"), (20, "lifecycle"), (21, "lifecycle"),
    ]  # fmt: skip
    assert [event["params"]["data"]["event"] for event in events] == ["tool-error", "error", "failed", "failed"]
    assert [event["params"]["namespace"] for event in events] == [["sub:1"], ["sub:1"], ["sub:1", "deep:2"], ["sub:1"]]
    assert len({event["event_id"] for event in events}) == 4


def test_an_event_on_a_stream_is_the_event_itself():
    given = record(11, "v3:updates", {"text": "ä\n"}, "sub:1")
    [event] = Line().events(given)

    place, number, data = event.frame.split(b"\r\n", 2)

    assert (place, number, data) == (b"event: updates", b"id: 11", b"data: " + event.data + b"\r\n\r\n")
    assert json.loads(event.data) == {
        "type": "event", "event_id": f"{RUN_ID}:11", "seq": 11, **json.loads(given.data),
    }  # fmt: skip


def test_a_run_is_told_to_run_once_however_often_it_is_taken_up():
    line = Line()

    assert said(told(line, begun(10), begun(100), begun(200, 2))) == [(10, "lifecycle", "running")]
    assert said(told(line, begun(300, run_id=uuid4()))) == [(300, "lifecycle", "running")]


def test_what_was_ended_by_itself_is_not_ended_twice():
    line = Line()
    told(
        line,
        begun(10),
        record(11, "v3:tools", {"event": "tool-started", "tool_call_id": "c"}),
        record(12, "v3:tools", {"event": "tool-error", "tool_call_id": "c"}),
        record(13, "v3:lifecycle", {"event": "started"}, "sub:1"),
        record(14, "v3:lifecycle", {"event": "completed"}, "sub:1"),
    )

    assert told(line, begun(100, 2)) == []


def test_ends_never_run_into_the_next_attempt():
    line = Line()
    names = range(5)
    told(line, begun(10), *(record(11 + n, "v3:messages", {"event": "message-start", "id": str(n)}) for n in names))

    assert [event["seq"] for event in told(line, begun(18, 2))] == [16, 17]


def test_every_status_of_an_end_is_one_that_clients_know():
    def end(status: RunStatus, **more: Any) -> Any:
        return RunEnd(thread=b"k" * 16, pos=50, run_id=RUN_ID, status=status, graph_id="helper", **more)

    question = {"id": "q", "value": "?", "ns": ["sub:1"]}
    shown = {
        status: [(event["seq"], event["method"], event["params"]["data"]) for event in told(Line(), ended)]
        for status, ended in {
            "ok": end(RunStatus.SUCCEEDED),
            "bad": end(RunStatus.FAILED, error_code="ValueError", error_message="ValueError: boom"),
            "gone": end(RunStatus.CANCELLED, deleted=True),
            "asks": end(RunStatus.INTERRUPTED, interrupts=[question, {**question, "id": "p", "ns": None}]),
            "breakpoint": end(RunStatus.INTERRUPTED),
        }.items()
    }

    assert shown["ok"] == [(50, "lifecycle", {"event": "completed", "graph_name": "helper"})]
    assert shown["bad"][0][2]["error"] == "ValueError: boom"
    assert shown["gone"][0][2] == {"event": "failed", "graph_name": "helper", "error": "cancelled"}
    assert [(seq, method) for seq, method, _ in shown["asks"]] == [
        (48, "input.requested"), (49, "input.requested"), (50, "lifecycle"),
    ]  # fmt: skip
    assert shown["asks"][0][2] == {"interrupt_id": "q", "payload": "?", "value": "?"}
    assert shown["breakpoint"] == [(50, "lifecycle", {"event": "interrupted", "graph_name": "helper"})]
