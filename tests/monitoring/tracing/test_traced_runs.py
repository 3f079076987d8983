"""What a real receiver gets of runs through the API: one tree, in OpenTelemetry's words, without what people said."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import pytest
from called_service import Service, serving
from otlp_receiver import Exported, OtlpReceiver, tree
from traced_project import SECRET, project_in, settings_of

from outlast.runtime import Runtime
from outlast.server.app import create_app
from outlast.settings_tracing import TracingSettings
from outlast.testing.postgres import Databases
from outlast.testing.providers import ProviderServer
from runtimes import working
from waiting import until
from webhook_receiver import Receiver, receiving


@dataclass
class Traced:
    http: httpx.AsyncClient
    traces: OtlpReceiver
    service: Service
    provider: ProviderServer
    reports: Receiver

    async def run(self, agent: str, *, until_status: str = "succeeded", **headers: str) -> UUID:
        """Start a run, wait until it has ended and its attempt's span has come; return its id."""
        body = {"agent": agent, "input": {"url": self.service.url}}
        started = await self.http.post("/agent/start", json=body, headers=headers)
        assert started.status_code < 300, started.text
        run_id = UUID(started.json()["run_id"])
        await until(lambda: self._is(run_id, until_status), 8, f"run {run_id} does not become {until_status}")
        await self.told(run_id)
        return run_id

    async def _is(self, run_id: UUID, status: str) -> bool:
        return (await self.http.get(f"/agent/status/{run_id}")).json()["status"] == status

    async def told(self, run_id: UUID, attempts: int = 1) -> None:
        async def came() -> bool:
            return len(attempts_of(self.traces, run_id)) >= attempts and bool(requests_of(self.traces, run_id))

        await until(came, 15, "no spans came")


def attempts_of(traces: OtlpReceiver, run_id: UUID) -> list[Exported]:
    spans = [span for span in traces.of_run(run_id) if span.name.startswith("invoke_agent")]
    return sorted(spans, key=lambda span: span.attributes["outlast.epoch"])


def requests_of(traces: OtlpReceiver, run_id: UUID) -> list[Exported]:
    return [span for span in traces.of_run(run_id) if span.kind == "SERVER"]


@pytest.fixture(scope="module")
async def traced(
    traces: OtlpReceiver, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Traced]:
    url = await databases.create()
    with pytest.MonkeyPatch.context() as patch:
        async with AsyncExitStack() as stack:
            provider = await stack.enter_async_context(ProviderServer())
            service = await stack.enter_async_context(serving())
            reports = await stack.enter_async_context(receiving())
            patch.setenv("PROVIDER_URL", provider.openai_url)
            patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
            settings = settings_of(url, tracing=TracingSettings(endpoint=traces.url, headers={"x-key": "sk-1"}))
            project = project_in(tmp_path_factory.mktemp("traced"), report_to=reports.port)
            runtime = await stack.enter_async_context(Runtime.open(settings, project, application_name="test"))
            await stack.enter_async_context(working(runtime))
            transport = httpx.ASGITransport(create_app(runtime))
            http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))
            yield Traced(http, traces, service, provider, reports)
    await databases.leave(url)


async def test_a_run_is_one_tree_from_the_request_to_the_database(traced: Traced) -> None:
    run_id = await traced.run("whole")
    spans = traced.traces.of_run(run_id)
    below = tree(spans)

    assert below[""] == ["POST /agent/start"]
    assert below["POST /agent/start"] == ["invoke_agent whole"]
    nodes = [name for name in below["invoke_agent whole"] if name.startswith("node ")]
    assert nodes == ["node think", "node tools", "node answer", "node inner"]
    assert any("settle" in name for name in below["invoke_agent whole"])
    assert below["node think"] == ["chat scripted"]
    assert sorted(below["node tools"]) == ["execute_tool look_up", "execute_tool look_up_in_thread"]
    assert below["node answer"] == ["chat gpt-4o"]
    assert "node pay" in below["node inner"]
    assert below["node pay"] == ["effect charge"]
    assert {"INSERT effects", "UPDATE effects"} <= set(below["effect charge"])
    assert {span.trace_id for span in spans} == {spans[0].trace_id}


async def test_every_span_names_the_thread_and_speaks_the_words_of_the_conventions(traced: Traced) -> None:
    run_id = await traced.run("whole")
    spans = traced.traces.of_run(run_id)
    by_name = {span.name: span for span in spans}
    thread_id = by_name["invoke_agent whole"].attributes["gen_ai.conversation.id"]

    of_trace = traced.traces.of_trace(spans[0].trace_id)
    assert {span.attributes.get("gen_ai.conversation.id") for span in of_trace} == {thread_id}
    assert {span.attributes.get("outlast.run_id") for span in of_trace} == {str(run_id)}
    assert by_name["invoke_agent whole"].attributes["session.id"] == thread_id
    assert {span.attributes["gen_ai.agent.name"] for span in of_trace} == {"whole"}
    asked = by_name["chat gpt-4o"]
    assert asked.kind == "CLIENT"
    assert asked.attributes.items() >= {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o", "gen_ai.response.finish_reasons": ["stop"], "outlast.source": "provider",
        "outlast.tries": 1,
    }.items()  # fmt: skip
    assert asked.attributes["gen_ai.usage.input_tokens"] > 0
    assert asked.attributes["gen_ai.usage.output_tokens"] > 0
    assert asked.attributes["outlast.cost_usd"] > 0
    assert by_name["invoke_agent whole"].attributes["gen_ai.operation.name"] == "invoke_agent"
    tool = by_name["execute_tool look_up"].attributes
    assert (tool["gen_ai.operation.name"], tool["gen_ai.tool.name"]) == ("execute_tool", "look_up")
    assert tool["gen_ai.tool.call.id"] == "look_up-0"
    assert by_name["INSERT effects"].attributes["db.system.name"] == "postgresql"
    assert asked.resource["service.name"] == "outlast"


async def test_traces_hold_nothing_that_anybody_said_and_exports_are_signed(traced: Traced) -> None:
    run_id = await traced.run("whole")

    assert not [span.name for span in traced.traces.of_run(run_id) if SECRET in span.said]
    assert set(traced.traces.paths) == {"/v1/traces"}
    assert {headers["x-key"] for headers in traced.traces.headers} == {"sk-1"}


async def test_nodes_that_run_side_by_side_have_their_own_spans_below_them(traced: Traced) -> None:
    run_id = await traced.run("fork")
    below = tree(traced.traces.of_run(run_id))

    assert below["node left"] == ["effect charge"]
    assert "node right" not in below
    assert {"node left", "node right", "node join"} <= set(below["invoke_agent fork"])


async def test_services_that_are_called_are_told_the_span_that_calls_and_providers_are_not(traced: Traced) -> None:
    traced.service.heard.clear()
    run_id = await traced.run("whole")
    spans = {span.name: span for span in traced.traces.of_run(run_id)}

    for path, name in {
        "/look": "execute_tool look_up", "/thread": "execute_tool look_up_in_thread", "/charge": "effect charge"
    }.items():  # fmt: skip
        told = traced.service.heard[path]["traceparent"]
        assert told == f"00-{spans[name].trace_id}-{spans[name].span_id}-01", path
    assert traced.provider.requests
    assert not [request for request in traced.provider.requests if "traceparent" in request.headers]


async def test_a_request_that_comes_with_a_trace_is_a_part_of_it(traced: Traced) -> None:
    trace_id, parent = uuid4().hex, "00f067aa0ba902b7"
    run_id = await traced.run("fork", traceparent=f"00-{trace_id}-{parent}-01")

    assert {span.trace_id for span in traced.traces.of_run(run_id)} == {trace_id}
    assert [span.parent_id for span in requests_of(traced.traces, run_id)] == [parent]


async def test_a_request_whose_trace_nobody_records_is_not_recorded(traced: Traced) -> None:
    trace_id = uuid4().hex
    body = {"agent": "fork", "input": {"url": traced.service.url}}
    await traced.http.post("/agent/run", json=body, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-00"})
    # Sent in order: what comes after it would have come after its own.
    await traced.run("fork")

    assert traced.traces.of_trace(trace_id) == []
    assert f"00-{trace_id}-" in traced.service.heard["/right"]["traceparent"] or traced.service.heard["/right"]


async def test_a_header_that_is_no_trace_is_ignored(traced: Traced) -> None:
    run_id = await traced.run("fork", traceparent="00-ABC-1-01")

    assert [span.parent_id for span in requests_of(traced.traces, run_id)] == [""]


async def test_attempts_of_a_run_that_fails_are_linked_in_one_trace_without_what_the_error_says(traced: Traced) -> None:
    run_id = await traced.run("failing", until_status="failed")
    await traced.told(run_id, attempts=2)
    first, second = attempts_of(traced.traces, run_id)

    assert (first.links, second.links) == ([], [first.span_id])
    assert first.trace_id == second.trace_id
    assert first.parent_id == second.parent_id == requests_of(traced.traces, run_id)[0].span_id
    assert (second.failed, second.attributes["outlast.outcome"]) == (True, "error")
    broken = [span for span in traced.traces.of_run(run_id) if span.name == "node broken"]
    assert [(span.failed, span.attributes["error.type"], span.message) for span in broken] == [
        (True, "RuntimeError", "")
    ] * 2


async def test_a_question_to_a_person_is_no_failure(traced: Traced) -> None:
    run_id = await traced.run("asking", until_status="waiting")
    spans = {span.name: span for span in traced.traces.of_run(run_id)}

    assert [spans[name].attributes["outlast.outcome"] for name in ("invoke_agent asking", "node ask")] == [
        "interrupt",
        "interrupt",
    ]
    assert [(span.name, span.attributes) for span in spans.values() if span.failed] == []


async def test_the_report_of_a_run_carries_its_trace(traced: Traced) -> None:
    asked_in = uuid4().hex
    body = {"assistant_id": "fork", "input": {"url": traced.service.url}, "webhook": traced.reports.url}
    answer = await traced.http.post("/runs", json=body, headers={"traceparent": f"00-{asked_in}-00f067aa0ba902b7-01"})
    assert answer.status_code == 200, answer.text
    await until(lambda: traced.reports.got(1), 15, "no report comes")
    (report,) = traced.reports.received

    assert report.headers["traceparent"].split("-")[1] == asked_in


async def test_probes_are_not_traced(traced: Traced) -> None:
    for path in ("/ok", "/health/live", "/metrics"):
        assert (await traced.http.get(path)).status_code == 200
    await traced.run("fork")

    assert not [span for span in traced.traces.spans if str(span.attributes.get("http.route")) in {"/ok", "/metrics"}]
