"""/budgets, and what a client gets whose budget is spent."""

from typing import Any

import pytest

from outlast.domain.budget import Cost


@pytest.fixture
async def budgets(server: Any) -> Any:
    """The routes; every test has a budget of its own, which no agent's runs pay unless it says so."""
    yield server.http
    await server.rows("DELETE FROM budgets")
    await server.rows("DELETE FROM budget_counters")


async def test_a_budget_is_set_raised_and_removed(budgets):
    answer = await budgets.put("/budgets/mine", json={"usd": 12.5, "per": "user", "period": "day", "agent": "nobody"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["gone_on"] == []
    assert answer.json()["budget"] == {
        "name": "mine", "per": "user", "period": "day", "usd": "12.50", "tokens": None, "soft_percent": 80,
        "on_limit": "refuse", "agent": "nobody", "user": None, "set": True, "counters": [],
    }  # fmt: skip
    raised = (await budgets.post("/budgets/mine/raise", json={"usd": "0.000001", "subject": "ann"})).json()
    [counter] = raised["budget"]["counters"]
    assert (counter["subject"], counter["usd"], counter["spent_usd"]) == ("ann", "12.500001", "0.00")
    listed = (await budgets.get("/budgets")).json()
    assert [budget["name"] for budget in listed] == ["mine"]
    assert listed[0]["usd"] == "12.50", "a raise is for one subject and period"
    assert (await budgets.delete("/budgets/mine")).json() == {"gone_on": []}
    assert (await budgets.get("/budgets/mine")).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [({"per": "user"}, "usd"), ({"usd": -1}, "usd"), ({"usd": "0.0000001"}, "usd"), ({"usd": 1, "per": "team"}, "per"),
     ({"usd": 1, "ond_limit": "ask"}, "ond_limit"), ({"tokens": 10**16}, "tokens")],
)  # fmt: skip
async def test_what_is_no_budget_is_refused_and_the_field_named(budgets, body, field):
    answer = await budgets.put("/budgets/wrong", json=body)
    assert answer.status_code == 422
    assert field in answer.json()["field"]


async def test_a_run_whose_budget_is_spent_is_refused_with_402(server, budgets):
    await budgets.put("/budgets/spent", json={"usd": 0, "agent": "steps"})
    for path, body in (
        ("/runs", {"assistant_id": "steps", "input": {}}),
        ("/agent/start", {"agent": "steps", "input": {}}),
    ):
        answer = await budgets.post(path, json=body)
        assert answer.status_code == 402, answer.text
        problem = answer.json()
        assert problem["code"] == "budget_exceeded"
        assert "budget 'spent': $0.00 of $0.00 are spent" in problem["detail"]
        assert (problem["budget"], problem["limit"], problem["unit"]) == ("spent", 0, "usd_micros")
    await server.runtime.budget_desk().raise_limit("spent", Cost(1, 0))
    assert (await budgets.post("/runs", json={"assistant_id": "steps", "input": {}})).status_code == 200
