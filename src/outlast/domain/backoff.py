"""How long to wait before the next attempt."""

from datetime import timedelta
from random import Random


def full_jitter(attempt: int, *, base: timedelta, cap: timedelta, rng: Random) -> timedelta:
    """Uniform in [0, min(cap, base * 2**(attempt - 1))], `attempt` counted from 1.

    Full jitter spreads a crowd that failed together best ("Exponential Backoff And Jitter", AWS Architecture Blog).
    """
    ceiling = min(cap, base * 2.0 ** min(attempt - 1, 32))
    return ceiling * rng.random()
