"""Rules: those that are there by themselves, what a project changes, and what they say."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from outlast.domain.alert import Figure
from outlast.monitoring.alerts.rules import of_burns, of_figures
from outlast.monitoring.alerts.wording import age, text_of
from outlast.monitoring.slo.burning import Burn
from outlast.settings import Settings
from outlast.settings_alerts import BUILT_IN, FIGURES, AlertSettings, Rule


def rule(name: str = "mine", **given: object) -> Rule:
    settings = AlertSettings.model_validate({"rules": {name: given}} if given else {})
    return next(rule for rule in settings.in_force() if rule.name == name)


def test_every_built_in_rule_is_on_and_says_how_bad_it_is_or_that_the_finder_does() -> None:
    rules = {rule.name: rule for rule in AlertSettings().in_force()}
    assert rules.keys() == BUILT_IN.keys()
    assert {name for name, rule in rules.items() if rule.severity is None} == {"anomaly", "slo_burn"}
    assert all(rule.keep == timedelta(minutes=2) and rule.repeat == timedelta(hours=4) for rule in rules.values())


def test_a_built_in_rule_is_changed_where_something_else_is_said_and_switched_off() -> None:
    changed = rule("queue_age", above=60, severity="error")
    assert (changed.above, changed.severity, changed.after) == (60, "error", timedelta(minutes=1))
    off = AlertSettings.model_validate({"rules": {"queue_age": {"enabled": False}}}).in_force()
    assert "queue_age" not in {rule.name for rule in off}


def test_a_change_outlives_a_settings_tree_that_is_copied() -> None:
    given = AlertSettings.model_validate(
        {"rules": {"no_worker": {"after": 0}, "mine": {"metric": "runs_hour", "below": 1}}}
    )
    for settings in (Settings(alerts=given), Settings(alerts=given).model_copy()):
        rules = {rule.name: rule for rule in settings.alerts.in_force()}
        assert (rules["no_worker"].metric, rules["no_worker"].above) == ("runs_without_worker", 0)
        assert rules["no_worker"].after == timedelta(0)
        assert (rules["mine"].below, rules["mine"].severity, rules["mine"].built_in) == (1, "warning", False)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("mine", {"above": 3}, "needs a `metric`"),
        ("dead_leters", {"above": 3}, "did you mean dead_letters?"),
        ("mine", {"metric": "queue_deph", "above": 3}, "did you mean queue_depth?"),
        ("mine", {"metric": "queue_depth"}, "`above`"),
        ("dead_letters", {"metric": "queue_depth"}, "keeps its metric"),
        ("anomaly", {"above": 3}, "mean nothing here"),
        ("test", {"metric": "queue_depth", "above": 3}, "outlast alerts test"),
    ],
)
def test_a_rule_that_says_nothing_is_refused_with_what_is_wrong(name: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=f"rules.{name}: ") as refused:
        AlertSettings.model_validate({"rules": {name: given}})
    assert said in str(refused.value)


def test_a_rule_is_for_its_figure_its_agents_and_both_limits() -> None:
    figures = [
        Figure("queue_depth", "default", "agent", agent, value) for agent, value in (("a", 5), ("b", 50), ("c", 1))
    ]
    figures.append(Figure("dead_letters", "default", "agent", "b", 50))
    found = of_figures(rule(metric="queue_depth", above=10, below=2), figures)
    assert [(breach.labels["agent"], breach.value) for breach in found] == [("b", 50), ("c", 1)]
    only = of_figures(rule(metric="queue_depth", above=1, agents=["a"]), figures)
    assert [breach.labels for breach in only] == [{"agent": "a"}]
    whole = Figure("workers_live", "default", "", "", 1)
    assert [breach.labels for breach in of_figures(rule(metric="workers_live", below=2), [whole])] == [{}]
    assert list(of_figures(rule(metric="workers_live", below=2, agents=["a"]), [whole])) == []


def test_a_burning_budget_is_the_operators_and_as_urgent_as_it_burns() -> None:
    burn = Burn(
        slo="runs", agent="support", severity="critical", long=timedelta(hours=1), short=timedelta(minutes=5),
        factor=14.4, rate=20, short_rate=30, goal=0.99, budget_left=0.5, events=100, bad=20, text="20 of 100 failed",
    )  # fmt: skip
    (breach,) = of_burns(rule("slo_burn"), [burn])
    assert (breach.tenant, breach.labels, breach.severity) == ("default", {"slo": "runs", "agent": "support"}, "error")
    assert breach.text == "20 of 100 failed; see `outlast slo`"
    assert list(of_burns(rule("slo_burn", agents=["sales"]), [burn])) == []


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_plain_words_with_its_value_and_the_limit(name: str) -> None:
    text = text_of(rule(metric=name, above=0.25), Figure(name, "default", "agent", "support", 12345.5))
    assert "{" not in text
    assert "the limit: more than" in text
    assert "; " in text
    assert any(shown in text for shown in ("12,345.50", "1234550%", age(12345.5))), text


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1 s"), (119, "119 s"), (300, "5 min"), (7200, "2 h"), (3 * 86400, "3 days")]
)
def test_ages_are_told_as_people_say_them(seconds: float, said: str) -> None:
    assert age(seconds) == said
