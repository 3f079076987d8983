"""Whoever logs never waits for whoever reads, and what is lost is counted."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from outlast import telemetry
from outlast.monitoring.logs.line import Line
from outlast.monitoring.logs.output import Output

PATIENCE = 10.0


def render(line: Line) -> bytes:
    if line.event == "unshowable":
        raise ValueError(line.event)
    return f"{line.event} {line.fields.get('count', '')}".strip().encode() + b"\n"


class Sink:
    """A stream that is taken from only while its gate is open."""

    def __init__(self, *, is_open: bool = True, error: Exception | None = None) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.error = error
        self.written = b""
        if is_open:
            self.gate.set()

    def write(self, data: bytes, /) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.written += data

    def flush(self) -> None:
        pass

    @property
    def lines(self) -> list[str]:
        return self.written.decode().splitlines()


@pytest.fixture
def lost() -> Iterator[list[int]]:
    counted: list[int] = []

    def listen(point: str, fields: Mapping[str, Any]) -> None:
        if point == "logs.lost":
            counted.append(fields["count"])

    unsubscribe = telemetry.subscribe(listen)
    yield counted
    unsubscribe()


@pytest.fixture
def opened() -> Iterator[Any]:
    outputs: list[Output] = []

    def open_one(sink: Sink, **options: Any) -> Output:
        output = Output(sink, render, **options)
        output.start()
        outputs.append(output)
        return output

    yield open_one
    for output in outputs:
        output.close()


def line(event: str) -> Line:
    return Line(20, event, {}, {})


def test_lines_come_in_the_order_in_which_they_were_logged(opened: Any, lost: list[int]) -> None:
    sink = Sink()
    output = opened(sink)
    for number in range(1_000):
        output.put(line(str(number)))

    assert output.flush(PATIENCE)
    assert sink.lines == [str(number) for number in range(1_000)]
    assert lost == []


def test_a_stream_that_nobody_reads_costs_lines_and_not_time(opened: Any, lost: list[int]) -> None:
    sink = Sink(is_open=False)
    output = opened(sink, most=10)
    output.put(line("first"))
    assert sink.entered.wait(PATIENCE), "the thread is stuck in it"
    for number in range(30):
        output.put(line(str(number)))

    assert sum(lost) == 20, "put has returned each time"
    sink.gate.set()
    assert output.flush(PATIENCE)
    assert sink.lines == ["first", *map(str, range(10)), "lines were lost: nobody took them 20"]


def test_a_stream_that_is_broken_is_tried_again_and_what_it_refused_is_counted(opened: Any, lost: list[int]) -> None:
    sink = Sink(error=BrokenPipeError())
    output = opened(sink)
    output.put(line("gone"))
    assert output.flush(PATIENCE)
    sink.error = None
    output.put(line("there"))

    assert output.flush(PATIENCE)
    assert lost == [1]
    assert sink.lines == ["there", "lines were lost: nobody took them 1"]


def test_a_line_that_cannot_be_shown_does_not_take_the_others_with_it(opened: Any) -> None:
    sink = Sink()
    output = Output(sink, lambda one: render(one) if one.event != "bad" or "problem" in one.fields else 1 / 0)  # type: ignore[return-value]
    output.start()
    for event in ("before", "bad", "behind"):
        output.put(line(event))
    output.close()

    assert sink.lines == ["before", "bad", "behind"]


def test_what_was_logged_is_written_before_the_process_goes_on_after_close(opened: Any, lost: list[int]) -> None:
    sink = Sink()
    output = opened(sink)
    output.put(line("last"))
    output.close()
    output.put(line("too late"))

    assert sink.lines == ["last"]
    assert lost == [1]


def test_threads_may_log_at_the_same_time(opened: Any) -> None:
    sink = Sink()
    output = opened(sink)
    threads = [
        threading.Thread(target=lambda: [output.put(line("x")) for _ in range(500)]) for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert output.flush(PATIENCE)
    assert len(sink.lines) == 2_000
