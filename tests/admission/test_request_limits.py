"""Limits by the database's clock. Time passes by moving what was spent into the past."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from outlast.admission.limits import Limits
from outlast.domain.acting import Principal
from outlast.domain.admission import Allow, Later, Refuse
from outlast.domain.limits import SLICES, Window
from outlast.domain.run import NewRun
from outlast.errors import ConfigurationError
from outlast.refusals import RateLimited
from outlast.settings_admission import LimitRule, LimitSettings, TenantLimitSettings
from outlast.storage.postgres.admission import AdmissionStore, Wanted

ANN, BOB = Principal(user="ann"), Principal(user="bob")


@pytest.fixture
def store(pool):
    return AdmissionStore(pool)


def a_run(agent="a", thread="t"):
    return NewRun(id=uuid4(), thread_id=thread, agent=agent, input=None, config={}, metadata={})


def limits(store, *rules, **more):
    return Limits(store, LimitSettings(rules=rules, **more))


def queueing(rule):
    return LimitRule(rule=rule, on_limit="queue")


async def pass_time(pool, slices):
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE admission_limits SET slices = ARRAY(SELECT s - %(by)s FROM unnest(slices) WITH ORDINALITY u (s, n)"
            " ORDER BY n)",
            {"by": slices},
        )


async def let_in(limits, who=ANN, times=1, **run):
    verdicts = [await limits.decide(a_run(**run), who) for _ in range(times)]
    return sum(isinstance(verdict, Allow) for verdict in verdicts)


async def test_no_more_than_the_count_is_let_in_and_each_subject_has_its_own(store):
    gate = limits(store, "3/hour per user")

    assert await let_in(gate, ANN, 5) == 3
    assert await let_in(gate, BOB, 5) == 3


async def test_two_processes_that_ask_at_once_let_in_the_count_together(store):
    here, there = limits(store, "25/hour per tenant"), limits(store, "25/hour per tenant")

    verdicts = await asyncio.gather(*(gate.decide(a_run(), ANN) for gate in (here, there) * 50))

    assert sum(isinstance(verdict, Allow) for verdict in verdicts) == 25


async def test_many_that_ask_for_several_limits_at_once_keep_all_of_them(store):
    gates = [limits(store, "30/hour per tenant", "7/hour per user", "11/hour per api_key") for _ in range(3)]
    people = [Principal(user=f"u{number % 6}", key_id=f"k{number % 2}") for number in range(90)]

    verdicts = await asyncio.gather(*(gates[n % 3].decide(a_run(), who) for n, who in enumerate(people)))

    through = [who for who, verdict in zip(people, verdicts, strict=True) if isinstance(verdict, Allow)]
    assert len(through) == 22, "the two keys are what holds them back"
    assert max(sum(who.user == f"u{n}" for who in through) for n in range(6)) <= 7


async def test_a_refused_request_takes_nothing_from_the_limits_that_would_let_it_in(store):
    gate = limits(store, "10/hour per tenant", "2/hour per user")

    assert await let_in(gate, ANN, 20) == 2
    assert [await let_in(gate, Principal(user=f"u{n}"), 20) for n in range(5)] == [2, 2, 2, 2, 0]


async def test_what_was_spent_comes_back_when_its_period_is_over_and_not_before(store, pool):
    # Other processes, so to say: each remembers its own refusals.
    assert await let_in(limits(store, "2/day per user"), times=3) == 2
    await pass_time(pool, SLICES)
    assert await let_in(limits(store, "2/day per user"), times=3) == 0
    await pass_time(pool, 1)
    assert await let_in(limits(store, "2/day per user"), times=3) == 2


async def test_a_burst_is_all_that_may_come_at_once(store, pool):
    rule = "60/day per user burst 5"

    assert await let_in(limits(store, rule), times=9) == 5
    # The window of the burst is two hours of the day.
    await pass_time(pool, SLICES + 1)
    assert await let_in(limits(store, rule), times=9) == 5


async def test_a_refusal_says_what_is_left_and_when_to_come_back(store):
    gate = limits(store, "2/hour per user on a")
    await let_in(gate, times=2)

    refused = await gate.decide(a_run(), ANN)

    assert isinstance(refused, Refuse)
    error = refused.error
    assert isinstance(error, RateLimited)
    assert (error.limit, error.window, error.remaining, error.rule) == (2, 3600, 0, "2/hour per user on a")
    assert error.retry_after is not None
    assert 3500 < error.retry_after <= 3660
    assert "limit `2/hour per user on a` is reached" in str(error)


async def test_a_limit_of_one_agent_leaves_the_others_alone(store):
    gate = limits(store, "1/hour per user on support")

    assert await let_in(gate, times=3, agent="support") == 1
    assert await let_in(gate, times=3, agent="other") == 3


async def test_a_tenant_may_have_rules_of_its_own(store):
    own = {"acme": TenantLimitSettings(rules=("2/hour per tenant",)), "free": TenantLimitSettings(rules=())}
    gate = limits(store, "1/hour per tenant", tenants=own)

    assert [await let_in(gate, Principal(tenant=name), 5) for name in ("acme", "free", "else")] == [2, 5, 1]


async def test_runs_that_come_together_are_let_in_together_or_not_at_all(store):
    gate = limits(store, "5/hour per user")

    assert [type(verdict) for verdict in await gate.decide_all([a_run()] * 4, ANN)] == [Allow] * 4
    (refused, *_) = await gate.decide_all([a_run()] * 2, ANN)
    assert isinstance(refused, Refuse)
    assert await let_in(gate) == 1, "the two have taken nothing"


async def test_more_at_once_than_ever_fits_is_told_so(store):
    (refused, *_) = await limits(store, "5/hour per user").decide_all([a_run()] * 6, ANN)

    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, RateLimited)
    assert refused.error.retry_after is None
    assert "send fewer" in refused.reason


async def test_what_may_be_queued_starts_when_its_turn_comes(store):
    gate = limits(store, queueing("2/minute per user"), longest_delay=timedelta(seconds=130))

    verdicts = [await gate.decide(a_run(), ANN) for _ in range(8)]

    waits = [verdict.seconds if isinstance(verdict, Later) else 0 for verdict in verdicts]
    assert waits[:2] == [0, 0]
    assert all(59 < wait <= 61 for wait in waits[2:4]), waits
    assert all(120 < wait <= 122 for wait in waits[4:6]), waits
    assert [type(verdict) for verdict in verdicts[6:]] == [Refuse, Refuse], "later than limits.longest_delay"


async def test_who_is_queued_by_one_limit_does_not_stand_in_the_way_of_others(store):
    gate = limits(store, "100/minute per tenant", queueing("1/minute per user"))

    await gate.decide(a_run(), ANN)
    assert isinstance(await gate.decide(a_run(), ANN), Later)
    assert await let_in(gate, BOB) == 1


async def test_a_rule_that_cannot_be_read_stops_the_start(store):
    with pytest.raises(ConfigurationError, match=r"limits\.rules\[1\]: 'pr' should be `per`"):
        limits(store, "1/hour per user", "1/hour pr user")
    with pytest.raises(ConfigurationError, match=r"limits\.tenants\.acme\.rules\[0\]"):
        limits(store, tenants={"acme": TenantLimitSettings(rules=("x",))})


@dataclass
class Started:
    """What was let in, by the slice in which it starts."""

    at: list[int]

    def most_in_a_window(self):
        return max(sum(start <= other < start + SLICES for other in self.at) for start in self.at)


@pytest.mark.parametrize("seed", range(4))
async def test_no_stretch_of_a_period_sees_more_than_the_count_whatever_comes_when(store, pool, seed):
    rng, most = Random(seed), 6
    window = Window(most, 60 * 3600)
    key = UUID(int=seed)
    passed, started = 0, Started([])
    for _ in range(60):
        if rng.random() < 0.5:
            step = rng.choice([1, 7, 20, 61])
            await pass_time(pool, step)
            passed += step
        cost, patience = rng.choice([1, 1, 2, 5]), rng.choice([0.0, 0.0, 3600.0 * 100])
        taken = await store.take([Wanted(key, window, patience)], cost=cost)
        if taken.granted:
            started.at += [passed + round(taken.wait / 3600)] * cost

    assert len(started.at) > 2 * most
    assert started.most_in_a_window() <= most
