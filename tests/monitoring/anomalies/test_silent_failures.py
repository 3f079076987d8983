"""The drill of silent failures: told, stored, judged and found, with nothing made up but the agents.

`make eval-anomalies` plays more seeds, and prints a table.
"""

import re

import pytest

from made_up_agents import PROFILES, SCENARIOS, has
from outlast.storage.postgres.pool import Pool
from silent_drill import WITHIN, Attempt, Stage, false_alarms, scenarios

SEED = 1


@pytest.fixture(scope="module")
async def attempts(pool_of_module: Pool) -> list[Attempt]:
    return await scenarios(Stage(pool_of_module), SEED)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_silent_failure_is_found_within_twenty_runs(scenario: str, attempts: list[Attempt]):
    played = [each for each in attempts if each.scenario == scenario]
    assert {each.profile for each in played} == {profile.name for profile in PROFILES if has(scenario, profile)}
    late = [each.profile for each in played if each.found is None or not 1 <= (each.found.after or 0) <= WITHIN]
    assert late == [], f"not found within {WITHIN} runs"


def test_a_finding_says_in_plain_words_what_is_unusual(attempts: list[Attempt]):
    [support] = [each.found for each in attempts if each.scenario == "short" and each.profile == "support"]
    assert support is not None
    said = re.fullmatch(
        r"length ([\d,]+) in the last \d+ runs against a median of ([\d,]+) over 1\d\d runs", support.text
    )
    assert said, support.text
    short, usual = (int(figure.replace(",", "")) for figure in said.groups())
    assert short * 4 < usual
    [classifier] = [
        each.found for each in attempts if each.scenario == "over-confident" and each.profile == "classifier"
    ]
    assert classifier is not None
    assert re.match(
        r"\d+ of the last \d+ runs were certain \(confidence 0.99 or more\), against \d+% of", classifier.text
    )


async def test_healthy_agents_are_hardly_ever_suspected(pool_of_module: Pool):
    found = await false_alarms(Stage(pool_of_module), SEED, runs=5000)
    assert len(found) <= 5, [f"{each.agent} {each.kind}: {each.text}" for each in found]
