"""How many retries a provider gets from all processes together, so that retries never become the storm.

Calls are counted in the process and told now and then; each retry is taken from the shared figures before it is made.
Without a database, or while it is away, a process counts for itself with the same code (`LocalBudgets`).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from outlast.domain.spending import Spending
from outlast.errors import DatabaseUnavailable
from outlast.settings import CallRetrySettings

#: How often the calls of a process are told, in seconds: a tenth of what is looked back on.
_TELL_EVERY: Final = 6.0
#: A retry that was denied would be denied again for a while.
_DENIED_FOR: Final = 1.0
#: Rounds in which a process tries to store what it took. One that loses them all goes without.
_ROUNDS: Final = 5


class BudgetStore(Protocol):
    """Where the figures are, and whose clock counts."""

    async def read(self, provider: str) -> tuple[Spending, float]:
        """Return the figures and what time it is, in seconds."""
        ...

    async def swap(self, provider: str, before: Spending, after: Spending) -> bool:
        """Replace the figures, unless they are no longer what they were before."""
        ...


class LocalBudgets:
    """Figures of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spendings: dict[str, Spending] = {}

    async def read(self, provider: str) -> tuple[Spending, float]:
        """See `BudgetStore`."""
        return self._spendings.get(provider, Spending()), self._clock()

    async def swap(self, provider: str, before: Spending, after: Spending) -> bool:
        """See `BudgetStore`."""
        if self._spendings.get(provider, Spending()).version != before.version:
            return False
        self._spendings[provider] = after
        return True


@dataclass(slots=True)
class _Account:
    calls: int = 0
    told_at: float = 0.0
    denied_until: float = float("-inf")
    #: One call of this process at a time talks to the store: they would only be in each other's way.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class RetryBudgets:
    """The retry budgets as one process uses them."""

    def __init__(
        self,
        settings: CallRetrySettings,
        store: BudgetStore | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share, self._allowance = settings.budget, settings.allowance
        self._local = LocalBudgets(clock)
        self._store: BudgetStore = store or self._local
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def called(self, provider: str) -> None:
        """Count a call, not its retries."""
        account = self._accounts.get(provider)
        if account is None:
            account = self._accounts[provider] = _Account(told_at=self._clock())
        account.calls += 1
        if self._clock() - account.told_at >= _TELL_EVERY and not account.turn.locked():
            async with account.turn:
                await self._spend(provider, account, retry=False)

    async def take(self, provider: str) -> bool:
        """Take one retry; False: there is none left at the moment, and nothing may be asked."""
        account = self._accounts.setdefault(provider, _Account())
        async with account.turn:
            if self._clock() < account.denied_until:
                return False
            taken = await self._spend(provider, account, retry=True)
            if not taken:
                account.denied_until = self._clock() + _DENIED_FOR
        return taken

    async def _spend(self, provider: str, account: _Account, *, retry: bool) -> bool:
        account.told_at = self._clock()
        try:
            return await self._spend_in(self._store, provider, account, retry=retry)
        except DatabaseUnavailable:
            return await self._spend_in(self._local, provider, account, retry=retry)

    async def _spend_in(self, store: BudgetStore, provider: str, account: _Account, *, retry: bool) -> bool:
        for _ in range(_ROUNDS):
            before, now = await store.read(provider)
            calls = account.calls
            after = before.counted(now, calls=calls)
            allowed = retry and after.allows(now, share=self._share, allowance=self._allowance)
            if await store.swap(provider, before, after.retried(now) if allowed else after):
                account.calls -= calls
                return allowed
        return False
