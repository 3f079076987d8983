"""kill -9 of a real worker in the middle of a traced run: what a real receiver then has of it is one trace."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from called_service import serving
from fleet import Fleet, Zygote
from otlp_receiver import Exported, OtlpReceiver, tree
from traced_project import SECRET, project_in, settings_of

from outlast.domain.trace_context import attempt_span_id
from outlast.runtime import Runtime
from outlast.server.app import create_app
from outlast.settings_tracing import TracingSettings
from outlast.testing.providers import ProviderServer
from waiting import until

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def tracing_zygote() -> Iterator[Zygote]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{HERE.parents[1]}:{HERE}")
        with Zygote.open(HERE / "tracing.toml", "langchain_openai", "outlast.monitoring.tracing.tracer") as zygote:
            yield zygote


@pytest.fixture
def tracing_fleet(tracing_zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=tracing_zygote) as fleet:
        yield fleet


@pytest.fixture
async def http(traces: OtlpReceiver, database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An API without a worker, whose spans go to the same receiver as the workers'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        settings = settings_of(database_url, tracing=TracingSettings(endpoint=traces.url))
        async with Runtime.open(settings, project_in(tmp_path), application_name="test") as runtime:
            transport = httpx.ASGITransport(create_app(runtime))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client


async def test_a_run_that_was_killed_and_resumed_is_one_trace_with_both_attempts(
    traces: OtlpReceiver, tracing_fleet: Fleet, http: httpx.AsyncClient
) -> None:
    run_id, of_victim = await killed_and_resumed(traces, tracing_fleet, http)
    spans = traces.of_run(run_id)
    lost, second = attempts = attempts_of(spans)
    (request,) = [span for span in spans if span.kind == "SERVER"]
    of_the_dead = f"{attempt_span_id(run_id, 1):016x}"

    # One trace, both attempts below what asked for them, the second linked to the first.
    assert {span.trace_id for span in spans} == {request.trace_id} == {of_victim.split("-")[1]}
    assert len(traces.of_trace(request.trace_id)) == len(spans)
    assert {span.parent_id for span in attempts} == {request.span_id}
    assert (lost.span_id, second.links) == (of_the_dead, [of_the_dead])
    assert [span.attributes["outlast.outcome"] for span in attempts] == ["lost", "success"]
    assert [span.attributes["outlast.attempt"] for span in attempts] == [1, 2]
    assert [span.failed for span in attempts] == [True, False]
    assert lost.began < lost.ended <= second.ended

    # What was done before the kill stands below the attempt that died, the rest below the other one.
    of_lost = tree([span for span in spans if span not in (request, second)])
    assert of_lost["invoke_agent dying"][-1] == "node first"
    assert of_lost["node first"] == ["chat gpt-4o"]
    of_second = tree([span for span in spans if span is not lost])
    nodes = [name for name in of_second["invoke_agent dying"] if name.startswith("node ")]
    assert nodes == ["node second", "node third"]
    assert of_second["node third"] == ["effect charge"]

    # Everything says where it belongs, in the words of the conventions, and nothing that anybody said.
    assert {span.attributes["gen_ai.conversation.id"] for span in spans} == {lost.attributes["session.id"]}
    assert {span.attributes["gen_ai.operation.name"] for span in attempts} == {"invoke_agent"}
    (asked,) = [span for span in spans if span.name == "chat gpt-4o"]
    assert asked.attributes["gen_ai.usage.input_tokens"] > 0
    assert not [span for span in spans if SECRET in span.said]


async def killed_and_resumed(traces: OtlpReceiver, fleet: Fleet, http: httpx.AsyncClient) -> tuple[UUID, str]:
    """Kill the worker of a run in its second node; return the run, and what that node told the service it called."""
    async with serving() as service, ProviderServer() as provider:
        environment = {
            "OUTLAST_TRACING__ENDPOINT": traces.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "PROVIDER_URL": provider.openai_url,
        }
        victim = fleet.start(**environment)
        body = {"agent": "dying", "input": {"url": service.url}}
        run_id = UUID((await http.post("/agent/start", json=body)).json()["run_id"])

        async def lingers_and_has_told_its_first_node() -> bool:
            return "/linger" in service.heard and "node first" in traces.names(run_id)

        await until(lingers_and_has_told_its_first_node, 20, "the first node's span does not come")
        of_victim = service.heard["/linger"]["traceparent"]
        victim.kill()
        service.may_answer.set()
        fleet.start(**environment)

        async def both_attempts_came() -> bool:
            return len(attempts_of(traces.of_run(run_id))) == 2

        await until(both_attempts_came, 30, "the second attempt does not come")
        assert (await http.get(f"/agent/status/{run_id}")).json()["status"] == "succeeded"
        return run_id, of_victim


def attempts_of(spans: list[Exported]) -> list[Exported]:
    attempts = [span for span in spans if span.name == "invoke_agent dying"]
    return sorted(attempts, key=lambda span: span.attributes["outlast.epoch"])
