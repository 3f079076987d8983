"""The first stage: how much may be asked for, by rules like `100/minute per user`.

All rules of a request are asked in one statement, by the database's clock, so that they are kept by all processes
together. A refusal is remembered here until it is over: what was spent comes back by time alone, so nobody who asks
sooner could be let in, and a flood of requests beyond a limit costs the database nothing.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from outlast.domain.acting import Principal
from outlast.domain.admission import Allow, Later, Refuse, Verdict
from outlast.domain.limits import Rule, Taken, Takes, Wanted, Window, parse_rule
from outlast.domain.run import NewRun
from outlast.refusals import RateLimited
from outlast.settings_admission import LimitRule, LimitSettings
from outlast.storage.postgres.admission import AdmissionStore

_MOST_REMEMBERED: Final = 10_000


class _Asked(NamedTuple):
    rule: Rule
    want: Wanted


class _Over(NamedTuple):
    """A window that let nobody in, and until when, by the monotonic clock."""

    until: float
    refusal: "_Refusal"


class _Refusal(NamedTuple):
    rule: Rule
    window: Window
    remaining: int


class _Question(NamedTuple):
    """Everything that a request asks of limits: made once for those who ask the same."""

    asked: Sequence[_Asked]
    wanted: tuple[Wanted, ...]


class Limits:
    """The rules of all tenants. Raises ConfigurationError for one that cannot be read."""

    def __init__(self, store: AdmissionStore, settings: LimitSettings) -> None:
        self._store = store
        self._longest_delay = settings.longest_delay.total_seconds()
        self._rules = _parsed(settings.rules, "limits.rules")
        self._of_tenant: Mapping[str, tuple[Rule, ...]] = {
            name: _parsed(tenant.rules, f"limits.tenants.{name}.rules")
            for name, tenant in settings.tenants.items()
            if tenant.rules is not None
        }
        self._over: dict[UUID, _Over] = {}
        every = (*self._rules, *(rule for rules in self._of_tenant.values() for rule in rules))
        self._by_thread = any(rule.subject == "thread" for rule in every)
        self._questions: dict[tuple[str | None, ...], _Question] = {}

    async def decide(self, run: NewRun, who: Principal) -> Verdict:
        """Let a run in, now or later, or refuse it with RateLimited."""
        return (await self.decide_all([run], who))[0]

    async def decide_stored(self, run: NewRun, who: Principal) -> Verdict:
        """Refuse a run with RateLimited, or let it in provided that what it takes is there when it is stored."""
        asked, wanted = self._question(run, who)
        if not asked:
            return Allow()
        if (refused := self._refused_already(asked, cost=1)) is not None:
            return refused
        return Allow(
            takes=Takes(
                wanted=wanted, now=lambda: self._store.take(wanted), said=lambda taken: self._said(asked, taken, cost=1)
            )
        )

    async def decide_all(self, runs: Sequence[NewRun], who: Principal) -> list[Verdict]:
        """Let all of these runs in or none: they start at the same time. Runs of one agent are one question."""
        verdicts: dict[str, Verdict] = {}
        by_agent: dict[str, list[NewRun]] = {}
        for run in runs:
            by_agent.setdefault(run.agent, []).append(run)
        for agent, together in by_agent.items():
            verdicts[agent] = await self._decide(together, who)
        return [verdicts[run.agent] for run in runs]

    async def _decide(self, runs: Sequence[NewRun], who: Principal) -> Verdict:
        asked, wanted = self._question(runs[0], who)
        if not asked:
            return Allow()
        if (refused := self._refused_already(asked, cost=len(runs))) is not None:
            return refused
        taken = await self._store.take(wanted, cost=len(runs))
        return self._said(asked, taken, cost=len(runs))

    def _question(self, run: NewRun, who: Principal) -> _Question:
        thread = run.thread_id if self._by_thread else None
        asks = (who.tenant, who.user, who.key_id, run.agent, thread)
        found = self._questions.get(asks)
        if found is None:
            if len(self._questions) >= _MOST_REMEMBERED:
                self._questions.clear()
            asked = self._asked(run, who)
            found = self._questions[asks] = _Question(asked, tuple(want for _, want in asked))
        return found

    def _asked(self, run: NewRun, who: Principal) -> list[_Asked]:
        rules = self._of_tenant.get(who.tenant, self._rules)
        return [
            _Asked(rule, Wanted(key, window, self._longest_delay if rule.queues else 0.0))
            for rule in rules
            if rule.agent is None or rule.agent == run.agent
            for key, window in zip(rule.keys(who, run.thread_id), rule.windows, strict=True)
        ]

    def _said(self, asked: Sequence[_Asked], taken: Taken, *, cost: int) -> Verdict:
        if not taken.granted:
            return self._refused(asked, taken, cost=cost)
        if not taken.wait:
            return Allow()
        slowest = asked[max(range(len(asked)), key=lambda at: taken.waits[at])].rule
        return Later(taken.wait, f"limit `{slowest.text}`: its turn comes in {taken.wait:.1f} s")

    def _refused_already(self, asked: Sequence[_Asked], *, cost: int) -> Refuse | None:
        """Refuse what needs no look: a window that is known to let nobody in, or that is too small for so many."""
        now = time.monotonic()
        for rule, want in asked:
            if cost > want.window.most:
                return _refusal(_Refusal(rule, want.window, 0), None, cost)
            over = self._over.get(want.key)
            if over is not None and over.until > now:
                return _refusal(over.refusal, over.until - now, cost)
        return None

    def _refused(self, asked: Sequence[_Asked], taken: Taken, *, cost: int) -> Refuse:
        """Name the window for which the wait is longest, and remember it if it refuses even a single run."""
        late = [at for at, (_, want) in enumerate(asked) if taken.waits[at] > want.patience]
        at = max(late, key=lambda place: taken.waits[place])
        rule, want = asked[at]
        wait, remaining = taken.waits[at], max(0, taken.remaining[at])
        refusal = _Refusal(rule, want.window, remaining)
        # Of a rule that queues, what is refused is the length of the wait, and that passes.
        if cost == 1 and not want.patience:
            if len(self._over) >= _MOST_REMEMBERED:
                self._over.clear()
            self._over[want.key] = _Over(time.monotonic() + wait, refusal)
        return _refusal(refusal, max(0.0, wait - want.patience), cost)


def _refusal(refusal: _Refusal, wait: float | None, cost: int) -> Refuse:
    rule, window, remaining = refusal
    many = "" if cost == 1 else f" for {cost} runs at once"
    if wait is None:
        then = f"it never lets more than {window.most} in at once: send fewer"
    elif rule.queues:
        then = f"who comes now would wait for longer than limits.longest_delay; try again in {wait:.1f} s"
    else:
        then = f"try again in {wait:.1f} s"
    message = f"limit `{rule.text}` is reached{many}; {then}"
    error = RateLimited(
        message, rule=rule.text, retry_after=wait, limit=window.most, window=window.seconds, remaining=remaining
    )
    return Refuse(message, by=rule.text, error=error)


def _parsed(rules: Sequence[LimitRule], setting: str) -> tuple[Rule, ...]:
    return tuple(
        parse_rule(given.rule, queues=given.on_limit == "queue", setting=f"{setting}[{number}]")
        for number, given in enumerate(rules)
    )
