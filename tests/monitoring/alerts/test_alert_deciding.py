"""What becomes of alerts: pending, firing, over; what is told, and when."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.alert import Alert, Breach, Decision, Silence, Standing
from outlast.monitoring.alerts.deciding import decide
from outlast.settings_alerts import Rule

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rule(name: str = "queue_age", *, after: timedelta = timedelta(0), keep: timedelta = 2 * MINUTE) -> Rule:
    return Rule(
        name=name, metric="queue_depth", above=1, below=None, after=after, severity=None, keep=keep,
        repeat=timedelta(hours=4), agents=(), built_in=True,
    )  # fmt: skip


def breach(agent: str = "support", **more: Any) -> Breach:
    given = {"rule": "queue_age", "tenant": "default", "labels": {"agent": agent}, "severity": "warning",
             "value": 3.0, "text": "too much"}  # fmt: skip
    return Breach(**{**given, **more})


class Story:
    """Rounds one after the other, on a clock of their own."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = {each.name: each for each in rules or (rule(),)}
        self.now = NOON
        self.alerts: dict[UUID, Alert] = {}
        self.silences: list[Silence] = []
        self.flaps: dict[Any, int] = {}
        self.ids = 0

    def new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=self.ids)

    def round(self, *breaches: Breach, after: timedelta = timedelta(seconds=15), unseen: tuple[str, ...] = ()) -> Any:
        self.now += after
        open_ = [alert for alert in self.alerts.values() if alert.state != "resolved"]
        silences = [silence for silence in self.silences if silence.until_at > self.now]
        standing = Standing(now=self.now, open=open_, silences=silences, flaps=self.flaps)
        decision = decide(standing, breaches, self.rules, unseen=unseen, new_id=self.new_id)
        self.alerts.update({alert.id: alert for alert in decision.changed})
        for gone in decision.gone:
            del self.alerts[gone]
        return decision

    @property
    def only(self) -> Alert:
        (alert,) = self.alerts.values()
        return alert

    def silence(self, lasting: timedelta, *, of: str = "queue_age", subject: str | None = None) -> None:
        self.silences.append(Silence(
            id=UUID(int=99), tenant="default", rule=of, subject=subject, why="moving", silenced_by="ann",
            began_at=self.now, until_at=self.now + lasting,
        ))  # fmt: skip


def events(decision: Decision) -> list[str]:
    return [notice.event for notice in decision.notices]


def test_what_is_seen_waits_until_it_has_lasted_then_fires_and_is_told_once() -> None:
    story = Story(rule(after=MINUTE))
    assert events(story.round(breach())) == []
    assert story.only.state == "pending"
    assert events(story.round(breach(), after=59 * MINUTE / 60)) == []
    fired = story.round(breach(), after=MINUTE / 60)
    assert (story.only.state, events(fired), len(fired.fired)) == ("firing", ["alert"], 1)
    assert [events(story.round(breach())) for _ in range(20)] == [[]] * 20
    assert len(story.alerts) == 1


def test_what_does_not_last_is_forgotten_and_nobody_is_told() -> None:
    story = Story(rule(after=MINUTE))
    story.round(breach())
    assert events(story.round()) == []
    assert story.alerts == {}
    story.round(breach())
    assert story.only.started_at == story.now, "the time begins anew"


def test_it_is_over_when_it_was_well_for_a_while_and_that_is_told_to_the_same_group() -> None:
    story = Story()
    (told,) = story.round(breach()).notices
    assert events(story.round()) == []
    assert story.only.state == "firing"
    assert events(story.round(after=MINUTE)) == []
    over = story.round(after=MINUTE)
    assert (story.only.state, story.only.resolved_at) == ("resolved", story.now)
    (notice,) = over.notices
    assert (notice.event, notice.group, notice.alerts) == ("recovered", told.group, [story.only.id])
    assert notice.key != told.key


def test_one_that_comes_back_before_it_is_over_goes_on() -> None:
    story = Story()
    story.round(breach())
    for _ in range(10):
        assert events(story.round(after=MINUTE)) == []
        assert events(story.round(breach(), after=MINUTE)) == []
    assert (story.only.state, story.only.notices) == ("firing", 1)


@pytest.mark.parametrize(("flaps", "minutes"), [(0, 2), (1, 4), (3, 16), (4, 32), (50, 32)])
def test_one_that_came_and_went_before_has_to_be_well_for_longer(flaps: int, minutes: int) -> None:
    story = Story()
    story.flaps = {("default", "queue_age", "agent=support"): flaps}
    story.round(breach())
    story.round()
    story.round(after=minutes * MINUTE - timedelta(seconds=1))
    assert story.only.state == "firing"
    story.round(after=timedelta(seconds=1))
    assert story.only.state == "resolved"


def test_it_is_told_again_while_it_lasts_unless_somebody_has_it() -> None:
    story = Story()
    (first,) = story.round(breach()).notices
    assert events(story.round(breach(), after=timedelta(hours=3, minutes=59))) == []
    (again,) = story.round(breach(), after=MINUTE).notices
    assert (again.event, again.group) == ("alert", first.group)
    assert again.key != first.key
    from dataclasses import replace

    had = replace(story.only, acknowledged_at=story.now, acknowledged_by="ann")
    story.alerts[had.id] = had
    assert events(story.round(breach(), after=timedelta(hours=5))) == []
    story.round(after=MINUTE)
    assert events(story.round(after=3 * MINUTE)) == ["recovered"], "whoever has it learns that it is over"


def test_what_gets_worse_is_told_at_once_and_never_told_as_better() -> None:
    story = Story()
    story.round(breach())
    worse = story.round(breach(severity="error"))
    assert [(notice.event, notice.severity) for notice in worse.notices] == [("alert", "error")]
    assert events(story.round(breach(severity="warning"))) == []
    assert story.only.severity == "error"


def test_nobody_is_told_in_a_silence_and_what_still_fires_is_told_after_it() -> None:
    story = Story()
    story.silence(timedelta(hours=1))
    assert events(story.round(breach())) == []
    assert story.only.state == "firing", "it is there for whoever looks"
    assert events(story.round(breach(), after=timedelta(minutes=30))) == []
    assert events(story.round(breach(), after=timedelta(minutes=30))) == ["alert"]


def test_what_came_and_went_in_a_silence_is_never_told() -> None:
    story = Story()
    story.silence(timedelta(hours=1))
    story.round(breach())
    story.round()
    assert events(story.round(after=5 * MINUTE)) == []
    assert story.only.state == "resolved"


def test_a_silence_is_for_its_rule_its_tenant_and_its_subject() -> None:
    story = Story(rule(), rule("error_rate"))
    story.silence(timedelta(hours=1), subject="agent=support")
    told = story.round(
        breach(), breach("sales"), breach(rule="error_rate"), breach(tenant="acme"),
    )  # fmt: skip
    assert {(notice.rule, notice.tenant, notice.agent) for notice in told.notices} == {
        ("queue_age", "default", "sales"), ("error_rate", "default", "support"), ("queue_age", "acme", "support"),
    }  # fmt: skip
    everything = Story(rule(), rule("error_rate"))
    everything.silence(timedelta(hours=1), of="*")
    assert events(everything.round(breach(), breach(rule="error_rate"))) == []


def test_alerts_of_one_rule_are_told_together_and_apart_from_those_of_others() -> None:
    story = Story(rule(), rule("error_rate"))
    told = story.round(
        breach("a"), breach("b"), breach("c", severity="error"), breach(rule="error_rate"), breach(tenant="acme")
    )
    shown = {
        (notice.tenant, notice.rule): (len(notice.alerts), notice.severity, notice.agent) for notice in told.notices
    }
    assert shown == {
        ("default", "queue_age"): (3, "error", "outlast"),
        ("default", "error_rate"): (1, "warning", "support"),
        ("acme", "queue_age"): (1, "warning", "support"),
    }
    later = story.round(breach("a"), breach("b"), breach("c"), breach("d"), breach(rule="error_rate"),
                        breach(tenant="acme"))  # fmt: skip
    assert [len(notice.alerts) for notice in later.notices] == [1], "only what is new"


def test_what_could_not_be_looked_at_stays_as_it_is() -> None:
    story = Story()
    story.round(breach())
    story.round()
    for _ in range(30):
        assert events(story.round(after=MINUTE, unseen=("queue_age",))) == []
    assert story.only.state == "firing"


def test_an_alert_of_a_rule_that_is_there_no_more_ends_after_a_while() -> None:
    story = Story()
    story.round(breach())
    story.rules = {}
    story.round()
    assert story.only.state == "firing", "another process may still know it"
    assert events(story.round(after=10 * MINUTE)) == ["recovered"]


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.integers(0, 400)), max_size=60))
def test_every_alert_is_told_at_most_once_for_each_key_and_over_only_after_it_fired(steps: Any) -> None:
    story = Story(rule(after=MINUTE))
    keys: list[str] = []
    told: set[UUID] = set()
    for agents, seconds in steps:
        decision = story.round(*(breach(agent) for agent in agents), after=timedelta(seconds=seconds))
        for notice in decision.notices:
            keys.append(notice.key)
            if notice.event == "alert":
                told.update(notice.alerts)
            else:
                assert set(notice.alerts) <= told
        open_ = [alert.key for alert in story.alerts.values() if alert.state != "resolved"]
        assert len(open_) == len(set(open_)), "one fault is one alert"
    assert len(keys) == len(set(keys))
