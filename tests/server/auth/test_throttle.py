"""How often one address may fail."""

import pytest

from outlast.refusals import RateLimited
from outlast.server.auth import throttle
from outlast.server.auth.throttle import Throttle


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throttle, "time", clock)
    return clock


@pytest.mark.usefixtures("clock")
def test_beyond_the_limit_it_is_said_when_to_come_back():
    limit = Throttle(6)
    for _ in range(6):
        limit.failed("198.51.100.1")
    with pytest.raises(RateLimited) as refused:
        limit.failed("198.51.100.1")
    assert refused.value.retry_after == pytest.approx(10)
    with pytest.raises(RateLimited):
        limit.check("198.51.100.1")
    limit.check("198.51.100.2")


def test_what_was_long_ago_counts_no_more(clock):
    limit = Throttle(6)
    for _ in range(6):
        limit.failed("198.51.100.1")
    clock.now += 10.1
    limit.failed("198.51.100.1")
    with pytest.raises(RateLimited):
        limit.failed("198.51.100.1")
    clock.now += 60
    for _ in range(6):
        limit.failed("198.51.100.1")


@pytest.mark.usefixtures("clock")
def test_whoever_has_a_network_has_one_allowance():
    limit = Throttle(2)
    limit.failed("2001:db8::1")
    limit.failed("2001:db8::2")
    with pytest.raises(RateLimited):
        limit.failed("2001:db8::3")


def test_zero_is_no_limit():
    limit = Throttle(0)
    for _ in range(100):
        limit.failed("198.51.100.1")


@pytest.mark.usefixtures("clock")
def test_a_million_addresses_do_not_fill_the_memory():
    limit = Throttle(2)
    for number in range(throttle._MOST + 50):
        limit.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limit._failures) == throttle._MOST
