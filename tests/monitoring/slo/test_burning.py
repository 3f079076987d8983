"""When an error budget burns too fast, by the pairs of windows of the Site Reliability Workbook."""

from datetime import timedelta

import pytest
from slo_rows import counted, observe

from outlast.monitoring.slo.burning import burn_of, burning
from outlast.monitoring.slo.objectives import Objective
from outlast.monitoring.slo.standing import Standing
from outlast.settings_slo import AgentSloSettings, SloSettings
from outlast.storage.postgres.slo import Count, Windows

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def standing(goal=0.99, **windows):
    given = {name: Count(events - bad, events) for name, (bad, events) in windows.items()}
    objective = Objective(slo="runs", agent=None, goal=goal, limit=None)
    return Standing(objective=objective, windows=Windows(**given))


# At 99 % the budget is 1 %: 15 % failures burn it 15 times as fast as it lasts.
@pytest.mark.parametrize(
    ("windows", "severity", "long"),
    [
        ({"hour": (15, 100), "minutes_5": (15, 100)}, "critical", HOUR),
        ({"hour": (14, 100), "minutes_5": (15, 100)}, None, None),
        # It is over.
        ({"hour": (15, 100), "minutes_5": (14, 100)}, None, None),
        ({"hour": (15, 100)}, None, None),
        ({"hours_6": (7, 100), "minutes_30": (7, 100)}, "critical", 6 * HOUR),
        ({"hours_6": (7, 100), "minutes_30": (5, 100)}, None, None),
        ({"days_3": (11, 1000), "hours_6": (11, 1000)}, "warning", 3 * DAY),
        ({"days_3": (10, 1000), "hours_6": (11, 1000)}, None, None),
        # The most urgent one is told.
        (
            dict.fromkeys(("minutes_5", "minutes_30", "hour", "hours_6", "days_3"), (20, 100)),
            "critical",
            HOUR,
        ),
        # Two are no proof.
        ({"hour": (2, 2), "minutes_5": (2, 2)}, None, None),
        ({}, None, None),
    ],
)
def test_a_budget_burns_too_fast_when_both_windows_say_so(windows, severity, long):
    burn = burn_of(standing(**windows), 3)
    assert (burn and burn.severity, burn and burn.long) == (severity, long)


def test_an_outage_counts_also_where_a_low_goal_could_never_burn_so_fast():
    assert burn_of(standing(goal=0.5, hour=(10, 10), minutes_5=(10, 10)), 3).factor == pytest.approx(1.8)
    assert burn_of(standing(goal=0.5, hour=(8, 10), minutes_5=(10, 10)), 3) is None


def test_the_budget_is_what_may_be_bad_of_the_period():
    assert standing(period=(5, 1000)).budget_left == pytest.approx(0.5)
    assert standing(period=(20, 1000)).budget_left == pytest.approx(-1.0)
    assert standing(period=(0, 1)).budget_left == 1.0
    assert (standing().budget_left, standing().kept) == (None, None)


async def test_what_burns_is_told_in_words_worst_first(pool):
    research = AgentSloSettings(runs_goal=0.5)
    settings = SloSettings(agents={"research": research})
    await observe(pool, count=970, ago=20 * DAY, first_byte_seconds=0.1)
    await observe(pool, count=20, ago=2 * MINUTE, first_byte_seconds=9.0)
    await observe(pool, count=10, ago=MINUTE, status="error", first_byte_seconds=9.0)
    # Half of them may fail.
    await observe(pool, count=10, ago=MINUTE, status="error", agent="research")
    await observe(pool, count=10, ago=MINUTE, agent="research")
    await counted(pool, settings)
    burns = await burning(pool, settings)
    assert [(burn.slo, burn.agent, burn.severity, burn.bad, burn.events) for burn in burns] == [
        ("runs", None, "critical", 10, 30),
        ("first_byte", None, "critical", 30, 30),
    ]
    runs, _ = burns
    assert runs.rate == pytest.approx(100 / 3)
    assert runs.budget_left == pytest.approx(0.0)
    assert runs.text == (
        "99 % of runs without an error: 10 of 30 failed in 1 h, 33.3 times what the goal allows; "
        "the error budget of 30 days is spent"
    )


async def test_an_agent_of_its_own_is_named(pool):
    settings = SloSettings(agents={"research": AgentSloSettings(runs_goal=0.9)})
    await observe(pool, count=5, ago=MINUTE, status="error", agent="research")
    await observe(pool, count=100, ago=10 * DAY, agent="research")
    await counted(pool, settings)
    (burn,) = await burning(pool, settings)
    assert (burn.slo, burn.agent) == ("runs", "research")
    assert burn.text.startswith("90 % of runs without an error (research): 5 of 5 failed in 1 h, 10 times")
    assert burn.text.endswith("52 % of the error budget of 30 days is left")


async def test_nothing_burns_where_nothing_happens(pool):
    assert await burning(pool, SloSettings()) == []
