"""Models under policies and switches in real runs, against a provider on this machine."""

from collections.abc import AsyncIterator

import pytest
from police import Police
from policed_agents import World

from outlast.domain.run import RunStatus
from outlast.testing.providers import ProviderServer
from waiting import until

S = RunStatus


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        World.provider_url = server.openai_url
        yield server


def asked(provider: ProviderServer) -> list[str]:
    return [request.body["model"] for request in provider.requests]


async def test_a_model_that_is_not_allowed_is_passed_over(police: Police, provider: ProviderServer) -> None:
    async with police.working({"models": {"agents": {"asks_model": {"allow": ["openai:*-mini"]}}}}):
        run_id = await police.start("asks_model", {"messages": []})
        await police.stands(run_id, S.SUCCEEDED)
    assert asked(provider) == ["gpt-4o-mini"]


async def test_a_run_whose_models_are_all_refused_fails_and_says_why(police: Police, provider: ProviderServer) -> None:
    async with police.working({"models": {"deny": ["openai:*"]}}):
        view = await police.stands(await police.start("asks_model", {"messages": []}), S.FAILED)
    assert view.error_code == "policy_refused"
    assert "policies.models.deny" in (view.error_message or "")
    assert asked(provider) == []


async def test_a_policy_of_the_project_knows_what_the_run_has_used(police: Police, provider: ProviderServer) -> None:
    async with police.working({"order": ["policed_agents:Frugal"]}):
        once = await police.start("asks_model", {"messages": []})
        await police.stands(once, S.SUCCEEDED)
        view = await police.stands(await police.start("asks_twice", {"messages": []}), S.FAILED)
    assert "one call is enough" in (view.error_message or "")
    assert asked(provider) == ["gpt-4o", "gpt-4o"]


async def test_no_model_is_asked_while_the_agent_is_off(police: Police, provider: ProviderServer) -> None:
    """The switch is turned between the claim and the call: the call meets it, and the run waits."""
    runtime = await police.open({"switch_look": 0.05})
    run_id = await police.start("asks_model", {"messages": []})
    async with police.working({"switch_look": 0.05}) as worker:
        await police.stands(run_id, S.SUCCEEDED)
        await runtime.switch_desk().turn_off("agent", "asks_model", reason="stop")

        async def known() -> bool:
            return worker.policing.board.stops("default", "asks_model") is not None

        await until(known)
        before = len(provider.requests)
        held = await police.start("asks_model", {"messages": []})
        await police.stands(held, S.QUEUED)
        await runtime.switch_desk().turn_on("agent", "asks_model")
        await police.stands(held, S.SUCCEEDED)
    assert len(provider.requests) == before + 1
