"""What the calls of a process share."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from outlast.calls.breaker import Breakers, CircuitStore
from outlast.calls.cache import AnswerCache
from outlast.calls.call import Handler
from outlast.calls.chain import composed
from outlast.calls.encoding import ValueCodec
from outlast.calls.limiter import Rates
from outlast.calls.local_rates import LocalRates
from outlast.calls.prices import Prices
from outlast.calls.retry_budget import BudgetStore, RetryBudgets
from outlast.calls.spending import UsageLog
from outlast.policies.policing import Policing
from outlast.settings import CallSettings, load

if TYPE_CHECKING:
    from outlast.calls.budgets import Budgets
    from outlast.storage.postgres.effects import EffectStore
from outlast.storage.postgres.call_log import CallLog


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """Built once by the runtime; a model outside of a run uses `local()`, which has no database."""

    settings: CallSettings
    #: Where answers and what they cost are stored; None without a database.
    log: CallLog | None = None
    #: Who keeps the rate limits: all processes together, or this one alone.
    rates: Rates = field(default_factory=LocalRates)
    #: None: answers are not kept.
    cache: AnswerCache | None = None
    prices: Prices = field(init=False)
    #: What earlier attempts of runs have used; None without a database.
    usage: UsageLog | None = None
    #: Which models are left alone, and how many retries there may be; None: what this process alone knows.
    breaker_store: CircuitStore | None = None
    budget_store: BudgetStore | None = None
    breakers: Breakers = field(init=False, repr=False)
    retry_budget: RetryBudgets = field(init=False, repr=False)
    #: How answers, results and arguments are stored; None without a database.
    codec: ValueCodec | None = None
    #: The ledger of writes to the outside; None without a database.
    effects: "EffectStore | None" = None
    #: Policies and kill switches; None without a database.
    policing: Policing | None = None
    #: What runs may spend; None without a database.
    budgets: "Budgets | None" = None
    #: The layers of a model call, composed of all the above: the last thing to be made.
    answer: Handler = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "breakers", Breakers(self.settings.breaker, self.breaker_store))
        object.__setattr__(self, "retry_budget", RetryBudgets(self.settings.retry, self.budget_store))
        object.__setattr__(self, "prices", Prices(self.settings.prices))
        object.__setattr__(self, "answer", composed(self))


_local: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Calls]] = WeakKeyDictionary()


def local() -> Calls:
    """Return what calls outside of a run share on the running event loop; settings are the environment's.

    One per loop, since what waits and counts on one loop must not be touched by another one's thread.
    """
    loop = asyncio.get_running_loop()
    found = _local.get(loop)
    if found is None:
        found = _local[loop] = Calls(settings=load().calls)
    return found
