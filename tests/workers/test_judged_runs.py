"""A model that judges the output of a run is asked as a call of that run."""

from collections.abc import AsyncIterator

import pytest
from review_agents import PRICES
from reviewed_runs import Opens, opening

from outlast.testing.providers import ProviderServer, Reply

JUDGE = {"use": "judge", "model": "openai:gpt-4o-mini", "criteria": "The price is fair."}


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        yield server


@pytest.fixture
def reviewed(database_url: str) -> Opens:
    return opening(database_url)


async def test_a_judgement_costs_its_run_and_decides_about_its_output(
    reviewed: Opens, provider: ProviderServer
) -> None:
    finding = {"criterion": 1, "problem": "Nobody pays that.", "field": "price"}
    provider.script([Reply(structured={"findings": [finding], "score": 0.1})])
    async with reviewed(validators=[JUDGE], on_invalid="fail") as runs:
        PRICES[:] = [5_000]
        run_id = await runs.start("offers")
        view = await runs.fails(run_id)

        assert view.error_code == "validation_failed"
        assert "Nobody pays that." in (view.error_message or "")
        (request,) = provider.answered
        assert '"price":5000' in request.messages[1]["content"]
        rows = await runs.rows("SELECT run_id, agent, model, input_tokens > 0 FROM call_usage")
        assert rows == [(run_id, "offers", "gpt-4o-mini", True)]
