"""Tracing of a process: switched on by settings or variables, told to a real receiver, and off without a trace."""

import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import uuid_utils.compat as uuid_utils
from called_service import serving
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from otlp_receiver import Exported, OtlpReceiver

from outlast.domain.trace_context import attempt_span_id, parsed
from outlast.errors import ConfigurationError
from outlast.monitoring.tracing.exporting import address_of, share_of
from outlast.monitoring.tracing.sampling import Share
from outlast.monitoring.tracing.traced import traced
from outlast.secret import Secret
from outlast.settings_tracing import TracingSettings
from outlast.telemetry import about, carried, emit, note, opened, span, told, trace_headers, tracing

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED")
Fields = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def fields() -> Fields:
    def of(run_id: UUID, **more: Any) -> dict[str, Any]:
        return {"run_id": run_id, "thread_id": "t-1", "agent": "a", "tenant": "default", "epoch": 1} | more

    return of


def spans_of(traces: OtlpReceiver, run_id: UUID) -> dict[str, Exported]:
    return {found.name: found for found in traces.of_run(run_id)}


@asynccontextmanager
async def tracing_to(traces: OtlpReceiver, **settings: Any) -> AsyncIterator[None]:
    """At the end of the block everything has been sent."""
    async with traced(TracingSettings(endpoint=traces.url, **settings)):
        yield


# On and off


async def test_nothing_is_traced_and_nothing_made_without_a_receiver() -> None:
    async with traced(TracingSettings()):
        assert not tracing()
        assert span("model", model="m") is span("run", agent="a")
        assert opened("node", node="n") is None
        assert (carried(), trace_headers()) == (None, {})


async def test_without_traces_what_came_with_the_request_is_passed_on() -> None:
    traceparent = f"00-{uuid4().hex}-00f067aa0ba902b7-01"
    with about(traceparent=traceparent):
        assert trace_headers() == {"traceparent": traceparent}


async def test_the_standard_variable_switches_traces_on(traces: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traces.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    run_id = uuid4()
    async with traced(TracingSettings()):
        with span("run", run_id=run_id, epoch=1, agent="a"):
            pass

    assert [found.resource["service.name"] for found in traces.of_run(run_id)] == ["shop"]


@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
async def test_the_standard_variables_switch_traces_off(
    traces: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    async with tracing_to(traces):
        assert not tracing()


async def test_without_the_sdk_an_endpoint_is_an_error_and_a_variable_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(ConfigurationError, match=r"tracing\.endpoint.*outlast\[otel\]"):
        await traced(TracingSettings(endpoint="http://127.0.0.1:1")).__aenter__()

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    async with traced(TracingSettings()):
        assert not tracing()
    assert "outlast[otel]" in caplog.text


async def test_an_endpoint_that_is_no_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="http://host:port") as refused:
        TracingSettings(endpoint="user:hunter2@host:4317")
    assert "hunter2" not in str(refused.value).split("input_value")[0]


async def test_two_runtimes_of_one_process_share_a_tracer_to_the_end_of_the_last(traces: OtlpReceiver) -> None:
    run_id = uuid4()
    async with tracing_to(traces):
        async with tracing_to(traces):
            assert tracing()
        assert tracing()
        with span("run", run_id=run_id, epoch=1, agent="a"):
            pass
    assert not tracing()

    assert len(traces.of_run(run_id)) == 1


async def test_a_receiver_that_is_away_delays_nobody(
    unused_tcp_port_refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with traced(TracingSettings(endpoint=unused_tcp_port_refused)):
        began = time.perf_counter()
        for _ in range(200):
            with span("run", run_id=uuid4(), epoch=1, agent="a"):
                pass
        assert time.perf_counter() - began < 1
        closing = time.perf_counter()
    assert time.perf_counter() - closing < 6


@pytest.fixture
def unused_tcp_port_refused() -> str:
    # Nothing listens on port 1.
    return "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("", ""),
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("https://cloud.langfuse.com/api/public/otel", "https://cloud.langfuse.com/api/public/otel/v1/traces"),
        ("http://localhost:6006/v1/traces", "http://localhost:6006/v1/traces"),
    ],
)
def test_the_path_of_the_protocol_is_added_to_an_address(given: str, address: str) -> None:
    assert address_of(given) == address


# What is recorded


def test_a_share_takes_that_many_of_the_traces_whose_ids_are_of_runs() -> None:
    ids = [uuid_utils.uuid7().int for _ in range(4000)]
    taken = [trace_id for trace_id in ids if Share(0.25).takes(trace_id)]

    assert 850 < len(taken) < 1150
    assert set(taken) == {trace_id for trace_id in taken if Share(0.5).takes(trace_id)}
    assert not any(Share(0).takes(trace_id) for trace_id in ids)
    assert all(Share(1).takes(trace_id) for trace_id in ids)


@pytest.mark.parametrize(
    ("given", "variables", "share"),
    [
        (None, {}, 1.0),
        (0.2, {"OTEL_TRACES_SAMPLER": "always_off"}, 0.2),
        (None, {"OTEL_TRACES_SAMPLER": "always_off"}, 0.0),
        (None, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, 0.1),
        (None, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "often"}, 1.0),
    ],
)
def test_the_share_is_the_settings_or_the_variables(
    given: float | None, variables: dict[str, str], share: float
) -> None:
    assert share_of(TracingSettings(sample=given), variables) == share


async def test_a_run_that_is_not_taken_sends_nothing_and_says_so_to_those_it_calls(
    traces: OtlpReceiver, fields: Fields
) -> None:
    run_id = uuid4()
    async with tracing_to(traces, sample=0):
        with span("run", **fields(run_id)), span("model", model="m"):
            joined = parsed(carried())

    assert joined is not None
    assert (joined.trace_id, joined.sampled) == (run_id.int, False)
    assert traces.of_run(run_id) == []


# The ids of runs


async def test_a_run_that_nobody_traced_has_its_own_id_as_its_trace_and_later_attempts_below_the_first(
    traces: OtlpReceiver, fields: Fields
) -> None:
    run_id = uuid4()
    async with tracing_to(traces):
        with span("run", **fields(run_id)):
            pass
        with span("run", **fields(run_id, epoch=4, before=2)):
            pass
    first, later = sorted(traces.of_run(run_id), key=lambda found: found.attributes["outlast.epoch"])

    assert first.trace_id == later.trace_id == run_id.hex
    assert (first.span_id, first.parent_id) == (f"{attempt_span_id(run_id, 1):016x}", "")
    assert (later.parent_id, later.links) == (first.span_id, [f"{attempt_span_id(run_id, 2):016x}"])


async def test_a_lost_attempt_is_told_with_its_own_times_and_one_that_is_dropped_is_not(
    traces: OtlpReceiver, fields: Fields
) -> None:
    run_id, began = uuid4(), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    async with tracing_to(traces):
        with pytest.raises(TimeoutError), span("run", **fields(run_id)), span("node", node="n"):
            raise TimeoutError
        told("run", **fields(run_id), outcome="lost", began_at=began, ended_at=began + timedelta(seconds=2))
    attempts = [found for found in traces.of_run(run_id) if found.name == "invoke_agent a"]

    assert [(found.span_id, found.ended - found.began) for found in attempts] == [
        (f"{attempt_span_id(run_id, 1):016x}", 2_000_000_000)
    ]
    assert spans_of(traces, run_id)["node n"].parent_id == attempts[0].span_id


# What stands below what


async def test_what_ended_in_a_callback_is_nobodys_parent(traces: OtlpReceiver, fields: Fields) -> None:
    run_id = uuid4()
    async with tracing_to(traces):
        with span("run", **fields(run_id)):
            first = opened("node", node="first")
            assert first is not None
            threading.Thread(target=first.end).start()
            while not first.ended:  # type: ignore[attr-defined]
                pass
            second = opened("node", node="second")
            assert second is not None
            with span("effect", effect="e"):
                pass
            second.end()
    found = spans_of(traces, run_id)

    assert found["node first"].parent_id == found["node second"].parent_id == found["invoke_agent a"].span_id
    assert found["effect e"].parent_id == found["node second"].span_id


async def test_a_model_of_ours_speaks_in_the_span_that_the_callback_began(traces: OtlpReceiver, fields: Fields) -> None:
    run_id = uuid4()
    async with tracing_to(traces):
        with span("run", **fields(run_id)):
            begun = opened("model", model="m", provider="p")
            assert begun is not None
            with span("model", model="m", provider="openai") as current:
                current.set(input_tokens=3)
                with span("model", model="inside"):
                    pass
            assert begun.adopted
            begun.end()
    found = spans_of(traces, run_id)

    assert set(found) == {"invoke_agent a", "chat m", "chat inside"}
    assert found["chat m"].attributes["gen_ai.usage.input_tokens"] == 3
    assert found["chat inside"].parent_id == found["chat m"].span_id


async def test_spans_of_a_projects_own_instrumentation_stand_between_ours(traces: OtlpReceiver, fields: Fields) -> None:
    theirs, run_id = TracerProvider().get_tracer("theirs"), uuid4()
    async with tracing_to(traces):
        with span("run", **fields(run_id)):
            with theirs.start_as_current_span("theirs") as between, span("effect", effect="e"):
                assert trace.get_current_span().get_span_context().trace_id == run_id.int
            assert between.parent.span_id == attempt_span_id(run_id, 1)  # type: ignore[attr-defined]
            with span("effect", effect="f"):
                pass
    found = spans_of(traces, run_id)

    assert found["effect e"].parent_id == f"{between.get_span_context().span_id:016x}"
    assert found["effect f"].parent_id == found["invoke_agent a"].span_id


async def test_statements_outside_of_runs_are_not_told(traces: OtlpReceiver, fields: Fields) -> None:
    run_id, before = uuid4(), len(traces.spans)
    async with tracing_to(traces):
        with span("database", statement=b"SELECT 1 FROM elsewhere"), span("request", method="GET"):
            note(run_id=run_id, thread_id="t-1")
            with span("database", statement=b"SELECT 1 FROM elsewhere"):
                pass
        with span("run", **fields(run_id)), span("database", statement=b"WITH a AS (SELECT 1) UPDATE runs SET x = 1"):
            pass

    assert [found.name for found in traces.spans[before:]] == ["GET", "UPDATE runs", "invoke_agent a"]


async def test_the_write_of_a_checkpoint_is_told_when_it_fails_or_takes_long(
    traces: OtlpReceiver, fields: Fields
) -> None:
    run_id = uuid4()
    async with tracing_to(traces):
        with span("run", **fields(run_id)):
            with span("checkpoint"):
                pass
            assert trace.get_current_span().get_span_context().span_id == attempt_span_id(run_id, 1)
            with pytest.raises(TimeoutError), span("checkpoint"):
                raise TimeoutError
    told_of = [found for found in traces.of_run(run_id) if found.name == "checkpoint"]

    assert [(found.failed, found.parent_id) for found in told_of] == [(True, f"{attempt_span_id(run_id, 1):016x}")]


async def test_what_happens_in_a_span_is_its_event_without_reasons(traces: OtlpReceiver, fields: Fields) -> None:
    run_id = uuid4()
    async with tracing_to(traces):
        with span("run", **fields(run_id)), span("model", model="m"):
            emit("call.try_failed", model="openai:m", kind="timeout", error="the user said hunter2")
            emit("call.before_try", model="openai:m", attempt=1)
    asked = spans_of(traces, run_id)["chat m"]

    assert asked.events == ["call.try_failed"]
    assert "hunter2" not in asked.said


# What is told of content


async def test_content_is_told_where_it_is_asked_for_and_without_secrets(traces: OtlpReceiver, fields: Fields) -> None:
    run_id = uuid4()
    key = "sk-" + "a1B2" * 6
    async with tracing_to(traces, content=True, openinference=True):
        with span("run", **fields(run_id), user_id="anna"), span("tool", tool="t", arguments=f'{{"key": "{key}"}}'):
            note(result="42")
    tool = spans_of(traces, run_id)["execute_tool t"]

    assert tool.attributes["gen_ai.tool.call.result"] == tool.attributes["output.value"] == "42"
    assert "***" in tool.attributes["gen_ai.tool.call.arguments"]
    assert key not in tool.said
    assert tool.attributes["openinference.span.kind"] == "TOOL"
    assert spans_of(traces, run_id)["invoke_agent a"].attributes["user.id"] == "anna"


async def test_without_content_neither_messages_nor_users_are_told(traces: OtlpReceiver, fields: Fields) -> None:
    run_id = uuid4()

    def fail() -> None:
        with span("tool", tool="t", arguments="hunter2"):
            note(result="hunter2")
            msg = "hunter2"
            raise ValueError(msg)

    async with tracing_to(traces, headers={"authorization": Secret("Bearer hunter2")}):
        with span("run", **fields(run_id), user_id="hunter2"), pytest.raises(ValueError, match="hunter2"):
            fail()
    tool = spans_of(traces, run_id)["execute_tool t"]

    assert (tool.failed, tool.attributes["error.type"]) == (True, "ValueError")
    assert not [found for found in traces.of_run(run_id) if "hunter2" in found.said]
    assert traces.headers[-1]["authorization"] == "Bearer hunter2"


# HTTP


async def test_httpx_is_left_as_it_was(traces: OtlpReceiver) -> None:
    before = httpx.Client.send, httpx.AsyncClient.send
    async with tracing_to(traces):
        assert (httpx.Client.send, httpx.AsyncClient.send) != before
    assert (httpx.Client.send, httpx.AsyncClient.send) == before


async def test_only_what_a_run_sends_to_a_named_host_is_told_the_trace(traces: OtlpReceiver, fields: Fields) -> None:
    run_id, own = uuid4(), f"00-{uuid4().hex}-00f067aa0ba902b7-01"
    async with serving() as service, httpx.AsyncClient() as client:
        async with tracing_to(traces, propagate_to=("*.example.com", "127.0.0.1")):
            await client.get(f"{service.url}/outside")
            with span("run", **fields(run_id)):
                await client.get(f"{service.url}/inside")
                await client.get(f"{service.url}/own", headers={"traceparent": own})
                with span("model", model="m"):
                    await client.get(f"{service.url}/model")
                await client.get(f"http://localhost:{service.port}/unnamed")
        await client.get(f"{service.url}/after")
    heard = {path: headers.get("traceparent") for path, headers in service.heard.items()}

    assert heard == {
        "/outside": None, "/inside": f"00-{run_id.hex}-{attempt_span_id(run_id, 1):016x}-01", "/own": own,
        "/model": None, "/unnamed": None, "/after": None,
    }  # fmt: skip
